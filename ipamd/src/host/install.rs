//! The CNI plugin on the host: its binary and its network configuration, put
//! into the runtime's folders once the daemon is ready.
//!
//! Files appear whole or not at all, and one that is right already is left
//! alone, so that a plugin that runs is never cut short. Nothing is removed when
//! the daemon ends: pods must be deletable while it is away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::HostWatch;
use super::chained_plugin::{Spoken, spoken_versions};
use crate::config::{Config, HostSettings};

/// The network configuration's name on the host.
pub const INSTALLED_CONFLIST: &str = "10-veni.conflist";

const PLUGIN: &str = "veni-cni";
const TEMPLATE: &str = include_str!("../../../deploy/10-veni.conflist");
const PORTMAP: &str = "portmap";

/// Versions of the CNI specification that the list is offered in, oldest first. All
/// runtimes know the first; the second brings GC and STATUS.
const OFFERED: [&str; 2] = ["1.0.0", "1.1.0"];
/// What is offered, the best first, where another plugin of the chain speaks none of
/// those; chains came with 0.3.0.
const OLDER: [&str; 3] = ["0.4.0", "0.3.1", "0.3.0"];

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What to install, and where.
#[derive(Debug, Clone)]
pub struct Order {
    /// The plugin's binary to install.
    pub plugin: PathBuf,
    /// The runtime's folder of plugins; `None` leaves it alone.
    pub binaries: Option<PathBuf>,
    /// The runtime's folder of network configurations; `None` leaves it alone.
    pub configurations: Option<PathBuf>,
    /// `runDir` of the configuration.
    pub run_dir: PathBuf,
    /// `mtu` of the configuration, bytes.
    pub mtu: u32,
    /// `pluginLogFile` of the configuration.
    pub log_file: Option<PathBuf>,
    /// `pluginLogLevel` of the configuration.
    pub log_level: &'static str,
}

/// What an installation has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// What the operator should know.
    pub warning: Option<String>,
}

/// Why the plugin could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The system refused.
    #[error("failed to {operation} {path}: {source}; {advice}")]
    Refused {
        /// Operation.
        operation: &'static str,
        /// Object.
        path: String,
        /// What to do.
        advice: &'static str,
        /// Reason.
        source: io::Error,
    },
    /// The configuration that is shipped with this build is damaged.
    #[error("the network configuration of this build is no valid list of plugins")]
    Template,
}

impl Order {
    /// What the settings ask for; `None` when nothing is to be installed.
    #[must_use]
    pub fn try_new(config: &Config, run_dir: &Path) -> Option<Self> {
        let settings: &HostSettings = &config.host;
        if settings.binaries.is_none() && settings.configurations.is_none() {
            return None;
        }
        Some(Self {
            plugin: settings.plugin_source.clone().unwrap_or_else(beside_ipamd),
            binaries: settings.binaries.clone(),
            configurations: settings.configurations.clone(),
            run_dir: run_dir.to_owned(),
            mtu: config.network.pod_mtu,
            log_file: settings.plugin_log_file.clone(),
            log_level: settings.plugin_log_level,
        })
    }

    /// Installs what differs: the binary first, because a runtime that sees the
    /// configuration calls it.
    ///
    /// # Errors
    /// What stands in the way; what was written before stays.
    pub fn install(&self) -> Result<Installed, InstallError> {
        let mut installed = Installed::default();
        if let Some(folder) = &self.binaries {
            let content = fs::read(&self.plugin).map_err(refused("read", &self.plugin))?;
            put(&folder.join(PLUGIN), &content, 0o755, &mut installed)?;
        }
        if let Some(folder) = &self.configurations {
            let chain = self.chain()?;
            let text = self.conflist(&chain)?;
            let path = folder.join(INSTALLED_CONFLIST);
            put(&path, text.as_bytes(), 0o644, &mut installed)?;
            installed.warning = chain.warning;
        }
        Ok(installed)
    }

    /// What can stand in the list on this node. Looked at anew at each start, because
    /// whoever installs the other plugins replaces them without a word.
    fn chain(&self) -> Result<Chain, InstallError> {
        let Some(folder) = &self.binaries else {
            // Nobody has said where portmap is, so it may be an old one.
            return Ok(Chain::of(true, &OFFERED[..1], None));
        };
        let portmap = folder.join(PORTMAP);
        if !portmap.exists() {
            let warning = format!(
                "pods get no host ports: there is no plugin {PORTMAP} in {}, so the \
                 configuration does without; install the reference plugins and restart ipamd",
                folder.display()
            );
            return Ok(Chain::of(false, &OFFERED, Some(warning)));
        }
        let spoken = spoken_versions(&portmap).map_err(refused("ask", &portmap))?;
        Ok(Chain::with(&portmap, spoken))
    }

    fn conflist(&self, chain: &Chain) -> Result<String, InstallError> {
        let mut list: Value = serde_json::from_str(TEMPLATE).map_err(|_| InstallError::Template)?;
        list["cniVersion"] = json!(chain.versions.first());
        list["cniVersions"] = json!(chain.versions);
        let plugins = list["plugins"].as_array_mut();
        let plugins = plugins.ok_or(InstallError::Template)?;
        plugins.retain(|plugin| chain.portmap || plugin["type"] != PORTMAP);
        let own = plugins.iter_mut().find(|plugin| plugin["type"] == PLUGIN);
        let own = own.ok_or(InstallError::Template)?;
        own["runDir"] = json!(self.run_dir);
        own["mtu"] = json!(self.mtu);
        if let Some(file) = &self.log_file {
            own["pluginLogFile"] = json!(file);
            own["pluginLogLevel"] = json!(self.log_level);
        }
        let text = serde_json::to_string_pretty(&list).map_err(|_| InstallError::Template)?;
        Ok(text + "\n")
    }
}

/// The chain as it is possible on a node.
struct Chain {
    portmap: bool,
    /// That all plugins of the chain speak, oldest first.
    versions: Vec<&'static str>,
    warning: Option<String>,
}

impl Chain {
    fn of(portmap: bool, versions: &[&'static str], warning: Option<String>) -> Self {
        Self {
            portmap,
            versions: versions.to_vec(),
            warning,
        }
    }

    /// With a portmap that has said this.
    fn with(portmap: &Path, spoken: Spoken) -> Self {
        let path = portmap.display();
        let spoken = match spoken {
            Spoken::Versions(spoken) => spoken,
            Spoken::Unknown(reason) => {
                let warning = format!(
                    "{path} does not say which versions of CNI it speaks ({reason}), so the \
                     configuration offers {} alone, and pods may not start: install the \
                     reference plugins anew and restart ipamd",
                    OFFERED[0]
                );
                return Self::of(true, &OFFERED[..1], Some(warning));
            }
        };
        let speaks = |version: &&str| spoken.iter().any(|one| one == version);
        let both: Vec<&str> = OFFERED.into_iter().filter(|one| speaks(one)).collect();
        if !both.is_empty() {
            return Self::of(true, &both, None);
        }
        if let Some(older) = OLDER.into_iter().find(|one| speaks(one)) {
            return Self::of(true, &[older], None);
        }
        let warning = format!(
            "pods get no host ports: {path} speaks no version of CNI that a chain can have, so \
             the configuration does without; install newer reference plugins and restart ipamd"
        );
        Self::of(false, &OFFERED, Some(warning))
    }
}

/// Whether a runtime reads a file of this name as a network configuration.
pub(super) fn is_configuration(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    matches!(extension, Some("conf" | "conflist" | "json"))
}

/// Installs, and tries again until it has worked or `shutdown`. What stands in
/// the way is logged and shown to operators; pods do not depend on it.
pub(crate) async fn keep_trying(order: Order, watch: HostWatch, shutdown: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = order.clone();
        let outcome = tokio::task::spawn_blocking(move || attempt.install()).await;
        match outcome {
            Ok(Ok(installed)) => {
                for path in &installed.written {
                    tracing::info!(path = %path.display(), "installed on the host");
                }
                if let Some(warning) = &installed.warning {
                    tracing::warn!(warning, "about the host");
                }
                watch.set_installation(installed.warning);
                return;
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the CNI plugin is not installed; tried again");
                watch.set_installation(Some(format!("the CNI plugin is not installed: {error}")));
            }
            // The runtime is going down.
            Err(_) => return,
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn beside_ipamd() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name(PLUGIN)
}

fn put(
    path: &Path,
    content: &[u8],
    mode: u32,
    installed: &mut Installed,
) -> Result<(), InstallError> {
    if is_there(path, content, mode) {
        return Ok(());
    }
    // Runtimes ignore names that begin with a dot and end like this.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.new"));
    let written = write_whole(&unfinished, content, mode)
        .map_err(refused("write", &unfinished))
        .and_then(|()| fs::rename(&unfinished, path).map_err(refused("replace", path)));
    if let Err(error) = written {
        // Best effort: the first error is the one worth telling.
        drop(fs::remove_file(&unfinished));
        return Err(error);
    }
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(refused("sync", folder))?;
    installed.written.push(path.to_owned());
    Ok(())
}

fn is_there(path: &Path, content: &[u8], mode: u32) -> bool {
    let right = |file: fs::Metadata| {
        file.is_file()
            && file.len() == content.len() as u64
            && file.permissions().mode() & 0o777 == mode
    };
    fs::symlink_metadata(path).is_ok_and(right) && fs::read(path).is_ok_and(|old| old == content)
}

fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // One that a dead daemon has left would keep its mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    // The umask may have taken rights away.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.display().to_string();
    move |source| InstallError::Refused {
        operation,
        path,
        advice: advice(&source),
        source,
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "check HOST_CNI_BIN_PATH, HOST_CNI_CONFDIR_PATH and VENI_PLUGIN_SOURCE, and that the \
             host's folders are mounted there"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the host's folder writable",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the host's file system"
        }
        io::ErrorKind::PermissionDenied => "let ipamd write there, or install the plugin yourself",
        _ => {
            "correct it, or install the plugin yourself and unset HOST_CNI_BIN_PATH and \
              HOST_CNI_CONFDIR_PATH"
        }
    }
}

#[cfg(test)]
mod tests;
