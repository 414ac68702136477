//! The source that watches the cluster's API: this node's object, and the pods that are
//! bound to the node and wait for an address.
//!
//! Nothing waits for it. While the API does not answer, the view keeps what it said last,
//! and pods get addresses as if there were no cluster. Both watches are bounded: one object
//! by its name, and pods by the node that they are bound to, of which only the fields that
//! tell whether a pod wants an address are kept.

mod client;
mod health;
mod node;
mod pods;

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use self::client::ConfigError;
use self::health::{Health, Watched};
use super::Cluster;
use super::warnings::ClusterNews;
use crate::config::KubernetesSettings;
use crate::retry::{grown, half_to_whole};

/// Between two tries to find out how the API is reached.
const PAUSE: Duration = Duration::from_secs(15);
/// Between two tries of a watch: at first, and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Watches the API as settings say.
pub(crate) struct Kubernetes {
    pub(crate) settings: KubernetesSettings,
    /// Name of the node's object.
    pub(crate) node: String,
    /// Whether a file has the node's labels and annotations instead.
    pub(crate) node_is_in_a_file: bool,
    pub(crate) cluster: Cluster,
    pub(crate) news: ClusterNews,
}

impl Kubernetes {
    /// Writes what the API says into the view, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(self) {
        let health = Health::new(self.news.clone());
        let (of_node, of_pods) = loop {
            match self.connect(&health).await {
                Ok(clients) => break clients,
                Err(error) => health.unusable(&error),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let node = async {
            if !self.node_is_in_a_file {
                node::follow(of_node, &self.node, &self.cluster, &health).await;
            }
        };
        let pods = pods::follow(of_pods, &self.node, &self.cluster, &health);
        tokio::join!(node, pods);
    }

    /// The clients of the two watches.
    async fn connect(&self, health: &Health) -> Result<(Client, Client), ConfigError> {
        let config = client::config(&self.settings).await?;
        let of = |watched| client::client(&config, health, watched);
        let clients = (of(Watched::Node)?, of(Watched::Pods)?);
        let server = &config.cluster_url;
        tracing::info!(%server, node = self.node, "watches the cluster's API");
        health.usable(server);
        Ok(clients)
    }
}

/// The events of a watch that begins anew after every failure, later each time until the
/// API answers. What goes wrong is told to `health`.
fn events<'a, K>(
    api: Api<K>,
    fields: &str,
    (health, watched): (&'a Health, Watched),
) -> impl Stream<Item = Event<K>> + use<'a, K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    // The API's cache answers, not its store: a restart of the API would else be followed by
    // a read of the store for each node.
    let mut config = watcher::Config::default().any_semantic().fields(fields);
    // It does not do so page by page, and what is asked for is no more than a node has.
    config.page_size = None;
    // The back-off that comes with `kube` begins anew with every try, because a try begins
    // with an event.
    watch(api, config).filter_map(move |event| async move {
        match event {
            Ok(event) => Some(event),
            Err(error) => {
                let failures = health.failed(watched, &error);
                let pause = grown(FIRST_PAUSE, LONGEST_PAUSE, failures);
                tokio::time::sleep(half_to_whole(pause)).await;
                None
            }
        }
    })
}
