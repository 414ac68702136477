//! The source of policies that needs no cluster: files of a folder.
//!
//! They are read again and again, as those of custom networking are, and for the same reasons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veni_policy::Needed;
use veni_policy::folder::{Problem, read};
use veni_policy::objects::{Object, Reference};

use super::{Change, Ebpf};
use crate::cluster::{ClusterNews, Subject};

/// Between two readings.
const READ_EVERY: Duration = Duration::from_secs(2);

/// A folder of NetworkPolicies, Namespaces and Pods.
#[derive(Debug)]
pub(crate) struct PolicyFolder {
    path: PathBuf,
    /// What was read last, each object as it was.
    told: BTreeMap<Reference, Object>,
}

impl PolicyFolder {
    /// Reads nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            told: BTreeMap::new(),
        }
    }

    /// Tells `ebpf` what the files say whenever that changes, until `stop`.
    pub(crate) async fn run(mut self, ebpf: Ebpf, news: ClusterNews, stop: CancellationToken) {
        loop {
            let (ebpf, news) = (ebpf.clone(), news.clone());
            // Reading files may block, on a volume that hangs for ever.
            let read = tokio::task::spawn_blocking(move || {
                news.set(Subject::Policies, self.tell(&ebpf));
                self
            });
            self = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                read = read => match read {
                    Ok(folder) => folder,
                    // A panic is a defect, and ends the process.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => return,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READ_EVERY) => {}
            }
        }
    }

    /// Tells what has changed. Returns what is wrong with the files or was refused.
    fn tell(&mut self, ebpf: &Ebpf) -> Option<String> {
        let (changes, problem) = match self.changes() {
            Ok(read) => read,
            Err(problem) => return Some(problem),
        };
        // Also where nothing has changed: what was refused before is tried again.
        let refused = ebpf.take_in(changes, &Needed::Everywhere).err();
        let refused = refused.map(|pods| format!("policies are not in force: {pods}"));
        problem.or(refused)
    }

    /// What has changed since the last reading, and what is wrong with a file. While one is
    /// wrong, what it may have said before stays.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn changes(&mut self) -> Result<(Vec<Change>, Option<String>), String> {
        let contents = read(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        let problems: Vec<String> = contents.problems.iter().map(told).collect();
        let objects = contents.objects.into_iter();
        let now: BTreeMap<Reference, Object> =
            objects.map(|object| (object.reference(), object)).collect();
        let mut changes = Vec::new();
        if problems.is_empty() {
            let gone = self.told.extract_if(.., |name, _| !now.contains_key(name));
            changes.extend(gone.map(|(name, _)| Change::Delete(name)));
        }
        for (name, object) in now {
            if self.told.get(&name) != Some(&object) {
                changes.push(Change::Apply(object.clone()));
                self.told.insert(name, object);
            }
        }
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        Ok((changes, problem))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!(
        "failed to read the folder of policies {}: {error}",
        path.display()
    )
}

fn told(problem: &Problem) -> String {
    match std::error::Error::source(problem) {
        Some(source) => format!("{problem}: {source}"),
        None => problem.to_string(),
    }
}

#[cfg(test)]
mod tests;
