//! Lets interfaces that are made from now on follow the ENIConfig that the view has for
//! this node. Those that exist keep their subnet and their security groups.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::eni_config::Choice;
use super::warnings::{ClusterNews, Subject};
use super::{Cluster, ClusterView, EniConfig, Place};
use crate::config::CustomNetworkSettings;
use crate::events::EventKind;
use crate::pool::Pool;

/// The ENIConfig that new interfaces follow; none without custom networking. Cheap to
/// clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct EniConfigInForce {
    config: Arc<Mutex<Option<EniConfig>>>,
}

impl EniConfigInForce {
    pub(crate) fn get(&self) -> Option<EniConfig> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.clone()
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
}

impl CustomNetworkTask {
    /// Follows the view until `stop`. A view that has no ENIConfig for the node, or a wrong
    /// one, changes nothing.
    pub(crate) async fn run(self, cluster: Cluster, stop: CancellationToken) {
        let mut view = cluster.watch();
        loop {
            let now = view.borrow_and_update().clone();
            self.take(&now);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = view.changed() => {}
            }
        }
    }

    fn take(&self, view: &ClusterView) {
        let (choice, found) = match view.eni_config(&self.settings, &self.place) {
            Ok(found) => found,
            Err(error) => {
                return self.news.set(Subject::EniConfig, Some(error.to_string()));
            }
        };
        self.news.set(Subject::EniConfig, None);
        if self.in_force.set(&choice, &found) {
            self.news
                .events
                .emit(EventKind::Cloud, in_words(&choice, &found));
            self.pool.pods_network_changed();
        }
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
                configs: "/etc/veni/eniconfigs.json".into(),
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
