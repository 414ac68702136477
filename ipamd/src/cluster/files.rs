//! The source that needs no cluster: files that the settings name.
//!
//! They are read again and again, and not watched by inotify: a volume of Kubernetes
//! changes by a symbolic link of its own, and a file that is edited is replaced or written
//! in place, as the editor likes. Reading them every few seconds sees all of these.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::objects::{read_eni_configs, read_node};
use super::warnings::{ClusterNews, Subject};
use super::{Cluster, EniConfigError, EniConfigs, NodeObject, ObjectError};
use crate::config::CustomNetworkSettings;

/// Between two readings.
const READ_EVERY: Duration = Duration::from_secs(5);

/// What is wrong with a file, or with an ENIConfig in it.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// With the file, or an object in it.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// With what an ENIConfig says.
    #[error(transparent)]
    EniConfig(#[from] EniConfigError),
}

/// The files of custom networking.
#[derive(Debug, Clone)]
pub struct Files {
    settings: CustomNetworkSettings,
}

impl Files {
    /// The files that the settings name. Reads nothing yet.
    #[must_use]
    pub fn new(settings: CustomNetworkSettings) -> Self {
        Self { settings }
    }

    /// Writes what the files say into the view, for the first time: nothing is known that
    /// could stay in force.
    ///
    /// # Errors
    /// A file is missing, is no JSON, or has other objects.
    pub fn begin(&self, cluster: &Cluster) -> Result<(), ObjectError> {
        let (node, eni_configs) = (self.node()?, self.eni_configs()?);
        cluster.update(|view| {
            if let Some(node) = node {
                view.node = node;
            }
            if let Some(eni_configs) = eni_configs {
                view.eni_configs = eni_configs;
            }
        });
        Ok(())
    }

    /// Writes what the files say into the view whenever that changes, until `stop`. Of a
    /// file that is wrong, what it said before stays.
    pub(crate) async fn run(self, cluster: Cluster, news: ClusterNews, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READ_EVERY) => {}
            }
            let (files, cluster, news) = (self.clone(), cluster.clone(), news.clone());
            // Reading files may block, on a volume that hangs for ever.
            let read = tokio::task::spawn_blocking(move || files.read(&cluster, &news));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                read = read => match read {
                    // A panic is a defect, and ends the process.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    fn read(&self, cluster: &Cluster, news: &ClusterNews) {
        let node = told(self.node(), Subject::NodeFile, news);
        let eni_configs = told(self.eni_configs(), Subject::EniConfigFile, news);
        cluster.update(|view| {
            if let Some(node) = node.flatten() {
                view.node = node;
            }
            if let Some(eni_configs) = eni_configs.flatten() {
                view.eni_configs = eni_configs;
            }
        });
    }

    /// All that is wrong with the files and with the ENIConfigs in them, those of other
    /// nodes included.
    #[must_use]
    pub fn problems(&self) -> Vec<FileProblem> {
        let mut problems: Vec<FileProblem> = Vec::new();
        problems.extend(self.node().err().map(FileProblem::from));
        match self.eni_configs() {
            Ok(Some(configs)) => problems.extend(configs.problems().map(FileProblem::from)),
            Ok(None) => {}
            Err(problem) => problems.push(problem.into()),
        }
        problems
    }

    /// `None` where no file has the node: another source may tell of it.
    fn node(&self) -> Result<Option<NodeObject>, ObjectError> {
        self.settings.node.as_deref().map(read_node).transpose()
    }

    /// Likewise.
    fn eni_configs(&self) -> Result<Option<EniConfigs>, ObjectError> {
        self.settings
            .configs
            .as_deref()
            .map(read_eni_configs)
            .transpose()
    }
}

/// What a file says, or `None` after operators have been told what is wrong with it.
fn told<T>(read: Result<T, ObjectError>, subject: Subject, news: &ClusterNews) -> Option<T> {
    let (said, problem) = match read {
        Ok(said) => (Some(said), None),
        Err(error) => (None, Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    news.set(subject, problem);
    said
}

#[cfg(test)]
mod tests;
