//! Lets interfaces that are made from now on follow the ENIConfig that the view has for
//! this node. Those that exist keep their subnet and their security groups.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::eni_config::Choice;
use super::warnings::{ClusterNews, Subject};
use super::{Cluster, ClusterView, EniConfig, Place};
use crate::config::CustomNetworkSettings;
use crate::events::EventKind;
use crate::journal::{Folder, Journal};
use crate::pool::Pool;

/// The ENIConfig that new interfaces follow; none without custom networking. Cheap to
/// clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct EniConfigInForce {
    config: Arc<Mutex<Option<EniConfig>>>,
}

#[cfg_attr(
    not(feature = "aws"),
    allow(dead_code, reason = "only a cloud with ENIConfigs reads it")
)]
impl EniConfigInForce {
    pub(crate) fn get(&self) -> Option<EniConfig> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    /// Puts into force what a daemon before followed.
    pub(crate) fn resume(&self, followed: EniConfig) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        *config = Some(followed);
    }

    /// Puts a choice into force. Returns whether that changes anything.
    pub(crate) fn set(&self, choice: &Choice, found: &EniConfig) -> bool {
        {
            let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            if config.as_ref() == Some(found) {
                return false;
            }
            *config = Some(found.clone());
        }
        tracing::info!(
            eni_config = choice.name,
            because = choice.because,
            subnet = found.subnet,
            security_groups = found.security_groups.join(","),
            "custom networking"
        );
        true
    }
}

/// Keeps the ENIConfig in force that the view has for this node.
pub(crate) struct CustomNetworkTask {
    pub(crate) settings: CustomNetworkSettings,
    pub(crate) place: Place,
    pub(crate) in_force: EniConfigInForce,
    pub(crate) pool: Pool,
    pub(crate) news: ClusterNews,
    pub(crate) journal: Journal,
}

/// Until the journal is written again that could not be.
const WRITE_AGAIN: Duration = Duration::from_secs(60);

/// The only entry of the journal's folder.
const FOLLOWED: &str = "followed";

/// The ENIConfig that a daemon before followed, should the cluster's API have told of it.
pub(crate) fn followed(journal: &Journal) -> Option<EniConfig> {
    let entries = journal.peek(Folder::EniConfig).ok()?;
    entries.into_iter().next()
}

impl CustomNetworkTask {
    /// Follows the view until `stop`. A view that has no ENIConfig for the node, or a wrong
    /// one, changes nothing.
    pub(crate) async fn run(self, cluster: Cluster, stop: CancellationToken) {
        let (mut view, mut written) = (cluster.watch(), None);
        loop {
            let now = view.borrow_and_update().clone();
            let followed = self.take(&now);
            let due = followed.is_some() && written != followed;
            let failed = due && !self.remember(followed.as_ref());
            if due && !failed {
                written = followed;
            }
            // The view may differ in something else.
            let another =
                view.wait_for(|view| view.node != now.node || view.eni_configs != now.eni_configs);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(_) = another => {}
                () = tokio::time::sleep(WRITE_AGAIN), if failed => {}
            }
        }
    }

    /// A file is there at the next start, too; the cluster's API may not be. Returns whether
    /// nothing is left to write.
    fn remember(&self, followed: Option<&EniConfig>) -> bool {
        if self.settings.configs.is_some() {
            return true;
        }
        let written = self.journal.write(Folder::EniConfig, FOLLOWED, &followed);
        let Err(error) = written else { return true };
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(error, "a restart must wait for the cluster's ENIConfigs");
        false
    }

    /// Puts into force what the view has for the node, and returns it.
    fn take(&self, view: &ClusterView) -> Option<EniConfig> {
        let (choice, found) = match view.eni_config(&self.settings, &self.place) {
            Ok(found) => found,
            Err(error) => {
                self.news.set(Subject::EniConfig, Some(error.to_string()));
                return None;
            }
        };
        self.news.set(Subject::EniConfig, None);
        if self.in_force.set(&choice, &found) {
            self.news
                .events
                .emit(EventKind::Cloud, in_words(&choice, &found));
            self.pool.pods_network_changed();
        }
        Some(found)
    }
}

fn in_words(choice: &Choice, found: &EniConfig) -> String {
    let groups = match found.security_groups.as_slice() {
        [] => "the primary interface's security groups".to_owned(),
        groups => groups.join(", "),
    };
    format!(
        "new interfaces follow ENIConfig {} ({}): {}, {groups}",
        choice.name, choice.because, found.subnet
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pool::Command;

    /// On a node called `node-1`, whose name is its ENIConfig's; and the commands of its pool.
    fn of_node() -> (
        CustomNetworkTask,
        tokio::sync::mpsc::UnboundedReceiver<Command>,
    ) {
        let (pool, commands) = Pool::channel();
        let task = CustomNetworkTask {
            settings: CustomNetworkSettings {
                configs: Some("/etc/veni/eniconfigs.json".into()),
                node: None,
                annotation: "example.com/eniConfig".to_owned(),
                label: "kubernetes.io/hostname".to_owned(),
            },
            place: Place {
                node_name: "node-1".to_owned(),
                ..Place::default()
            },
            in_force: EniConfigInForce::default(),
            pool,
            news: ClusterNews::default(),
            journal: Journal::new(std::path::Path::new("/nowhere"), "boot"),
        };
        (task, commands)
    }

    fn set_subnet(cluster: &Cluster, subnet: &str) {
        let spec = json!({ "subnet": subnet });
        cluster.update(|view| {
            view.eni_configs.specs.insert("node-1".to_owned(), spec);
        });
    }

    #[test]
    fn a_view_without_a_config_for_the_node_leaves_the_one_before_in_force() {
        let (task, mut commands) = of_node();
        let cluster = Cluster::default();
        set_subnet(&cluster, "subnet-1");
        task.take(&cluster.view());
        assert!(matches!(
            commands.try_recv(),
            Ok(Command::PodsNetworkChanged)
        ));
        let subnet = || task.in_force.get().map(|config| config.subnet);
        assert_eq!(subnet().as_deref(), Some("subnet-1"));
        for (write, told) in [
            ("net-1", "ENIConfig node-1: spec.subnet is \"net-1\""),
            ("", "ENIConfig node-1: spec.subnet is \"\""),
        ] {
            set_subnet(&cluster, write);
            task.take(&cluster.view());
            let warnings = task.news.warnings.get();
            assert!(warnings[0].contains(told), "{warnings:?}");
            assert_eq!(subnet().as_deref(), Some("subnet-1"));
        }
        cluster.update(|view| view.eni_configs.specs.clear());
        task.take(&cluster.view());
        let warnings = task.news.warnings.get();
        assert!(
            warnings[0].contains("it has no ENIConfig node-1"),
            "{warnings:?}"
        );
        assert!(commands.try_recv().is_err(), "nothing has changed");
        set_subnet(&cluster, "subnet-1");
        task.take(&cluster.view());
        assert!(task.news.warnings.get().is_empty());
        assert!(commands.try_recv().is_err(), "it is the one from before");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_api_tells_is_followed_once_all_is_told_and_by_the_next_daemon_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(folder.path(), "boot");
        assert_eq!(followed(&journal), None);
        let (mut task, mut commands) = of_node();
        task.settings.configs = None;
        task.journal = journal.clone();
        let (cluster, stop) = (Cluster::default(), CancellationToken::new());
        let warnings = task.news.warnings.clone();
        let running = tokio::spawn(task.run(cluster.clone(), stop.clone()));
        set_subnet(&cluster, "subnet-1");
        cluster.update(|view| view.eni_configs.origin = "the cluster's API".to_owned());
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(commands.try_recv().is_err(), "the node is not told yet");
        assert!(warnings.get()[0].contains("has not told"), "{warnings:?}");
        cluster.update(|view| view.node.uid = "u".to_owned());
        assert!(matches!(
            commands.recv().await,
            Some(Command::PodsNetworkChanged)
        ));
        stop.cancel();
        running.await.expect("ends");
        let subnet = followed(&journal).map(|config| config.subnet);
        assert_eq!(subnet.as_deref(), Some("subnet-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_journal_could_not_take_is_written_when_it_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_the_way = folder.path().join("journal");
        std::fs::write(&in_the_way, "").expect("writes");
        let journal = Journal::new(folder.path(), "boot");
        let (mut task, mut commands) = of_node();
        task.settings.configs = None;
        task.journal = journal.clone();
        let (cluster, stop) = (Cluster::default(), CancellationToken::new());
        set_subnet(&cluster, "subnet-1");
        cluster.update(|view| {
            view.eni_configs.origin = "the cluster's API".to_owned();
            view.node.uid = "u".to_owned();
        });
        let running = tokio::spawn(task.run(cluster.clone(), stop.clone()));
        let told = commands.recv().await;
        assert!(matches!(told, Some(Command::PodsNetworkChanged)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::remove_file(&in_the_way).expect("removes");
        tokio::time::sleep(WRITE_AGAIN).await;
        let subnet = followed(&journal).map(|config| config.subnet);
        assert_eq!(subnet.as_deref(), Some("subnet-1"));
        stop.cancel();
        running.await.expect("ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_view_reaches_new_interfaces_and_operators() {
        let (task, mut commands) = of_node();
        let (in_force, mut events) = (task.in_force.clone(), task.news.events.subscribe());
        let cluster = Cluster::default();
        set_subnet(&cluster, "subnet-1");
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.run(cluster.clone(), stop.clone()));
        for subnet in ["subnet-1", "subnet-2"] {
            set_subnet(&cluster, subnet);
            let told = commands.recv().await;
            assert!(matches!(told, Some(Command::PodsNetworkChanged)));
            assert_eq!(
                in_force.get().map(|config| config.subnet).as_deref(),
                Some(subnet)
            );
            let event = events.try_recv().expect("an event").message;
            assert_eq!(
                event,
                format!(
                    "new interfaces follow ENIConfig node-1 (label kubernetes.io/hostname): \
                     {subnet}, the primary interface's security groups"
                )
            );
        }
        stop.cancel();
        running.await.expect("ends");
    }
}
