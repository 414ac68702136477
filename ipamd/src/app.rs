//! The composition root: what the daemon is made of, and the order in which it
//! starts. Which provider, which tasks and how it serves and stops stand beside.

#[cfg(feature = "aws")]
mod aws;
mod provider;
mod serving;
mod tasks;

#[cfg(feature = "aws")]
pub use aws::settings as aws_settings;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use veni_dataplane::DataPlane;
use veni_dataplane::plan::egress_range;
use veni_provider::Provider;

use crate::assigned::{AssignedFile, Keeper, recall};
use crate::cloud::{first_look, limited, remembered};
use crate::config::{CloudProfile, Config, ProviderChoice, Setting};
use crate::endpoints::{EndpointSettings, Endpoints, Tools};
use crate::eni_config::Place;
use crate::events::Events;
use crate::host::HostWatch;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::node::{egress, egress_of_pods, node_plan, own_addresses, place, prepare};
use crate::node_warnings::NodeWarnings;
use crate::operator::OperatorDesk;
use crate::pool::{Known, Pool, PoolTask, Worlds};
use crate::progress::Progress;
use crate::recovery::{node_local, report_repairs};
use crate::repairs::Repairs;
use crate::run_dir::{NodeClaim, RunDir};
use crate::targets::{check, facts, pool_settings};

/// The daemon's parts, running.
pub struct App {
    /// Endpoints.
    pub endpoints: Arc<Endpoints>,
    /// Pool.
    pub pool: Pool,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    place: Place,
    run_dir: RunDir,
    config: Config,
    settings: Vec<Setting>,
    tasks: JoinSet<()>,
    /// Stops what serves endpoints; the pool stops after them.
    stop_pool: CancellationToken,
}

/// Who is told how a start goes.
#[derive(Debug, Clone, Default)]
struct Observers {
    metrics: Arc<Metrics>,
    progress: Progress,
    node: NodeWarnings,
}

/// Runs a daemon until `shutdown`.
///
/// # Errors
/// The run folder is taken, the AWS plugin runs on this node, the kernel cannot
/// be used at all, the settings make no provider.
pub async fn run(
    config: Config,
    run_dir: &Path,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let run_dir = RunDir::try_new(run_dir)?;
    let _claim = NodeClaim::try_new()?;
    let watch = watch(&config);
    watch.begin()?;
    let socket = run_dir.listen(veni_api::OPERATOR_SOCKET)?;
    let node = watch.node().clone();
    let desk = OperatorDesk::open(socket, config.settings(None), watch, &shutdown).await;
    let observers = Observers {
        metrics: Arc::default(),
        progress: desk.progress().clone(),
        node,
    };
    let remembered = remembered(&Journal::new(run_dir.folder(), run_dir.boot()))?;
    let connected = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        connected = provider::connect(&config, remembered.as_ref(), &observers) => connected?,
    };
    let (provider, profile) = connected;
    let kernel = veni_dataplane::Kernel::try_new().context("failed to open netlink sockets")?;
    let started = App::start_observed(
        config,
        profile,
        run_dir,
        provider,
        Arc::new(kernel),
        observers,
        &shutdown,
    );
    match started.await? {
        Some(app) => app.serve(desk, shutdown).await,
        None => Ok(()),
    }
}

impl App {
    /// Starts a daemon with this provider and kernel: recovery first, so that
    /// it is ready when this returns. `None` when it was told to stop before.
    ///
    /// # Errors
    /// The journal cannot be read, or the settings ask for what this node
    /// cannot do.
    pub async fn start(
        config: Config,
        profile: CloudProfile,
        run_dir: RunDir,
        provider: Arc<dyn Provider>,
        kernel: Arc<dyn DataPlane>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let nobody = Observers::default();
        Self::start_observed(config, profile, run_dir, provider, kernel, nobody, shutdown).await
    }

    /// Likewise, with observers that the provider has been told of.
    async fn start_observed(
        config: Config,
        profile: CloudProfile,
        run_dir: RunDir,
        provider: Arc<dyn Provider>,
        kernel: Arc<dyn DataPlane>,
        observers: Observers,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let Observers {
            metrics,
            progress,
            node: warnings,
        } = observers;
        let events = Events::default();
        let journal = Journal::new(run_dir.folder(), run_dir.boot());
        let provider = limited(&config, provider, &metrics, &events);
        let Some(look) = first_look(&journal, &provider, &progress, shutdown).await? else {
            return Ok(None);
        };
        let (node, can) = (&look.memory.node, provider.capabilities());
        check(&config, profile, node, can)?;
        let settings = pool_settings(&config, profile, node, can);
        let in_force = config.settings(Some(&facts(profile, node, &settings)));
        let place = place(&config, node);
        metrics.set_max_interfaces(node.limits.interfaces);
        let own = own_addresses(&look.memory.inventory);
        let egress = egress(&config, &own);
        let of_pods = node_local(&journal)?;
        let translated = egress.or_else(|| egress_of_pods(of_pods, &own));
        let node_plan = node_plan(&config, &look.memory, &own, translated);
        let report = (&progress, &warnings);
        // What changes while all is compared for the first time is compared once more.
        let watch = kernel.watch();
        let Some(recovered) = prepare(&kernel, &node_plan, &journal, report, shutdown).await?
        else {
            return Ok(None);
        };
        let (pool, commands) = Pool::channel();
        let tools = Tools {
            pool: pool.clone(),
            kernel: Arc::clone(&kernel),
            journal: journal.clone(),
            events: events.clone(),
            metrics: Arc::clone(&metrics),
        };
        let (endpoints, reaper) = Endpoints::new(endpoint_settings(&config, own, egress), tools);
        report_repairs(&recovered.repairs, &events, &metrics);
        let repairs = Repairs::new(events.clone(), Arc::clone(&metrics));
        let mut known = Known::of(&look, &recovered, &settings, can, run_dir.was_ready());
        let file = AssignedFile::new(&config.state_dir, run_dir.boot());
        let recalled = recall(&journal, &file, &node.instance_id, &events).await;
        known.recall(recalled, &look, &settings);
        let (record, writer) = Keeper::new(journal.clone(), file, events.clone());
        endpoints.restore(recovered.records);
        let task = PoolTask::new(
            known,
            settings,
            Worlds {
                provider,
                kernel: Arc::clone(&kernel),
                repairs: repairs.clone(),
            },
            (journal, record),
            events.clone(),
            Arc::clone(&metrics),
            (pool.clone(), commands),
        );
        let mut app = Self {
            endpoints,
            pool,
            events,
            metrics,
            place,
            run_dir,
            config,
            settings: in_force,
            tasks: JoinSet::new(),
            stop_pool: CancellationToken::new(),
        };
        app.spawn_core(task, reaper);
        app.tasks.spawn(writer);
        app.spawn_node_addresses(Arc::clone(&kernel));
        app.spawn_reconciler(kernel, watch, (node_plan, warnings), repairs);
        Ok(Some(app))
    }
}

/// The host is watched where the daemon manages its network, which a node of a
/// mock cloud is not.
fn watch(config: &Config) -> HostWatch {
    let real = matches!(config.provider, ProviderChoice::Aws(_));
    HostWatch::new(&config.host, real)
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
