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
use crate::config::{Config, HostSettings};

/// The network configuration's name on the host.
pub const INSTALLED_CONFLIST: &str = "10-veni.conflist";

const PLUGIN: &str = "veni-cni";
const TEMPLATE: &str = include_str!("../../../deploy/10-veni.conflist");
const PORTMAP: &str = "portmap";

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
        let mut with_portmap = true;
        if let Some(folder) = &self.binaries {
            let content = fs::read(&self.plugin).map_err(refused("read", &self.plugin))?;
            put(&folder.join(PLUGIN), &content, 0o755, &mut installed)?;
            with_portmap = folder.join(PORTMAP).exists();
        }
        if let Some(folder) = &self.configurations {
            let text = self.conflist(with_portmap)?;
            let path = folder.join(INSTALLED_CONFLIST);
            put(&path, text.as_bytes(), 0o644, &mut installed)?;
            if !with_portmap {
                let place = self.binaries.as_deref().unwrap_or(folder);
                installed.warning = Some(format!(
                    "pods get no host ports: there is no plugin {PORTMAP} in {}, so the \
                     configuration does without; install the reference plugins and restart ipamd",
                    place.display()
                ));
            }
        }
        Ok(installed)
    }

    fn conflist(&self, with_portmap: bool) -> Result<String, InstallError> {
        let mut list: Value = serde_json::from_str(TEMPLATE).map_err(|_| InstallError::Template)?;
        let plugins = list["plugins"].as_array_mut();
        let plugins = plugins.ok_or(InstallError::Template)?;
        plugins.retain(|plugin| with_portmap || plugin["type"] != PORTMAP);
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
