//! The owner task's loop: take what has come, serve who waits, wire what is not
//! wired, plan, start, publish, sleep until something can have changed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_pool::{Action, Plan, Targets};
use veni_provider::{Family, Limit};

use super::cloud_file::CloudFile;
use super::glance::Glances;
use super::jobs::{JobId, Outcome, Work, Worlds};
use super::known::Known;
use super::looking::LOOK_AT_REST;
use super::snapshot::PlanMemory;
use super::state::PoolState;
use super::tombstones::Burial;
use super::trouble::Troubles;
use super::wiring::Wiring;
use super::{AcquireError, Attempt, CloudMemory, Command, GivenLease, Holder, Pool};
use crate::assigned::Keeper;
use crate::events::{EventKind, Events, unix_millis};
use crate::journal::Journal;
use crate::metrics::Metrics;

/// How long jobs may go on after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Between two turns that only time has asked for.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// What the pool's behaviour depends on.
#[derive(Debug, Clone)]
pub(crate) struct PoolSettings {
    pub(crate) targets: Targets,
    /// For IPv6: one prefix is plenty.
    pub(crate) targets_v6: Targets,
    pub(crate) targets_in_words: Vec<String>,
    /// Name in the cluster; empty when it was not told.
    pub(crate) node_name: String,
    pub(crate) max_pods: u32,
    pub(crate) max_interfaces: Option<u32>,
    pub(crate) cooldown: Duration,
    /// `None` is what suits the provider.
    pub(crate) inventory_interval: Option<Duration>,
    pub(crate) glance_interval: Duration,
    pub(crate) denied_retry: Duration,
    pub(crate) subnet_retry: Duration,
    /// So far apart are two inventories that must both lack what is dropped.
    pub(crate) doubt_time: Duration,
    pub(crate) interface_mtu: u32,
    pub(crate) families: Vec<Family>,
}

/// An ADD that waits for an address.
pub(super) struct Waiter {
    pub(super) holder: Holder,
    reply: oneshot::Sender<Result<GivenLease, AcquireError>>,
}

/// A cloud change whose outcome is not known: for the planner it is in flight
/// until an inventory that began after `trust_after` has told.
pub(super) struct Unsettled {
    pub(super) trust_after: Instant,
    pub(super) family: Family,
    pub(super) action: Action,
    /// The cloud said that this limit was reached; if the inventory does not
    /// explain it, our limits are wrong.
    pub(super) limit_reached: Option<Limit>,
}

/// The owner task.
pub(crate) struct PoolTask {
    pub(super) state: PoolState,
    pub(super) settings: PoolSettings,
    pub(super) worlds: Worlds,
    pub(super) journal: Journal,
    cloud_file: CloudFile,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) jobs: JoinSet<(JobId, Outcome)>,
    pub(super) work: BTreeMap<JobId, Work>,
    pub(super) next_job: JobId,
    pub(super) unsettled: Vec<Unsettled>,
    pub(super) memory: HashMap<Family, PlanMemory>,
    pub(super) plans: HashMap<Family, Plan>,
    /// Addresses that nobody has and that could not be given out yet.
    pub(super) coming: HashMap<Family, u32>,
    /// What the cloud is left alone with, and for how long.
    pub(super) troubles: Troubles,
    pub(super) cloud_error: Option<String>,
    /// When the last look at the inventory began.
    pub(super) last_look: Instant,
    /// When somebody wants the next look, unless it is due before.
    pub(super) next_look: Option<Instant>,
    pub(super) glances: Glances,
    pub(super) next_glance: Instant,
    pub(super) wiring: Wiring,
    pub(super) releases: u64,
    /// Releases whose tombstones the cloud has not agreed with yet.
    pub(super) buried: BTreeMap<String, Burial>,
    pub(super) epoch: Instant,
    /// The cloud has been looked at in this process.
    pub(super) looked: bool,
    /// Where it is written down what Veni assigned.
    record: Keeper,
    /// Nobody gets an address any more.
    closed: bool,
    /// Ourselves, for leases that come back.
    pool: Pool,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl PoolTask {
    pub(crate) fn new(
        known: Known,
        settings: PoolSettings,
        worlds: Worlds,
        (journal, record): (Journal, Keeper),
        events: Events,
        metrics: Arc<Metrics>,
        (pool, commands): (Pool, mpsc::UnboundedReceiver<Command>),
    ) -> Self {
        let now = Instant::now();
        Self {
            cloud_file: CloudFile::new(journal.clone(), known.state.ranges()),
            state: known.state,
            worlds,
            journal,
            events,
            metrics,
            waiters: VecDeque::new(),
            jobs: JoinSet::new(),
            work: BTreeMap::new(),
            next_job: 0,
            unsettled: Vec::new(),
            memory: HashMap::new(),
            plans: HashMap::new(),
            coming: HashMap::new(),
            troubles: Troubles::default(),
            cloud_error: None,
            last_look: known.looked_at,
            next_look: known.next_look,
            glances: Glances::default(),
            // What changes from now on is news.
            next_glance: now,
            wiring: Wiring::default(),
            releases: 0,
            buried: known.buried,
            epoch: now,
            looked: !known.remembered,
            record,
            closed: false,
            settings,
            pool,
            commands,
        }
    }

    /// Runs until `shutdown`; jobs under way then get a moment to end, so that
    /// what they bring is journalled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        if self.looked {
            self.remember_cloud();
        }
        self.keep_record();
        self.note_node_addresses();
        loop {
            self.turn();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(command) = self.commands.recv() => self.take(command),
                Some(ended) = self.jobs.join_next() => self.job_ended(ended),
                () = tokio::time::sleep_until(wake) => {}
            }
            while let Ok(command) = self.commands.try_recv() {
                self.take(command);
            }
            while let Some(ended) = self.jobs.try_join_next() {
                self.job_ended(ended);
            }
        }
        self.finish().await;
    }

    async fn finish(&mut self) {
        self.waiters.clear();
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.jobs.join_next()).await {
            self.job_ended(ended);
        }
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        self.remember_cloud();
    }

    /// Everything that follows from the state alone.
    fn turn(&mut self) {
        let now = Instant::now();
        self.state.expire(now);
        self.drop_gone();
        self.troubles.expire(self.epoch, now);
        self.serve_waiters(now);
        self.look_if_due(now);
        self.glance_if_due(now);
        // Before the wiring, which for an interface without a link never rests:
        // a detach must find a moment between two tries.
        for family in self.settings.families.clone() {
            self.plan_family(family, now);
        }
        self.wire_interfaces();
        self.fail_hopeless();
        self.publish(now);
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Acquire { reply, .. } if self.closed => {
                drop(reply.send(Err(AcquireError::Closed)));
            }
            Command::Acquire {
                holder,
                attempt,
                reply,
            } => {
                self.waiters.push_back(Waiter { holder, reply });
                // Whoever finds an address at once does not count as waiting.
                self.serve_waiters(Instant::now());
                if !self.waiters.is_empty() && attempt == Attempt::First {
                    self.metrics.add_waits();
                }
            }
            Command::GiveBack {
                key,
                addresses,
                cools,
            } => {
                let until = cools.then(|| Instant::now() + self.settings.cooldown);
                self.state.give_back(&key, &addresses, until);
            }
            Command::Network { reply } => {
                drop(reply.send(self.state.node.network_cidrs.clone()));
            }
            Command::NodeAddresses(addresses) => {
                self.state.node_addresses.set(addresses);
                self.note_node_addresses();
            }
            Command::Recheck => {
                self.wiring.compare(self.state.interfaces.keys());
                if self.cloud_file.is_behind() {
                    self.remember_cloud();
                }
            }
            Command::Close => {
                self.closed = true;
                for waiter in self.waiters.drain(..) {
                    drop(waiter.reply.send(Err(AcquireError::Closed)));
                }
            }
            // The next turn looks who still waits.
            Command::Left => {}
            Command::Report { reply } => drop(reply.send(self.report(Instant::now()))),
            Command::Plan { reply } => drop(reply.send(self.plan_report())),
        }
    }

    /// In order of arrival; who has gone away is forgotten.
    fn serve_waiters(&mut self, now: Instant) {
        self.waiters.retain(|waiter| !waiter.reply.is_closed());
        while let Some(waiter) = self.waiters.front() {
            // What only cools as a caution after a reboot comes last.
            let rested = self.state.lease(&waiter.holder, now, false);
            let lease = rested.or_else(|| self.state.lease(&waiter.holder, now, true));
            let Some(lease) = lease else {
                return;
            };
            let Some(waiter) = self.waiters.pop_front() else {
                return;
            };
            let given = GivenLease {
                key: waiter.holder.key,
                lease: Some(lease),
                pool: self.pool.clone(),
            };
            // Should the caller have gone in this very moment, the lease comes
            // back as a command.
            drop(waiter.reply.send(Ok(given)));
        }
    }

    /// Fails those who wait for what cannot come. An address in cooldown will
    /// come, and one whose rules are being made: as many may go on waiting.
    fn fail_hopeless(&mut self) {
        let Some(reason) = self.plans.values().find_map(|plan| plan.hopeless.clone()) else {
            return;
        };
        let exhausted = self.state.exhausted.values().map(|one| &one.reason);
        let carried = self.state.node_addresses.warnings();
        let out_of_service = self.out_of_service(Instant::now());
        let said = exhausted.chain(&self.cloud_error);
        let said = said.chain(&carried).chain(&out_of_service);
        let reason = said.fold(reason, |reason, said| {
            match reason.contains(said.as_str()) {
                true => reason,
                false => format!("{reason} ({said})"),
            }
        });
        let coming = self.coming.values().min().copied().unwrap_or_default();
        let keep = usize::try_from(coming).unwrap_or(usize::MAX);
        let keep = keep.min(self.waiters.len());
        if keep < self.waiters.len() {
            self.look_for_room();
        }
        for waiter in self.waiters.drain(keep..) {
            drop(
                waiter
                    .reply
                    .send(Err(AcquireError::Hopeless(reason.clone()))),
            );
        }
    }

    /// Removes the rules of an interface that went behind our back, unless
    /// another has its table by now.
    pub(super) fn unwire(&mut self, device_index: u32) {
        let mut interfaces = self.state.interfaces.values().map(|one| &one.cloud);
        if interfaces.any(|one| one.on_default_card() && one.device_index == device_index) {
            return;
        }
        let table = INTERFACE_TABLE_BASE + device_index;
        let job = self.worlds.clone().unwire(table);
        self.start(Work::Unwire { table }, job);
    }

    pub(super) fn start(
        &mut self,
        work: Work,
        job: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let id = self.next_job;
        self.next_job += 1;
        if let Work::Cloud { action, reason, .. } = &work {
            tracing::info!(%action, %reason, "cloud change started");
        }
        self.work.insert(id, work);
        self.jobs.spawn(async move { (id, job.await) });
    }

    fn next_wake(&self) -> Instant {
        // What is under way wakes us when it ends.
        let under_way = |which: Work| self.work.values().any(|work| *work == which);
        let mut wake = Instant::now() + LOOK_AT_REST;
        if !under_way(Work::Inventory) {
            wake = wake.min(self.look_due());
        }
        if !under_way(Work::Glance) {
            wake = wake.min(self.next_glance);
        }
        for plan in self.plans.values() {
            if let Some(look) = plan.next_look_ms {
                wake = wake.min(self.epoch + Duration::from_millis(look));
            }
        }
        let cooling = self.state.cooling.values().map(|cooling| cooling.until);
        let exhausted = self.state.exhausted.values();
        let exhausted = exhausted.flat_map(|e| [e.addresses_until, e.prefixes_until]);
        let wake = cooling
            .chain(exhausted.flatten())
            .chain(self.troubles.ends())
            .fold(wake, Instant::min);
        // A moment that has just passed must not make the loop spin.
        wake.max(Instant::now() + SHORTEST_SLEEP)
    }

    fn publish(&mut self, now: Instant) {
        let counts = self.state.levels(now);
        let levels = self.events.levels();
        levels.free.store(counts.free, Ordering::Relaxed);
        levels.assigned.store(counts.assigned, Ordering::Relaxed);
        levels.cooling.store(counts.cooling, Ordering::Relaxed);
        let waiting = u32::try_from(self.waiters.len()).unwrap_or(u32::MAX);
        levels.waiting.store(waiting, Ordering::Relaxed);
        self.metrics.set_pool(&counts, waiting, &self.settings);
    }

    /// Keeps what we know of the cloud for a restart without it.
    pub(super) fn remember_cloud(&mut self) {
        let memory = CloudMemory {
            node: self.state.node.clone(),
            inventory: self.state.inventory(),
            capabilities: Some(self.state.capabilities.clone()),
            as_of_ms: unix_millis(),
        };
        self.cloud_file.write(&memory, self.state.ranges());
    }

    /// Has it written down who assigned what, if that has changed.
    pub(super) fn keep_record(&mut self) {
        if let Some(record) = self.state.origins.take_changed() {
            self.record.keep(record);
        }
    }

    pub(super) fn tell(&self, kind: EventKind, message: String) {
        self.events.emit(kind, message);
    }
}
