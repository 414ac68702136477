//! The owner task's loop: take what has come, serve who waits, set up what the kernel
//! lacks, plan, start, publish, sleep until something can have changed.
//!
//! Each part keeps its own state; this passes the news from one to the others.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_nouns::Family;
use veni_pool::Demand;
use veni_pool::reasons::Hopeless;
use veni_provider::{ErrorClass, Inventory, ProviderError};

use super::apply::apply;
use super::backends::{Backends, Job, Outcome};
use super::beliefs;
use super::change::{Cause, Change, begun_before};
use super::changes::{Changes, Retries};
use super::expected::Expected;
use super::handle::{Attempt, Command, Pool, Wear};
use super::held_back::{self, HeldBack};
use super::holdings::Holdings;
use super::interface_setup::InterfaceSetup;
use super::memory::Memory;
use super::metrics::{Gauges, PoolMetrics};
use super::news::News;
use super::planning::{Aims, Planning, Wanted};
use super::queue::Queue;
use super::reconcile::reconcile;
use super::refresh::{Intervals, InventoryRefresh, REFRESH_AT_REST};
use super::report::{self, PlanReport, PoolReport};
use super::routing_tables::RoutingTables;
use super::seed::Seed;
use super::settings::PoolSettings;
use crate::assigned::Keeper;
use crate::events::Events;
use crate::journal::{Journal, RunningChange};

/// How long jobs may go on after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Between two turns that only time has asked for.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// Inventory refreshes in the time until an exhausted subnet is tried again.
const REFRESHES_FOR_ROOM: u32 = 12;

/// The owner task.
pub(crate) struct PoolTask {
    settings: PoolSettings,
    holdings: Holdings,
    queue: Queue,
    expected: Expected,
    refresh: InventoryRefresh,
    changes: Changes,
    setup: InterfaceSetup,
    planning: Planning,
    memory: Memory,
    news: News,
    backends: Backends,
    jobs: JoinSet<Outcome>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Who waits for an inventory, and since when.
    refreshing: Vec<(Instant, oneshot::Sender<()>)>,
    /// Changes of the daemon before, to be waited for as soon as this runs.
    resumed: Vec<RunningChange>,
}

impl PoolTask {
    pub(crate) fn new(
        seed: Seed,
        settings: PoolSettings,
        backends: Backends,
        (journal, assigned): (Journal, Keeper),
        (events, metrics): (Events, PoolMetrics),
        (pool, commands): (Pool, mpsc::UnboundedReceiver<Command>),
    ) -> Self {
        let intervals = Intervals {
            inventory: settings.inventory_interval,
            local_view: settings.local_view_interval,
        };
        let retries = Retries {
            denied: settings.denied_retry,
            subnet: settings.subnet_retry,
        };
        let refreshed = (seed.refreshed, !seed.remembered);
        let tables = RoutingTables::new(journal.clone(), seed.tables);
        Self {
            memory: Memory::new(journal, seed.holdings.ranges(), assigned),
            holdings: seed.holdings,
            queue: Queue::new(pool),
            expected: Expected::default(),
            refresh: InventoryRefresh::new(intervals, refreshed, seed.refresh_by),
            changes: Changes::new(seed.releases, retries),
            setup: InterfaceSetup::new(tables, settings.interface_mtu),
            planning: Planning::new(Aims {
                targets: settings.targets,
                targets_v6: settings.targets_v6,
                max_pods: settings.max_pods,
                max_interfaces: settings.max_interfaces,
                interfaces_stay: false,
            }),
            news: News::new(events, metrics),
            settings,
            backends,
            jobs: JoinSet::new(),
            commands,
            refreshing: Vec::new(),
            resumed: seed.operations,
        }
    }

    /// Runs until `shutdown`; jobs under way then get a moment to end, so that
    /// what they bring is journalled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        if self.refresh.has_told() {
            self.memory.keep(&self.holdings);
        }
        self.keep_assigned();
        self.news.node_addresses(&mut self.holdings);
        for entry in std::mem::take(&mut self.resumed) {
            self.changes.resume(begun_before(&entry));
            self.start(Job::Resume(entry));
        }
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
        self.queue.clear();
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.jobs.join_next()).await {
            self.job_ended(ended);
        }
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        self.memory.keep(&self.holdings);
    }

    /// Everything that follows from the state alone.
    fn turn(&mut self) {
        let now = Instant::now();
        self.holdings.expire(now);
        // What pods have had until now may have been the last of what is gone.
        let dropped = self.holdings.drop_gone(&BTreeSet::new());
        self.news.dropped(&dropped);
        self.changes.expire(self.planning.epoch(), now);
        if !self.refresh.is_refreshing() {
            let settle = self.holdings.capabilities.settle_time;
            if self.changes.releases_mut().expire(now, settle) {
                // A daemon that starts later must not doubt what is over.
                self.keep_assigned();
            }
        }
        self.queue.serve(&mut self.holdings, now);
        if self.refresh.begin_if_due(now) {
            self.start(Job::Inventory);
        }
        if self.refresh.begin_view_if_due(now) {
            self.start(Job::LocalView);
        }
        // Before the set-up, which for an interface without a link never rests:
        // a detach must find a moment between two tries.
        for family in self.settings.families.clone() {
            self.plan(family, now);
        }
        self.set_up_interfaces();
        self.fail_hopeless(now);
        let levels = report::levels(&self.holdings, now);
        let inventories = usize::from(self.refresh.is_refreshing());
        self.news.levels(&Gauges {
            limits: report::limits(&self.holdings, &levels, &self.settings),
            levels,
            waiting: self.queue.len(),
            under_way: report::under_way(&self.changes, inventories),
            carried: self.holdings.node_addresses.counts(),
        });
    }

    fn take(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Acquire {
                holder,
                attempt,
                reply,
            } => {
                self.queue.join(holder, reply, &mut self.holdings, now);
                // Whoever finds an address at once does not count as waiting.
                if !self.queue.is_empty() && attempt == Attempt::First {
                    self.news.add_waits();
                }
            }
            Command::Return {
                key,
                addresses,
                wear,
            } => {
                let until = (wear == Wear::Used).then(|| now + self.settings.cooldown);
                self.holdings.take_back(&key, &addresses, until);
            }
            Command::Network { reply } => {
                drop(reply.send(self.holdings.node.network_cidrs.clone()));
            }
            Command::NodeAddresses(addresses) => {
                self.holdings.node_addresses.set(addresses);
                self.news.node_addresses(&mut self.holdings);
            }
            Command::Expected(pods) => self.expected.set(pods),
            Command::Wishes(wishes) => {
                self.planning.aim_at(wishes);
                self.settings.targets = wishes.targets;
                self.settings.max_pods = wishes.max_pods;
            }
            Command::PodsNetworkChanged => {
                self.changes.try_attaching_again();
                self.refresh.by(now);
            }
            Command::Recheck { done } => {
                self.setup.compare(self.holdings.interfaces.keys());
                if let Some(done) = done {
                    self.setup.tell_when_compared(&self.holdings, done);
                }
                self.memory.catch_up(&self.holdings);
            }
            Command::Beliefs { inventory, reply } => {
                let sources = beliefs::Sources {
                    holdings: &self.holdings,
                    setup: &self.setup,
                    changes: &self.changes,
                };
                drop(reply.send(beliefs::beliefs(&sources, inventory.as_deref(), now)));
            }
            Command::Refresh { done } => {
                self.refresh.by(now);
                self.refreshing.push((now, done));
            }
            Command::Close => self.queue.close(),
            // The next turn forgets who has gone.
            Command::Left => {}
            Command::Report { reply } => drop(reply.send(self.report(now))),
            Command::Plan { reply } => drop(reply.send(self.plan_report(now))),
        }
    }

    fn start(&mut self, job: Job) {
        self.jobs.spawn(self.backends.clone().run(job));
    }

    fn wanted(&self, family: Family) -> Wanted {
        let leases = &self.holdings.leases;
        Wanted {
            in_flight: self.changes.in_flight(family),
            holds: self.changes.holds(family, self.planning.epoch()),
            demand: Demand {
                waiting: self.queue.len(),
                expected: self.expected.beyond(leases.pods().chain(self.queue.pods())),
            },
            further_attachments: leases.further_attachments(self.queue.keys()),
        }
    }

    /// Why no address could come for one more pod, if that is so. It costs a plan of each
    /// family, so it is asked only where no address is free, and where somebody reads it.
    fn hopeless_for_one_more(&self, now: Instant) -> Option<Hopeless> {
        if !cfg!(feature = "kube") || report::levels(&self.holdings, now).free > 0 {
            return None;
        }
        let (holdings, releases) = (&self.holdings, self.changes.releases());
        let mut families = self.settings.families.iter();
        families.find_map(|family| {
            let wanted = self.wanted(*family);
            let planning = &self.planning;
            planning.hopeless_for_one_more(*family, holdings, releases, wanted, now)
        })
    }

    fn plan(&mut self, family: Family, now: Instant) {
        let wanted = self.wanted(family);
        let (holdings, releases) = (&self.holdings, self.changes.releases());
        let actions = self.planning.plan(family, holdings, releases, wanted, now);
        // What was remembered may be older than the last change of the daemon before, and
        // nothing is bought twice.
        if !self.refresh.has_told() {
            return;
        }
        for planned in actions {
            self.start_change(Change {
                family,
                cause: Cause::Planned(planned.reason),
                action: planned.action,
            });
        }
    }

    /// Has it written down who assigned what, and what was given back.
    fn keep_assigned(&mut self) {
        let given_back = self.changes.releases().given_back();
        self.holdings.origins.given_back(given_back);
        self.memory.keep_assigned(&mut self.holdings);
    }

    fn start_change(&mut self, change: Change) {
        let (holdings, setup) = (&mut self.holdings, &self.setup);
        if let Some(call) = self.changes.begin(&change, holdings, setup) {
            // Before the call, so that a daemon that is killed in it knows its own.
            self.keep_assigned();
            self.start(Job::Change(change, call));
        }
    }

    /// Brings interfaces into service whose rules are not what they hold, and has rules
    /// removed that no interface needs.
    fn set_up_interfaces(&mut self) {
        self.setup.allot_tables(&self.holdings);
        // An interface that pods have addresses of needs its rules though the cloud has
        // not listed it yet.
        if self.refresh.has_told() && self.holdings.unlisted.is_empty() {
            for table in self.setup.take_unused_tables(&self.holdings) {
                self.start(Job::RemoveRules { table });
            }
        }
        for one in self.setup.begin_due(&self.holdings) {
            self.start(Job::SetUp(one));
        }
    }

    fn job_ended(&mut self, ended: Result<Outcome, JoinError>) {
        let now = Instant::now();
        let outcome = match ended {
            Ok(outcome) => outcome,
            // A panic is a defect: it ends the process, which starts again
            // from journal, kernel and cloud.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let holdings = &mut self.holdings;
        match outcome {
            Outcome::Change(change, answer) => {
                let refresh = &mut self.refresh;
                let news = self
                    .changes
                    .answered(&change, answer, holdings, refresh, now);
                news.into_iter().for_each(|text| self.news.cloud(text));
                self.memory.keep(&self.holdings);
                self.keep_assigned();
                self.news.node_addresses(&mut self.holdings);
            }
            Outcome::Inventory {
                began,
                result,
                network,
            } => {
                self.network_is(network);
                match result {
                    Ok(inventory) => self.inventory_came(began, &inventory, now),
                    Err(error) => self.inventory_failed(&error, now),
                }
                for (_, done) in self.refreshing.extract_if(.., |(asked, _)| *asked <= began) {
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
            }
            Outcome::LocalView(view) => {
                let own = self.changes.own(holdings);
                self.refresh.viewed(view, holdings, &own, now);
            }
            Outcome::SetUp {
                interface,
                sources,
                result,
            } => {
                let setup = &mut self.setup;
                let news = match result {
                    Ok(link) => setup.succeeded(&interface, (sources, link), holdings, now),
                    Err(error) => {
                        self.news.set_up_failed();
                        setup.failed(&interface, &error, holdings, now)
                    }
                };
                news.into_iter().for_each(|text| self.news.pool(text));
            }
            Outcome::RulesRemoved { table, result } => self.setup.rules_removed(table, result),
        }
    }

    /// An inventory could not be had: the next one comes sooner.
    fn inventory_failed(&mut self, error: &ProviderError, now: Instant) {
        let (pause, news) = self.changes.inventory_failed(error, now);
        news.into_iter().for_each(|text| self.news.cloud(text));
        // Without the right to read the inventory, changes can still be made.
        let passes = matches!(
            error.class,
            ErrorClass::Transient | ErrorClass::Throttled { .. }
        );
        self.refresh.ended(!passes);
        self.refresh.by(now + pause);
    }

    fn inventory_came(&mut self, began: Instant, inventory: &Inventory, now: Instant) {
        let settle = self.holdings.capabilities.settle_time;
        if self.refresh.ended(true) {
            // What the daemon before changed last may not show yet.
            self.refresh.by(now + settle);
        }
        let provisioning = self.settings.targets.provisioning;
        let releases = self.changes.releases();
        let released = |range: &IpNet| releases.of_range(range).is_some();
        let interfaces = &inventory.interfaces;
        let holdings = &mut self.holdings;
        for text in holdings.note_origins(interfaces, now, provisioning, released) {
            tracing::info!("{text}");
            self.news.cloud(text);
        }
        let findings = reconcile(holdings, releases, inventory, (began, now));
        let news = apply(
            &findings,
            holdings,
            self.changes.releases_mut(),
            (began, now),
        );
        holdings.origins.end_calls(began);
        holdings.subnets.find_room(began, settle);
        self.news.inventory(&news);
        let shows = self.holdings.origins.next_end();
        for at in findings.look_again.into_iter().chain(shows) {
            self.refresh.by(at);
        }
        let holdings = &mut self.holdings;
        let refresh = &mut self.refresh;
        self.changes.inventory_came(began, holdings, refresh);
        for change in self.changes.to_repeat(&findings, holdings, now) {
            self.start_change(change);
        }
        self.keep_assigned();
        self.news.node_addresses(&mut self.holdings);
        // Also when nothing differs: what was in doubt before may not be now.
        self.memory.keep(&self.holdings);
    }

    /// Takes in what the network's ranges are now.
    fn network_is(&mut self, ranges: Option<Vec<IpNet>>) {
        let Some(ranges) = ranges else { return };
        let known = &mut self.holdings.node.network_cidrs;
        if *known != ranges {
            tracing::info!(before = ?known, now = ?ranges, "the network's ranges have changed");
            *known = ranges;
            self.news
                .cloud("the network's ranges have changed".to_owned());
        }
    }

    /// Fails those who wait for what cannot come. An address in cooldown will
    /// come, and one whose rules are being made: as many may go on waiting.
    fn fail_hopeless(&mut self, now: Instant) {
        let Some(hopeless) = self.planning.hopeless() else {
            return;
        };
        let exhausted = self.holdings.subnets.reasons().map(str::to_owned);
        let error = self.changes.error().map(str::to_owned);
        let carried = self.holdings.node_addresses.warnings();
        let out_of_service = self.setup.held_back(&self.holdings, now);
        let out_of_service = out_of_service.iter().map(ToString::to_string);
        let mut said: Vec<String> = Vec::new();
        for one in exhausted.chain(error).chain(carried).chain(out_of_service) {
            if !hopeless.quotes(&one) && !said.contains(&one) {
                said.push(one);
            }
        }
        let said: String = said.iter().map(|one| format!(" ({one})")).collect();
        let coming = self.planning.coming();
        if self.queue.fail_beyond(coming, &format!("{hopeless}{said}")) {
            self.refresh_for_room();
        }
    }

    /// Pods were turned away because subnets are full. An inventory tells whether they
    /// still are, and costs less than a try; it is refreshed for that a few times at most
    /// until the subnets are tried again.
    fn refresh_for_room(&mut self) {
        if let Some(refused) = self.holdings.subnets.last_refusal() {
            let settled = refused + self.holdings.capabilities.settle_time;
            let again = self.refresh.last() + self.settings.subnet_retry / REFRESHES_FOR_ROOM;
            self.refresh.by(settled.max(again));
        }
    }

    fn next_wake(&self) -> Instant {
        let ends = [
            self.refresh.next_end(),
            self.planning.next_end(),
            self.holdings.leases.next_end(),
            self.holdings.subnets.next_end(),
            self.changes.next_end(),
        ];
        let now = Instant::now();
        let at_rest = now + REFRESH_AT_REST;
        let wake = ends.into_iter().flatten().fold(at_rest, Instant::min);
        // A moment that has just passed must not make the loop spin.
        wake.max(now + SHORTEST_SLEEP)
    }

    fn report(&self, now: Instant) -> PoolReport {
        let sources = report::Sources {
            holdings: &self.holdings,
            settings: &self.settings,
            setup: &self.setup,
            provider: self.backends.provider.name(),
            waiting: self.queue.len(),
            cloud_error: self.changes.error(),
        };
        report::pool_report(&sources, now)
    }

    fn plan_report(&self, now: Instant) -> PlanReport {
        let (plans, held_back) = (self.planning.plans(), self.held_back(now));
        let one_more = self.hopeless_for_one_more(now);
        report::plan_report(&self.changes, plans, held_back, one_more)
    }

    /// What keeps the pool from what it should be.
    fn held_back(&self, now: Instant) -> Vec<HeldBack> {
        let mut all: Vec<HeldBack> = self.changes.held_back(now).collect();
        all.extend(self.setup.held_back(&self.holdings, now));
        all.extend(held_back::unlisted(&self.holdings, now));
        all.extend((!self.refresh.has_told()).then_some(HeldBack::NoInventoryYet));
        let cordoned = self.planning.interfaces_stay();
        all.extend(cordoned.then_some(HeldBack::Cordoned));
        all
    }
}
