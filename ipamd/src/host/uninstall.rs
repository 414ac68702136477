//! Takes the CNI plugin off the host, when Veni leaves a node for good.
//!
//! The daemon never does this by itself: a runtime deletes pods while the daemon is away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::install::{INSTALLED_CONFLIST, PLUGIN};
use crate::config::HostSettings;
use crate::journal::endpoint::{Record, RecordState};
use crate::journal::{Folder, Journal, JournalError};

/// Why nothing, or not all, was removed.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// Without the plugin, the runtime could not delete them.
    #[error(
        "{count} attachments of pods have their network from Veni, {}: drain the node (kubectl \
         drain) and try again",
        .labels.join(", ")
    )]
    InUse {
        /// How many there are.
        count: usize,
        /// The first of them.
        labels: Vec<String>,
    },
    /// The journal does not say whether there are any.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system refused.
    #[error("failed to remove {path}; remove it yourself, or mount the host's folder writable")]
    Refused {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// Attachments that an error names.
const NAMED: usize = 5;

/// Removes Veni's network configuration and then its plugin from the folders of the settings.
/// Returns what was removed; what is gone already is none. The configuration goes first: a
/// runtime that sees it calls the plugin.
///
/// # Errors
/// Pods still have their network from Veni, or the system refused. It can be repeated.
pub fn uninstall(
    settings: &HostSettings,
    journal: &Journal,
) -> Result<Vec<PathBuf>, UninstallError> {
    let mut records: Vec<Record> = journal.peek(Folder::Endpoints)?;
    // Their pods are deleted. No daemon may be left to see their addresses cool.
    records.retain(|record| record.state != RecordState::Dying);
    if !records.is_empty() {
        return Err(UninstallError::InUse {
            count: records.len(),
            labels: records.iter().take(NAMED).map(Record::label).collect(),
        });
    }
    let configuration = settings.configurations.as_deref();
    let files = [
        configuration.map(|folder| folder.join(INSTALLED_CONFLIST)),
        settings
            .binaries
            .as_deref()
            .map(|folder| folder.join(PLUGIN)),
    ];
    let mut removed = Vec::new();
    for path in files.into_iter().flatten() {
        if remove(&path)? {
            removed.push(path);
        }
    }
    Ok(removed)
}

fn remove(path: &Path) -> Result<bool, UninstallError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(UninstallError::Refused {
            path: path.display().to_string(),
            source,
        }),
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::serve::fixtures::record;

    #[test]
    fn only_veni_s_own_files_go_and_only_when_no_pod_needs_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let config = Config::defaults(&crate::app::providers(), "node").expect("valid");
        let settings = HostSettings {
            binaries: Some(path.clone()),
            configurations: Some(path.clone()),
            ..config.host
        };
        let names = [INSTALLED_CONFLIST, PLUGIN, "99-other.conflist"];
        for name in names {
            fs::write(path.join(name), "").expect("writes");
        }
        let journal = Journal::new(&path.join("run"), "boot");
        let mut entry = record();
        let written = journal.write(Folder::Endpoints, "one", &entry);
        written.expect("writes");
        let refused = uninstall(&settings, &journal).expect_err("a pod is there");
        assert!(refused.to_string().contains(&entry.label()), "{refused}");
        assert!(names.iter().all(|name| path.join(name).exists()));
        entry.state = RecordState::Dying;
        let written = journal.write(Folder::Endpoints, "one", &entry);
        written.expect("writes");
        let removed = uninstall(&settings, &journal).expect("nobody needs it");
        assert_eq!(removed, [path.join(names[0]), path.join(names[1])]);
        assert!(path.join("99-other.conflist").exists());
        let again = uninstall(&settings, &journal).expect("nothing is left");
        assert_eq!(again, Vec::<PathBuf>::new());
    }
}
