//! The composition root: the only place that names concrete providers and the
//! real kernel, and the order in which things start and stop.

#[cfg(feature = "aws")]
mod aws;

#[cfg(feature = "aws")]
pub use aws::settings as aws_settings;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_dataplane::{DataPlane, NodePlan};
use veni_provider::{Limited, LimiterConfig, Provider};

use crate::attachment::AttachmentKey;
use crate::cloud::{CallMeter, FirstLook, first_look, remembered};
use crate::config::{CloudProfile, Config, ProviderChoice};
use crate::endpoints::{EndpointSettings, Endpoints, Reaper, Record, RecordState, Tools};
use crate::events::{EventKind, Events};
use crate::introspection;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::node::{keep_node, node_plan, own_addresses, prepare, untranslated};
use crate::pool::{CloudMemory, Known, Pool, PoolSettings, PoolTask, soft_cooldown};
use crate::recovery::{Recovered, work_off_notes};
use crate::rpc::{OperatorService, serve_cni, serve_operator};
use crate::run_dir::{NodeClaim, RunDir};
use crate::targets::{check, pool_settings};

/// Audits of endpoints to one of the node's own rules, tables and settings.
const NODE_ROUNDS: u64 = 6;
/// How long ADDs and DELs may go on after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long the pool and the reaper may take after that.
const CORE_GRACE: Duration = Duration::from_millis(2300);
/// How long answers that are ready may take to go out.
const ANSWERS: Duration = Duration::from_millis(300);

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
    run_dir: RunDir,
    config: Config,
    tasks: JoinSet<()>,
    /// Stops what serves endpoints; the pool stops after them.
    stop_pool: CancellationToken,
}

/// Runs a daemon until `shutdown`.
///
/// # Errors
/// The run folder is taken, the kernel cannot be used at all, the settings
/// make no provider.
pub async fn run(
    config: Config,
    run_dir: &Path,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let run_dir = RunDir::try_new(run_dir)?;
    let _claim = NodeClaim::try_new()?;
    let metrics = Arc::new(Metrics::default());
    let remembered = remembered(&Journal::try_new(run_dir.folder(), run_dir.boot())?)?;
    let connected = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        connected = connect(&config, remembered.as_ref(), &metrics) => connected?,
    };
    let (provider, profile) = connected;
    let kernel = veni_dataplane::Kernel::try_new().context("failed to open netlink sockets")?;
    let started = App::start_measured(
        config,
        profile,
        run_dir,
        provider,
        Arc::new(kernel),
        metrics,
        &shutdown,
    );
    match started.await? {
        Some(app) => app.serve(shutdown).await,
        None => Ok(()),
    }
}

/// The provider that the settings choose, for the node that the daemon before
/// knew in this boot, if there was one.
#[cfg_attr(
    not(feature = "aws"),
    expect(
        unused_variables,
        reason = "only a provider that looks for its node needs it"
    )
)]
async fn connect(
    config: &Config,
    remembered: Option<&CloudMemory>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<dyn Provider>, CloudProfile)> {
    match &config.provider {
        #[cfg(feature = "aws")]
        ProviderChoice::Aws(choice) => {
            let settings = aws::settings(config, choice, metrics);
            let provider = aws::connect(settings, remembered).await;
            Ok((provider, CloudProfile::Aws))
        }
        // The settings refuse what a build does not have.
        #[cfg(not(feature = "aws"))]
        ProviderChoice::Aws(_) => anyhow::bail!("this build has no provider for AWS"),
        #[cfg(feature = "mock")]
        ProviderChoice::Mock {
            endpoint,
            instance_id,
            instance_type,
            primary_link,
            primary_address,
            profile,
        } => {
            use veni_provider_mock::{MockSettings, Profile};
            let mut settings = MockSettings::new(instance_id);
            settings.endpoint.clone_from(endpoint);
            settings.instance_type.clone_from(instance_type);
            settings.profile = match profile {
                CloudProfile::Aws => Profile::Aws,
                CloudProfile::Azure => Profile::Azure,
            };
            if endpoint.is_none() {
                settings.primary_mac = Some(mac_of(primary_link)?);
                settings.primary_address = Some(primary_address.addr());
                settings.subnet_cidrs = vec![primary_address.trunc()];
                settings.vpc_cidrs = vec![primary_address.trunc()];
            }
            let provider = veni_provider_mock::connect(&settings)
                .await
                .context("failed to make the mock cloud")?;
            Ok((provider, *profile))
        }
    }
}

#[cfg(feature = "mock")]
fn mac_of(link: &str) -> anyhow::Result<veni_provider::Mac> {
    let path = format!("/sys/class/net/{link}/address");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("VENI_MOCK_PRIMARY_LINK={link}: failed to read {path}; is there such a link?")
    })?;
    Ok(text.trim().parse()?)
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
        let metrics = Arc::default();
        Self::start_measured(
            config, profile, run_dir, provider, kernel, metrics, shutdown,
        )
        .await
    }

    /// Likewise, with metrics that the provider has been told of.
    async fn start_measured(
        config: Config,
        profile: CloudProfile,
        run_dir: RunDir,
        provider: Arc<dyn Provider>,
        kernel: Arc<dyn DataPlane>,
        metrics: Arc<Metrics>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let events = Events::default();
        let journal = Journal::try_new(run_dir.folder(), run_dir.boot())?;
        let provider = limited(&config, provider, &metrics, &events);
        let Some(look) = first_look(&journal, &provider, shutdown).await? else {
            return Ok(None);
        };
        let (node, can) = (&look.memory.node, provider.capabilities());
        check(&config, profile, node, can)?;
        let settings = pool_settings(&config, profile, node, can);
        metrics.set_max_interfaces(look.memory.node.limits.interfaces);
        let own = own_addresses(&look.memory.inventory);
        let node_plan = node_plan(&config, &look.memory, &own);
        let Some(recovered) = prepare(&kernel, &node_plan, &journal, shutdown).await? else {
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
        let (endpoints, reaper) = Endpoints::new(endpoint_settings(&config, own), tools);
        report_repairs(&recovered.repairs, &events, &metrics);
        let known = known_pool(&look, &recovered, &settings, &provider, &run_dir);
        endpoints.restore(recovered.records);
        let task = PoolTask::new(
            known,
            settings,
            crate::pool::Worlds {
                provider,
                kernel: Arc::clone(&kernel),
            },
            journal,
            events.clone(),
            Arc::clone(&metrics),
            (pool.clone(), commands),
        );
        let mut app = Self {
            endpoints,
            pool,
            events,
            metrics,
            run_dir,
            config,
            tasks: JoinSet::new(),
            stop_pool: CancellationToken::new(),
        };
        app.spawn_core(task, reaper);
        app.spawn_audit(kernel, node_plan);
        Ok(Some(app))
    }

    fn spawn_core(&mut self, task: PoolTask, reaper: Reaper) {
        let stop = self.stop_pool.clone();
        self.tasks.spawn(task.run(stop.clone()));
        self.tasks.spawn(reaper.run(stop));
    }

    fn spawn_audit(&mut self, kernel: Arc<dyn DataPlane>, mut plan: NodePlan) {
        let stop = self.stop_pool.clone();
        let pool = self.pool.clone();
        let further = self.config.network.untranslated.clone();
        let (endpoints, interval) = (Arc::clone(&self.endpoints), self.config.timing.audit);
        let (folder, boot) = (
            self.run_dir.folder().to_owned(),
            self.run_dir.boot().to_owned(),
        );
        self.tasks.spawn(async move {
            for round in 1_u64.. {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(interval) => {}
                }
                if let Err(error) = endpoints.audit().await {
                    tracing::warn!(%error, "failed to compare endpoints with the kernel");
                }
                work_off_notes(&folder, &boot, &endpoints).await;
                if round.is_multiple_of(NODE_ROUNDS) {
                    if let Some(network) = pool.network().await {
                        plan.untranslated = untranslated(network, &further);
                    }
                    keep_node(&kernel, &plan).await;
                    pool.recheck();
                }
            }
        });
    }

    /// Serves both sockets and metrics until `shutdown`, then ends in order:
    /// no new request, ADDs and DELs under way, the pool.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub async fn serve(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let cni = self.run_dir.listen(veni_api::CNI_SOCKET)?;
        let operator = self.run_dir.listen(veni_api::OPERATOR_SOCKET)?;
        // Listening, then notes, then answering: a plugin that finds nobody
        // leaves a note before there is a socket, or is answered after.
        let (folder, boot) = (self.run_dir.folder(), self.run_dir.boot());
        work_off_notes(folder, boot, &self.endpoints).await;
        let mut servers = JoinSet::new();
        servers.spawn(serve_cni(
            cni,
            Arc::clone(&self.endpoints),
            shutdown.clone(),
        ));
        let service = OperatorService {
            pool: self.pool.clone(),
            endpoints: Arc::clone(&self.endpoints),
            events: self.events.clone(),
        };
        servers.spawn(serve_operator(operator, service, shutdown.clone()));
        if let Some(address) = self.config.metrics {
            let (metrics, shutdown) = (Arc::clone(&self.metrics), shutdown.clone());
            servers.spawn(async move {
                introspection::serve(address, metrics, shutdown).await;
                Ok(())
            });
        }
        self.run_dir.mark_ready()?;
        tracing::info!(run_dir = %self.run_dir.folder().display(), "ready");
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(died) = self.tasks.join_next() => {
                    died.context("a task of the daemon has died")?;
                    anyhow::bail!("a task of the daemon has ended by itself");
                }
                // The metrics endpoint may end: pods do not need it.
                Some(ended) = servers.join_next() => {
                    ended.context("a server of the daemon has died")??;
                }
            }
        }
        tracing::info!("stopping");
        self.stop().await;
        // Answers go out in a moment; streams of events do not end by themselves.
        let answered = async { while servers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(ANSWERS, answered).await);
        servers.shutdown().await;
        Ok(())
    }

    /// Ends what is under way, journalled; pods keep their network.
    pub async fn stop(mut self) {
        self.pool.close();
        if tokio::time::timeout(GRACE, self.endpoints.drained())
            .await
            .is_err()
        {
            tracing::warn!("some adds or dels did not end in time; the next start undoes them");
        }
        self.stop_pool.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CORE_GRACE, ended).await.is_err() {
            tracing::warn!("some of the daemon's tasks did not end in time");
        }
    }
}

fn limited(
    config: &Config,
    provider: Arc<dyn Provider>,
    metrics: &Arc<Metrics>,
    events: &Events,
) -> Arc<dyn Provider> {
    let limits = LimiterConfig {
        deadline: config.timing.cloud_deadline,
        ..LimiterConfig::default()
    };
    let meter = CallMeter {
        metrics: Arc::clone(metrics),
        events: events.clone(),
    };
    Arc::new(Limited::new(provider, &limits, Arc::new(meter)))
}

fn endpoint_settings(config: &Config, node_addresses: Vec<IpAddr>) -> EndpointSettings {
    EndpointSettings {
        veth_prefix: config.network.veth_prefix.clone(),
        pod_mtu: config.network.pod_mtu,
        add_wait: config.timing.add_wait,
        cooldown: config.timing.cooldown,
        node_addresses,
    }
}

/// The pool as journal and cloud describe it.
fn known_pool(
    look: &FirstLook,
    recovered: &Recovered,
    settings: &PoolSettings,
    provider: &Arc<dyn Provider>,
    run_dir: &RunDir,
) -> Known {
    let mut known = Known::new(look, settings, provider.capabilities());
    for (entry, cidrs) in &recovered.releases {
        known.bury(entry, cidrs);
    }
    known.take_in(look);
    let is_dying = |record: &&Record| record.state == RecordState::Dying;
    let (dying, living): (Vec<&Record>, Vec<&Record>) =
        recovered.records.iter().partition(is_dying);
    // The dead first: a living pod may have one's address by now, and keeps it.
    for record in dying {
        cool_the_rest(&mut known, record, &record.addresses(), settings.cooldown);
    }
    for record in living {
        known.state.restore_lease(&record.key, &record.addresses());
    }
    if !run_dir.was_ready() {
        soft_cooldown(&mut known.state, Instant::now(), settings.cooldown);
    }
    known
}

fn cool_the_rest(known: &mut Known, record: &Record, addresses: &[IpAddr], cooldown: Duration) {
    let released = record.released_ms.unwrap_or_default();
    let since = Duration::from_millis(crate::events::unix_millis().saturating_sub(released));
    let until = Instant::now() + cooldown.saturating_sub(since);
    let key: &AttachmentKey = &record.key;
    known.state.restore_lease(key, addresses);
    known.state.give_back(key, addresses, Some(until));
}

fn report_repairs(repairs: &[String], events: &Events, metrics: &Metrics) {
    for repair in repairs {
        tracing::info!(repair, "repaired at the start");
        metrics.repaired();
        events.emit(EventKind::Repair, repair.clone());
    }
}
