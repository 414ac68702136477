//! Installs the CNI plugin on the host: puts its binary and its network configuration
//! into the runtime's folders once the daemon is ready.
//!
//! A file appears whole or not at all. One that is right already is left alone, so that a
//! running plugin is never cut short. Nothing is removed when the daemon ends, because
//! the runtime must be able to delete pods while the daemon is away.
//!
//! Another network's configuration that the runtime would use in place of Veni's keeps the
//! configuration from being installed, or is renamed, if an operator said so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::HostWatch;
use super::configurations::{before_ours, set_aside};
use crate::config::{Config, HostSettings};
use crate::events::{EventKind, Events};
use crate::retry::Pauses;

/// The network configuration's name on the host.
pub const INSTALLED_CONFLIST: &str = "10-veni.conflist";

/// The plugin's name, in the folder of plugins and in configurations.
pub(super) const PLUGIN: &str = "veni-cni";
const TEMPLATE: &str = include_str!("../../../deploy/10-veni.conflist");

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
    /// Whether the runtime passes limits of pods' bandwidth (capability `bandwidth`).
    pub bandwidth_limits: bool,
    /// Whether configurations of other networks that come first are renamed.
    pub take_over: bool,
}

/// What an installation changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// The files that were written.
    pub written: Vec<PathBuf>,
    /// The configurations of other networks that were renamed, each with its new name.
    pub set_aside: Vec<(PathBuf, PathBuf)>,
}

/// Why the plugin could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The system refused.
    #[error("failed to {operation} {path}: {source}; {advice}")]
    Refused {
        /// What was tried, as in `failed to write`.
        operation: &'static str,
        /// The path that it was about.
        path: String,
        /// What to do.
        advice: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The runtime would use another network's configuration.
    #[error(
        "the runtime would use {} in place of Veni's {INSTALLED_CONFLIST}, because it takes the \
         first by name: end what installed it and remove or rename the file, or have ipamd \
         rename it (--take-over or VENI_TAKE_OVER=true)",
        .0.display()
    )]
    OtherComesFirst(PathBuf),
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
            bandwidth_limits: settings.bandwidth_limits,
            take_over: settings.take_over,
        })
    }

    /// Installs what differs, and answers what was changed. The binary comes first, because a
    /// runtime that sees the configuration calls it. Other networks' configurations go last, so
    /// that the folder has one that works at any moment.
    ///
    /// # Errors
    /// What stands in the way. Files that were written before stay.
    pub fn install(&self) -> Result<Installed, InstallError> {
        let mut changed = Installed::default();
        if let Some(folder) = &self.binaries {
            let content = fs::read(&self.plugin).map_err(refused("read", &self.plugin))?;
            put(&folder.join(PLUGIN), &content, 0o755, &mut changed.written)?;
        }
        if let Some(folder) = &self.configurations {
            let others = before_ours(folder).map_err(refused("read", folder))?;
            match others.first() {
                Some(first) if !self.take_over => {
                    return Err(InstallError::OtherComesFirst(first.clone()));
                }
                _ => {}
            }
            let text = self.conflist()?;
            let path = folder.join(INSTALLED_CONFLIST);
            put(&path, text.as_bytes(), 0o644, &mut changed.written)?;
            for other in others {
                let aside = set_aside(&other).map_err(refused("rename", &other))?;
                changed.set_aside.push((other, aside));
            }
        }
        Ok(changed)
    }

    fn conflist(&self) -> Result<String, InstallError> {
        let mut list: Value = serde_json::from_str(TEMPLATE).map_err(|_| InstallError::Template)?;
        let own = list["plugins"].get_mut(0).ok_or(InstallError::Template)?;
        own["runDir"] = json!(self.run_dir);
        own["mtu"] = json!(self.mtu);
        if let Some(file) = &self.log_file {
            own["pluginLogFile"] = json!(file);
            own["pluginLogLevel"] = json!(self.log_level);
        }
        if self.bandwidth_limits {
            own["capabilities"]["bandwidth"] = json!(true);
        }
        let text = serde_json::to_string_pretty(&list).map_err(|_| InstallError::Template)?;
        Ok(text + "\n")
    }
}

/// Installs, and tries again until that succeeds or until `shutdown`. Logs what stands in
/// the way and shows it to operators. Pods do not depend on it. With `take_over`, looks again
/// every minute: what was renamed may come back.
pub(crate) async fn keep_installed(
    order: Order,
    watch: HostWatch,
    events: Events,
    shutdown: CancellationToken,
) {
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let attempt = order.clone();
        let outcome = tokio::task::spawn_blocking(move || attempt.install()).await;
        let pause = match outcome {
            Ok(Ok(changed)) => {
                tell(&changed, &events);
                watch.set_installation(None);
                if !order.take_over {
                    return;
                }
                pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
                LONGEST_PAUSE
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the CNI plugin is not installed; tried again");
                watch.set_installation(Some(format!("the CNI plugin is not installed: {error}")));
                pauses.after_failure()
            }
            // The runtime is going down.
            Err(_) => return,
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn tell(changed: &Installed, events: &Events) {
    for path in &changed.written {
        tracing::info!(path = %path.display(), "installed on the host");
    }
    for (path, aside) in &changed.set_aside {
        let (path, aside) = (path.display(), aside.display());
        tracing::warn!(%path, new_name = %aside, "took the place of another network's configuration");
        let message = format!(
            "took the place of another network's configuration: {path} is now {aside}, which no \
             runtime loads"
        );
        events.emit(EventKind::Host, message);
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
    written: &mut Vec<PathBuf>,
) -> Result<(), InstallError> {
    if is_there(path, content, mode) {
        return Ok(());
    }
    // Runtimes ignore a name like this.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.new"));
    let replaced = write_whole(&unfinished, content, mode)
        .map_err(refused("write", &unfinished))
        .and_then(|()| fs::rename(&unfinished, path).map_err(refused("replace", path)));
    if let Err(error) = replaced {
        // Best effort: the first error is the one to report.
        drop(fs::remove_file(&unfinished));
        return Err(error);
    }
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(refused("sync", folder))?;
    written.push(path.to_owned());
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
    // A file that a dead daemon has left would keep its old mode.
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
    // The umask may have taken rights away, so set them again.
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
