//! The cluster's API: what it tells, and what is written there.
//!
//! It tells of this node's object, of the pods that are bound to the node, and with custom
//! networking of the ENIConfigs. Nothing waits for it. While it does not answer, the view keeps
//! what it said last, and pods get addresses as if there were no cluster. The watches are
//! bounded: one object by its name, pods by the node that they are bound to, of which only the
//! fields that somebody needs are kept.
//!
//! What is written there, [`Writers`] do, once pods are served.

mod annotations;
mod availability;
mod client;
mod eni_configs;
mod event_queue;
mod health;
mod node;
mod node_writer;
mod pod_events;
mod pods;
#[cfg(feature = "bpf")]
mod policies;
mod requests;
mod summary;
mod taints;
#[cfg(test)]
mod testing;
mod writers;

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::watcher as watch_of;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::client::ConfigError;
use self::health::{Asked, Health};
use self::pods::{KnownPods, Wanted};
use self::requests::Observer;
pub(crate) use self::writers::Served;
use self::writers::{OfPods, Writers};
use super::api_metrics::ApiMetrics;
use super::warnings::ClusterNews;
use super::{Cluster, ObjectName};
use crate::config::{Config, KubernetesSettings};
#[cfg(feature = "bpf")]
use crate::enforcement::Ebpf;
use crate::retry::{grown, half_to_whole};

/// Between two tries to find out how the API is reached.
const PAUSE: Duration = Duration::from_secs(15);
/// Between two tries of a request: at first, and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The cluster's API, as settings say.
#[derive(Debug, Clone)]
pub(crate) struct Kubernetes {
    settings: KubernetesSettings,
    /// Name of the node's object.
    node: String,
    /// Whether a file has the node's labels and annotations instead.
    node_is_in_a_file: bool,
    /// Whether ENIConfigs are watched.
    eni_configs: bool,
    /// Who enforces the cluster's policies.
    #[cfg(feature = "bpf")]
    enforcement: Option<Ebpf>,
    cluster: Cluster,
    news: ClusterNews,
    metrics: ApiMetrics,
}

impl Kubernetes {
    /// `None` where no cluster is named. Nothing is asked yet.
    pub(crate) fn of(
        config: &Config,
        cluster: &Cluster,
        news: &ClusterNews,
        metrics: &ApiMetrics,
    ) -> Option<Self> {
        let custom_network = config.custom_network.as_ref();
        Some(Self {
            settings: config.kubernetes.clone()?,
            node: config.name().to_owned(),
            node_is_in_a_file: custom_network.is_some_and(|one| one.node.is_some()),
            eni_configs: custom_network.is_some_and(|one| one.configs.is_none()),
            #[cfg(feature = "bpf")]
            enforcement: None,
            cluster: cluster.clone(),
            news: news.clone(),
            metrics: metrics.clone(),
        })
    }

    /// Tells `ebpf` of the cluster's policies, too.
    #[cfg(feature = "bpf")]
    pub(crate) fn enforcing(mut self, ebpf: Option<Ebpf>) -> Self {
        self.enforcement = ebpf;
        self
    }

    /// Writes what the API says into the view, until `stop`; and what is `served` to the API.
    pub(crate) fn run(
        self,
        served: Option<Served>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> {
        // Now, so that the API is told of the first pod whose ADD fails, though it may be reached
        // only later.
        let served = served.map(|served| {
            let of_pods = OfPods::of(&served);
            (served, of_pods)
        });
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.work(served) => {}
            }
        }
    }

    async fn work(self, served: Option<(Served, OfPods)>) {
        let health = Health::new(self.news.clone());
        let clients = loop {
            match self.connect(&health).await {
                Ok(clients) => break clients,
                Err(error) => health.unusable(&error),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let known = watch::Sender::new(KnownPods::default());
        let own = self.settings.pod_name.as_ref().map(|name| ObjectName {
            namespace: clients.writing.default_namespace().to_owned(),
            name: name.clone(),
        });
        let wanted = Wanted {
            own: own.clone(),
            annotations: self.settings.annotate_pods,
        };
        let node = async {
            if !self.node_is_in_a_file {
                node::follow(clients.node, &self.node, &self.cluster, &health).await;
            }
        };
        let eni_configs = async {
            if self.eni_configs {
                eni_configs::follow(clients.eni_configs, &self.cluster, &health).await;
            }
        };
        let wanted = (&wanted, &known);
        let pods = pods::follow(clients.pods, &self.node, &self.cluster, &health, wanted);
        let writing = async {
            if let Some((served, of_pods)) = served {
                let writers = Writers {
                    client: clients.writing,
                    settings: self.settings.clone(),
                    node: self.node.clone(),
                    own,
                    cluster: self.cluster.clone(),
                    known: known.subscribe(),
                    health: health.clone(),
                    metrics: self.metrics.clone(),
                };
                writers.run(served, of_pods).await;
            }
        };
        #[cfg(feature = "bpf")]
        let policies = async {
            if let Some(ebpf) = self.enforcement.clone() {
                policies::follow(clients.policies, &self.node, ebpf, &health).await;
            }
        };
        #[cfg(not(feature = "bpf"))]
        let policies = std::future::ready(());
        tokio::join!(node, pods, eni_configs, policies, writing);
    }

    /// A client for each watch, and one that writes.
    async fn connect(&self, health: &Health) -> Result<Clients, ConfigError> {
        let config = client::config(&self.settings).await?;
        let client = |watch| {
            let observer = Observer {
                metrics: self.metrics.clone(),
                health: health.clone(),
                watch,
            };
            client::client(&config, &observer)
        };
        let clients = Clients {
            node: client(Some(Asked::Node))?,
            pods: client(Some(Asked::Pods))?,
            eni_configs: client(Some(Asked::EniConfigs))?,
            #[cfg(feature = "bpf")]
            policies: client(Some(Asked::Policies))?,
            writing: client(None)?,
        };
        let server = &config.cluster_url;
        tracing::info!(%server, node = self.node, "watches the cluster's API");
        health.usable(server);
        Ok(clients)
    }
}

struct Clients {
    node: Client,
    pods: Client,
    eni_configs: Client,
    #[cfg(feature = "bpf")]
    policies: Client,
    writing: Client,
}

/// The cluster does not know the kind of objects that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoSuchKind;

/// The events of a watch that begins anew after every failure, later each time until the
/// API answers. What goes wrong is told to `health`.
fn events<'a, K>(
    api: Api<K>,
    fields: &str,
    (health, watched): (&'a Health, Asked),
) -> impl Stream<Item = Result<Event<K>, NoSuchKind>> + use<'a, K>
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
    watch_of(api, config).filter_map(move |event| async move {
        match event {
            Ok(event) => Some(Ok(event)),
            Err(watcher::Error::InitialListFailed(error)) if is_missing(&error) => {
                health.answered(watched);
                Some(Err(NoSuchKind))
            }
            Err(error) => {
                let failures = health.failed(watched, &error);
                tokio::time::sleep(pause(failures)).await;
                None
            }
        }
    })
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    half_to_whole(grown(FIRST_PAUSE, LONGEST_PAUSE, failures))
}

/// Whether the API answered that there is nothing of the kind or the name. Of a kind that it does
/// not know, it says so by the status alone.
fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API refused what is asked for as such: the same request again would fare alike.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}

/// Whether the API refused it for want of a right.
fn is_not_permitted(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

#[cfg(test)]
mod tests;
