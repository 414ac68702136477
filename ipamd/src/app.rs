//! The composition root: what the daemon is made of, and the order in which it starts,
//! serves and ends. Which provider, and who owns the tasks and the servers, stands beside.

mod adapter;
mod metrics;
mod observers;
mod provider;
mod servers;
mod tasks;

pub use crate::cloud_metrics::RequestMetrics;
pub use metrics::Metrics;
pub use provider::aws::AwsChoice;
#[cfg(feature = "aws")]
pub use provider::aws::settings as aws_settings;
pub use provider::providers;

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_dataplane::plan::egress_range;
use veni_dataplane::{DataPlane, Enforcement, NodePlan, Unenforced, Watch};
use veni_provider::Provider;

use self::adapter::Start;
use self::observers::Observers;
use self::servers::Servers;
use self::tasks::Tasks;
use crate::assigned::{AssignedFile, Keeper, recall};
use crate::cloud::limited;
use crate::cloud_rules::CloudRules;
use crate::cluster::custom_network::{CustomNetworkTask, followed};
use crate::cluster::expected::tell_expected;
use crate::cluster::files::Files;
#[cfg(feature = "kube")]
use crate::cluster::kubernetes::{Kubernetes, Served};
use crate::cluster::node_targets::{NodeTargetsTask, TargetsInForce};
use crate::cluster::{Cluster, ClusterNews, Place};
#[cfg(feature = "bpf")]
use crate::config::PolicyMode;
use crate::config::{Config, EffectiveSetting};
use crate::endpoints::{EndpointSettings, Endpoints, Tools};
#[cfg(feature = "bpf")]
use crate::enforcement::{Ebpf, PolicyFolder, take_away};
use crate::events::Events;
use crate::host::HostWatch;
use crate::host::install::Order;
use crate::journal::Journal;
use crate::log_levels::LogLevels;
use crate::node::{egress, egress_of_pods, node_plan, own_addresses, place};
use crate::node_addresses;
use crate::node_check::Checker;
use crate::node_metrics::{CountDrops, Sampler, Sources};
use crate::noted_dels::work_off_notes;
use crate::pool::{Backends, Operations, Pool, PoolTask, Seed, Wishes};
use crate::reconcile::{Reconciler, ReconcilerHandle, Requests};
use crate::repairs::Repairs;
use crate::run_dir::{BoundSocket, NodeClaim, RunDir, once_free};
use crate::serve::introspection::Shown;
use crate::serve::metrics::Asked;
use crate::serve::operator::{Known, OperatorServer, Ready};
use crate::start::first_inventory::{first_inventory, remembered};
use crate::start::recovery::{node_local, report_repairs};
use crate::start::{found, prepare};
use crate::targets::{check, facts, pool_settings, targets_in_words};

/// Where the kernel tells of the connections that it tracks.
const NETFILTER: &str = "/proc/sys/net/netfilter";
/// How long ADDs and DELs may go on after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// The daemon's parts, running.
pub struct App {
    /// Endpoints.
    pub endpoints: Arc<Endpoints>,
    /// Pool.
    pub pool: Pool,
    /// What is known of the cluster; its sources write here.
    pub cluster: Cluster,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    checker: Checker,
    place: Place,
    run_dir: RunDir,
    config: Config,
    settings: Vec<EffectiveSetting>,
    /// Targets in force.
    targets: TargetsInForce,
    /// Counts what is dropped of pods' packets.
    drops: Arc<CountDrops>,
    /// Whether pods are served.
    serving: watch::Sender<bool>,
    /// What endpoints need: they are stopped after the last of them.
    tasks: Tasks,
}

/// Runs a daemon until `shutdown`. Operators may change the log's `levels`.
///
/// # Errors
/// The run folder is taken, the cloud's own plugin runs on this node, the kernel cannot
/// be used at all, the settings make no provider.
pub async fn run(
    config: Config,
    run_dir: &Path,
    levels: LogLevels,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let run_dir = once_free(|| RunDir::try_new(run_dir)).await?;
    let _claim = once_free(NodeClaim::try_new).await?;
    let adapter = provider::adapter(&config.provider)?;
    let watch = HostWatch::new(&config.host, adapter.host_checks());
    watch.begin().await?;
    // Both before anything else writes to the run folder, which may be full.
    let operators = run_dir.bind(veni_api::OPERATOR_SOCKET)?;
    let plugins = run_dir.bind(veni_api::CNI_SOCKET)?;
    let (node, cluster_warnings) = (watch.node().clone(), watch.cluster().clone());
    #[cfg(feature = "kube")]
    let host = Some(watch.clone());
    let known = Known {
        settings: config.settings(&providers(), None),
        watch,
        levels,
    };
    let mut operators = OperatorServer::open(operators.listen()?, known, &shutdown).await;
    if let Some(address) = config.health {
        operators.serve_health(address, shutdown.clone());
    }
    let mut observers = Observers {
        metrics: Metrics::default(),
        progress: operators.progress().clone(),
        node,
        cluster_warnings,
        #[cfg(feature = "kube")]
        host,
        ..Observers::default()
    };
    let journal = Journal::new(run_dir.folder(), run_dir.boot());
    let remembered = remembered(&journal)?;
    // Before anybody is waited for: mistakes in the files show without a cloud.
    if let Some(settings) = &config.custom_network {
        Files::new(settings.clone()).begin(&observers.cluster)?;
    }
    let start = Start {
        config: &config,
        remembered: remembered.as_ref(),
        followed: followed(&journal),
        observers: &observers,
    };
    let provider = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        never = watch_eni_configs(&config, &observers) => match never {},
        connected = adapter.connect(&start) => connected?,
    };
    let kernel = veni_dataplane::Kernel::try_enforcing(enforce(&config, &mut observers)?)
        .context("failed to open netlink sockets")?;
    let started = App::start_observed(
        config,
        adapter.rules(),
        run_dir,
        provider,
        Arc::new(kernel),
        observers,
        &shutdown,
    );
    match started.await? {
        Some(app) => app.serve(plugins, operators, shutdown).await,
        None => Ok(()),
    }
}

/// Puts what judges pods' packets into force, or takes away what an earlier daemon had.
fn enforce(config: &Config, observers: &mut Observers) -> anyhow::Result<Arc<dyn Enforcement>> {
    #[cfg(feature = "bpf")]
    match &config.enforcement {
        Some(settings) => {
            let ebpf = Ebpf::start(settings, &config.bpf_folder);
            let ebpf = ebpf.context("failed to put VENI_ENFORCEMENT=ebpf into force")?;
            observers.enforcement = Some(ebpf.clone());
            return Ok(Arc::new(ebpf));
        }
        None => take_away(&config.bpf_folder)
            .context("failed to take away what VENI_ENFORCEMENT=ebpf had put into force")?,
    }
    let _ = (config, observers);
    Ok(Arc::new(Unenforced))
}

/// Lets the view have the cluster's ENIConfigs while the provider, which needs one of them, is
/// connected; without custom networking, or with files, does nothing.
async fn watch_eni_configs(config: &Config, observers: &Observers) -> Infallible {
    #[cfg(feature = "kube")]
    if config
        .custom_network
        .as_ref()
        .is_some_and(|custom| custom.configs.is_none())
    {
        let news = ClusterNews {
            warnings: observers.cluster_warnings.clone(),
            events: Events::default(),
        };
        let (cluster, metrics) = (&observers.cluster, &observers.metrics.api);
        if let Some(api) = Kubernetes::of(config, cluster, &news, metrics) {
            api.run(None, CancellationToken::new()).await;
        }
    }
    #[cfg(not(feature = "kube"))]
    let _ = (config, observers);
    std::future::pending().await
}

impl App {
    /// Starts a daemon with this provider, its cloud's rules and this kernel: recovery first, so that
    /// it is ready when this returns. `None` when it was told to stop before.
    ///
    /// # Errors
    /// The journal cannot be read, or the settings ask for what this node
    /// cannot do.
    pub async fn start(
        config: Config,
        rules: &CloudRules,
        run_dir: RunDir,
        provider: Arc<dyn Provider>,
        kernel: Arc<dyn DataPlane>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let nobody = Observers::default();
        Self::start_observed(config, rules, run_dir, provider, kernel, nobody, shutdown).await
    }

    /// Likewise, with observers that the provider has been told of.
    async fn start_observed(
        config: Config,
        rules: &CloudRules,
        run_dir: RunDir,
        provider: Arc<dyn Provider>,
        kernel: Arc<dyn DataPlane>,
        observers: Observers,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let events = Events::default();
        let journal = Journal::new(run_dir.folder(), run_dir.boot());
        let Observers {
            metrics, progress, ..
        } = &observers;
        let provider = limited(&config, provider, &metrics.calls, &events);
        let Some(first) = first_inventory(&journal, &provider, progress, shutdown).await? else {
            return Ok(None);
        };
        let initialising = Instant::now();
        let (node, can) = (&first.memory.node, provider.capabilities());
        check(&config, rules, node, can)?;
        let settings = pool_settings(&config, rules, node, can);
        let targets = TargetsInForce::new(targets_in_words(&config, rules, can));
        let in_force = config.settings(&providers(), Some(&facts(rules, node, &settings)));
        let (rules, of_node, can) = (*rules, node.clone(), can.clone());
        let own = own_addresses(&first.memory.inventory);
        #[cfg(feature = "bpf")]
        if let Some(ebpf) = &observers.enforcement {
            let known = ebpf.know_node(&own);
            known.context(
                "failed to tell the programs of VENI_ENFORCEMENT=ebpf the node's addresses",
            )?;
        }
        let egress = egress(&config, &own);
        let of_pods = node_local(&journal)?;
        let translated = egress.or_else(|| egress_of_pods(of_pods, &own));
        let node_plan = node_plan(&config, &rules, &first.memory, &own, translated);
        let report = (progress, &observers.node);
        // What changes while all is compared for the first time is compared once more.
        let watch = kernel.watch();
        let Some(recovered) = prepare(&kernel, &node_plan, &journal, report, shutdown).await?
        else {
            return Ok(None);
        };
        metrics.repairs.node_compared(true);
        report_repairs(&recovered.repairs, &events, &metrics.repairs);
        let (begun, serving) = (Wishes::from(&settings), watch::Sender::new(false));
        let (pool, commands) = Pool::channel();
        let tools = Tools {
            pool: pool.clone(),
            kernel: Arc::clone(&kernel),
            journal: journal.clone(),
            events: events.clone(),
            metrics: metrics.endpoints.clone(),
            repairs: metrics.repairs.clone(),
        };
        let (endpoints, reaper) = Endpoints::new(endpoint_settings(&config, own, egress), tools);
        let file = AssignedFile::new(&config.state_dir, run_dir.boot());
        let assigned = recall(&journal, &file, &node.instance_id, &events).await;
        let found = found(&first, &recovered, assigned, run_dir.was_ready());
        let seed = Seed::of(found, &settings, &can, &journal);
        let (record, writer) = Keeper::new(journal.clone(), file, events.clone());
        endpoints.restore(recovered.records);
        let repairs = Repairs::new(events.clone(), metrics.repairs.clone());
        let (reconciler, requests) = ReconcilerHandle::channel();
        let checker = Checker {
            kernel: Arc::clone(&kernel),
            provider: Arc::clone(&provider),
            pool: pool.clone(),
            endpoints: Arc::clone(&endpoints),
            journal: journal.clone(),
            repairs: repairs.clone(),
            reconciler,
        };
        let task = PoolTask::new(
            seed,
            settings,
            Backends {
                provider,
                operations: Operations::new(journal.clone()),
                kernel: Arc::clone(&kernel),
                repairs: repairs.clone(),
            },
            (journal, record),
            (events.clone(), metrics.pool.clone()),
            (pool.clone(), commands),
        );
        let mut tasks = Tasks::default();
        tasks.spawn(task.run(tasks.stop_token()));
        tasks.spawn(reaper.run(tasks.stop_token()));
        tasks.spawn(writer);
        let mut app = Self {
            place: place(&config, node),
            cluster: observers.cluster.clone(),
            metrics: observers.metrics.clone(),
            endpoints,
            pool,
            events,
            checker,
            run_dir,
            config,
            settings: in_force,
            targets,
            drops: observers.drops(),
            serving,
            tasks,
        };
        let news = ClusterNews {
            warnings: observers.cluster_warnings.clone(),
            events: app.events.clone(),
        };
        let node_targets = NodeTargetsTask {
            config: app.config.clone(),
            rules,
            node: of_node,
            capabilities: can,
            begun,
            in_force: app.targets.clone(),
            pool: app.pool.clone(),
            news: news.clone(),
        };
        let stop = app.tasks.stop_token();
        app.tasks.spawn(node_targets.run(app.cluster.clone(), stop));
        app.follow(kernel, (watch, node_plan), (repairs, requests), observers);
        app.metrics.start.node_initialised(initialising);
        Ok(Some(app))
    }

    /// Follows what others change in the kernel and in the cluster.
    fn follow(
        &mut self,
        kernel: Arc<dyn DataPlane>,
        (watch, plan): (Watch, NodePlan),
        (repairs, requests): (Repairs, Requests),
        observers: Observers,
    ) {
        let (pool, stop) = (self.pool.clone(), self.tasks.stop_token());
        let reconciler = Reconciler {
            requests,
            kernel: Arc::clone(&kernel),
            pool: pool.clone(),
            endpoints: Arc::clone(&self.endpoints),
            repairs,
            plan,
            warnings: observers.node,
            further: self.config.network.untranslated.clone(),
            interval: self.config.timing.audit,
            folder: self.run_dir.folder().to_owned(),
            boot: self.run_dir.boot().to_owned(),
        };
        self.tasks.spawn(reconciler.run(watch, stop.clone()));
        let node_addresses = node_addresses::follow(kernel, pool.clone(), stop.clone());
        self.tasks.spawn(node_addresses);
        let expected = tell_expected(self.cluster.clone(), pool.clone(), stop.clone());
        self.tasks.spawn(expected);
        let news = ClusterNews {
            warnings: observers.cluster_warnings,
            events: self.events.clone(),
        };
        #[cfg(feature = "bpf")]
        let enforcing = self.enforce(observers.enforcement, &news);
        #[cfg(feature = "kube")]
        if let Some(api) = Kubernetes::of(&self.config, &self.cluster, &news, &self.metrics.api) {
            let served = Served {
                serving: self.serving.subscribe(),
                pool: pool.clone(),
                endpoints: Arc::clone(&self.endpoints),
                events: self.events.clone(),
                host: observers.host,
            };
            #[cfg(feature = "bpf")]
            let api = api.enforcing(enforcing);
            self.tasks.spawn(api.run(Some(served), stop.clone()));
        }
        if let Some(settings) = &self.config.custom_network {
            let files = Files::new(settings.clone());
            let files = files.run(self.cluster.clone(), news.clone(), stop.clone());
            let follower = CustomNetworkTask {
                settings: settings.clone(),
                place: self.place.clone(),
                in_force: observers.eni_config,
                pool: pool.clone(),
                news,
                journal: Journal::new(self.run_dir.folder(), self.run_dir.boot()),
            };
            self.tasks.spawn(files);
            self.tasks.spawn(follower.run(self.cluster.clone(), stop));
        }
    }

    /// Keeps what judges pods' packets in order, and tells it of policies in a folder. Returns
    /// it where the cluster's API is to tell of them.
    #[cfg(feature = "bpf")]
    fn enforce(&mut self, ebpf: Option<Ebpf>, news: &ClusterNews) -> Option<Ebpf> {
        let (ebpf, settings) = (ebpf?, self.config.enforcement.as_ref()?);
        let stop = self.tasks.stop_token();
        let sweep = ebpf.clone().sweep(self.events.clone(), stop.clone());
        self.tasks.spawn(sweep);
        match (settings.policies, settings.folder.clone()) {
            (PolicyMode::None, _) => None,
            (_, None) => Some(ebpf),
            (_, Some(folder)) => {
                let folder = PolicyFolder::new(folder).run(ebpf, news.clone(), stop);
                self.tasks.spawn(folder);
                None
            }
        }
    }

    /// Works off the notes about DELs that came while no daemon ran. Nobody is answered before.
    pub async fn make_up_for_dels(&self) {
        let (folder, boot) = (self.run_dir.folder(), self.run_dir.boot());
        work_off_notes(folder, boot, &self.endpoints).await;
    }

    /// Serves the plugin, operators, metrics and introspection until `shutdown`,
    /// then ends in order:
    /// no new request, ADDs and DELs under way, the pool.
    ///
    /// # Errors
    /// The plugin's socket cannot listen; a server or a task has failed.
    async fn serve(
        mut self,
        plugins: BoundSocket,
        operators: OperatorServer,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let cni = plugins.listen()?;
        // Listening, then notes, then answering: a plugin that finds nobody
        // leaves a note before there is a socket, or is answered after.
        self.make_up_for_dels().await;
        let folder = self.run_dir.folder().to_owned();
        let mut servers = Servers::new(shutdown.clone());
        servers.cni(cni, Arc::clone(&self.endpoints));
        let watch = operators.watch().clone();
        if let Some(address) = self.config.metrics {
            servers.metrics(address, self.asked(), watch.clone());
        }
        if let Some(address) = self.config.introspection.clone() {
            servers.introspection(address, self.shown(), watch.clone());
        }
        servers.mark_ready(self.run_dir.ready_mark());
        let ready = Ready {
            pool: self.pool.clone(),
            endpoints: Arc::clone(&self.endpoints),
            events: self.events.clone(),
            checker: self.checker.clone(),
            settings: self.settings.clone(),
            node_name: self.config.node_name.clone(),
            targets: self.targets.clone(),
        };
        servers.operators(operators, ready).await;
        let order = Order::try_new(&self.config, &folder);
        servers.install(order, watch, self.events.clone());
        self.serving.send_replace(true);
        self.metrics.start.ready();
        tracing::info!(run_dir = %folder.display(), "ready");
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            failure = self.tasks.failed() => return Err(failure),
            failure = servers.failed() => return Err(failure),
        }
        tracing::info!("stopping");
        self.stop().await;
        servers.end().await;
        Ok(())
    }

    /// For metrics.
    fn asked(&self) -> Asked {
        let sources = Sources {
            netfilter: NETFILTER.into(),
            statistics: Arc::new(veni_dataplane::link_statistics),
            drops: Arc::clone(&self.drops),
        };
        Asked {
            registry: Arc::clone(&self.metrics.registry),
            sampler: Sampler::new(self.metrics.node.clone(), sources),
            pool: self.pool.clone(),
        }
    }

    /// For introspection.
    fn shown(&self) -> Shown {
        Shown {
            pool: self.pool.clone(),
            endpoints: Arc::clone(&self.endpoints),
            settings: self.settings.clone(),
            custom: self.config.custom_network.clone(),
            place: self.place.clone(),
            cluster: self.cluster.clone(),
        }
    }

    /// Ends what is under way, journalled; pods keep their network.
    pub async fn stop(self) {
        self.pool.close();
        if tokio::time::timeout(GRACE, self.endpoints.drained())
            .await
            .is_err()
        {
            tracing::warn!("some adds or dels did not end in time; the next start undoes them");
        }
        self.tasks.stop().await;
    }
}

fn endpoint_settings(
    config: &Config,
    node_addresses: Vec<IpAddr>,
    egress: Option<IpAddr>,
) -> EndpointSettings {
    EndpointSettings {
        veth_prefix: config.network.veth_prefix.clone(),
        pod_mtu: config.network.pod_mtu,
        add_wait: config.timing.add_wait,
        cooldown: config.timing.cooldown,
        node_addresses,
        egress: egress.map(egress_range),
        no_ipv6: config.kernel.no_pod_ipv6,
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests;
