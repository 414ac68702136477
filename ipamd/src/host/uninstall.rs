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
use crate::noted_dels::is_noted;

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
    #[error(
        "cannot tell whether pods have their network from Veni: start the daemon once, which \
         removes what makes no sense, or, if the node runs no pods, remove the file"
    )]
    Journal(#[source] JournalError),
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
/// An attachment counts until its DEL: the daemon's, or one of which the plugin has left a note,
/// because no daemon may run any more that would work it off.
///
/// # Errors
/// Pods still have their network from Veni, the journal does not tell, or the system refused. It
/// can be repeated.
pub fn uninstall(
    settings: &HostSettings,
    run_dir: &Path,
    boot: &str,
) -> Result<Vec<PathBuf>, UninstallError> {
    let records = Journal::new(run_dir, boot).peek_all(Folder::Endpoints);
    let mut records: Vec<Record> = records.map_err(UninstallError::Journal)?;
    // Their pods are deleted. No daemon may be left to see their addresses cool.
    records.retain(|record| record.state != RecordState::Dying && !is_noted(run_dir, boot, record));
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

    /// A host with Veni's files and one of somebody else; and a run folder in it.
    struct Bed {
        folder: tempfile::TempDir,
        settings: HostSettings,
        journal: Journal,
    }

    const OTHER: &str = "99-other.conflist";
    const BOOT: &str = "boot";

    impl Bed {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().to_owned();
            let config = Config::defaults(&crate::app::providers(), "node").expect("valid");
            for name in [INSTALLED_CONFLIST, PLUGIN, OTHER] {
                fs::write(path.join(name), "").expect("writes");
            }
            Self {
                settings: HostSettings {
                    binaries: Some(path.clone()),
                    configurations: Some(path.clone()),
                    ..config.host
                },
                journal: Journal::new(&path.join("run"), BOOT),
                folder,
            }
        }

        fn run_dir(&self) -> PathBuf {
            self.folder.path().join("run")
        }

        fn write(&self, entry: &Record) {
            let written = self.journal.write(Folder::Endpoints, "one", entry);
            written.expect("writes");
        }

        /// As the plugin leaves it when no daemon answers its DEL.
        fn note(&self, entry: &Record, boot: &str, boot_ms: u64) {
            let note = serde_json::json!({
                "version": 1, "network": entry.key.network,
                "containerId": entry.key.container_id,
                "interfaceName": entry.key.interface_name,
                "timeMs": 1, "bootMs": boot_ms, "bootId": boot,
            });
            let pending = self.run_dir().join(veni_api::PENDING_DIR);
            fs::create_dir_all(&pending).expect("makes the folder");
            let name = veni_api::file_names::note(entry.key.parts());
            fs::write(pending.join(name), note.to_string()).expect("writes");
        }

        fn uninstall(&self) -> Result<Vec<PathBuf>, UninstallError> {
            uninstall(&self.settings, &self.run_dir(), BOOT)
        }

        fn all_are_there(&self) -> bool {
            let mut names = [INSTALLED_CONFLIST, PLUGIN, OTHER].iter();
            names.all(|name| self.folder.path().join(name).exists())
        }
    }

    #[test]
    fn only_veni_s_own_files_go_and_only_when_no_pod_needs_them() {
        let bed = Bed::new();
        let mut entry = record();
        bed.write(&entry);
        let refused = bed.uninstall().expect_err("a pod is there");
        assert!(refused.to_string().contains(&entry.label()), "{refused}");
        assert!(bed.all_are_there());
        entry.state = RecordState::Dying;
        bed.write(&entry);
        let removed = bed.uninstall().expect("nobody needs it");
        let path = bed.folder.path();
        assert_eq!(removed, [path.join(INSTALLED_CONFLIST), path.join(PLUGIN)]);
        assert!(path.join(OTHER).exists());
        let again = bed.uninstall().expect("nothing is left");
        assert_eq!(again, Vec::<PathBuf>::new());
    }

    #[test]
    fn a_del_that_was_noted_while_no_daemon_ran_counts_if_it_is_of_this_boot_and_after_the_add() {
        let bed = Bed::new();
        let entry = Record {
            created_boot_ms: 500,
            ..record()
        };
        bed.write(&entry);
        for (boot, boot_ms) in [("another boot", 600), (BOOT, 400)] {
            bed.note(&entry, boot, boot_ms);
            let refused = bed.uninstall().expect_err("the pod is still there");
            assert!(matches!(refused, UninstallError::InUse { .. }), "{refused}");
        }
        bed.note(&entry, BOOT, 600);
        assert_eq!(bed.uninstall().expect("the pod is deleted").len(), 2);
    }

    #[test]
    fn a_record_that_makes_no_sense_may_be_a_pod_s() {
        let bed = Bed::new();
        bed.write(&record());
        let path = bed.run_dir().join("journal/endpoints/one.json");
        fs::write(path, "nonsense").expect("writes");
        let refused = bed.uninstall().expect_err("nobody knows");
        let refused = format!("{:#}", anyhow::Error::from(refused));
        assert!(refused.contains("endpoints/one.json"), "{refused}");
        assert!(bed.all_are_there());
    }
}
