//! ADD: an address, a veth pair, routes; all or nothing.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_api::failure::{CniFailure, code};
use veni_dataplane::{DefaultRoute, EndpointLinks, EndpointPlan, KernelError, PodAddress};

use super::record::{Record, RecordState};
use super::{Endpoints, Gate, end_process, journal_failure, kernel_failure};
use crate::attachment::{AttachmentKey, PodName, host_link_names, random_mac};
use crate::crash;
use crate::events::{EventKind, unix_millis};
use crate::journal::Shelf;
use crate::metrics::{AddOutcome, Phase};
use crate::pool::{AcquireError, Attempt, Lease};

/// An ADD as the plugin asks for it.
#[derive(Debug)]
pub struct AddOrder {
    /// Key.
    pub key: AttachmentKey,
    /// Pod.
    pub pod: PodName,
    /// The pod's namespace.
    pub namespace: OwnedFd,
    /// MTU, bytes; 0 leaves it to the settings.
    pub mtu: u32,
    /// Whether it takes the pod's default route; `None` where nobody said.
    pub is_default_gateway: Option<bool>,
}

impl AddOrder {
    /// The interface that a runtime makes first takes all packets. Those beside it, of
    /// Multus and its like, take those from their own addresses unless more is asked for.
    fn default_route(&self) -> DefaultRoute {
        match (self.key.is_first_interface(), self.is_default_gateway) {
            (true, None | Some(true)) => DefaultRoute::Only,
            (false, Some(true)) => DefaultRoute::InFront,
            (false, None) | (_, Some(false)) => DefaultRoute::None,
        }
    }
}

impl Endpoints {
    /// Gives an attachment its network, or returns what it has already. The
    /// work goes on when this future is dropped; only waiting for an address
    /// ends with it.
    ///
    /// # Errors
    /// No address can be had, the kernel refused, the journal cannot be
    /// written; nothing of the attachment is left then.
    pub async fn add(self: &Arc<Self>, order: AddOrder) -> Result<Record, CniFailure> {
        self.tools.metrics.add_started();
        let caller = CancellationToken::new();
        let _gone = caller.clone().drop_guard();
        let endpoints = Arc::clone(self);
        let task = self
            .tasks
            .spawn(async move { endpoints.add_serialised(order, caller).await });
        task.await.unwrap_or_else(|error| end_process(&error))
    }

    async fn add_serialised(
        self: &Arc<Self>,
        order: AddOrder,
        caller: CancellationToken,
    ) -> Result<Record, CniFailure> {
        let begun = Instant::now();
        let key = order.key.clone();
        let gate = self.gate(&key);
        let turn = gate.turn.lock().await;
        let result = self.add_in_turn(order, &gate, &caller, begun).await;
        drop(turn);
        self.leave(&key, gate);
        self.tell_added(&key, &result);
        result
    }

    async fn add_in_turn(
        self: &Arc<Self>,
        order: AddOrder,
        gate: &Gate,
        caller: &CancellationToken,
        begun: Instant,
    ) -> Result<Record, CniFailure> {
        let known = self.lock_records().get(&order.key).cloned();
        if let Some(record) = known {
            if let Some(record) = self.same_again(&record, &order).await? {
                return Ok(record);
            }
            // Another namespace, or a network that was damaged.
            let namespace = order.namespace.try_clone().ok();
            self.take_away(record, namespace).await?;
        }
        let pod = order.pod.label().unwrap_or_else(|| order.key.to_string());
        let lease = self.lease((&order.key, &pod), gate, caller).await?;
        let waited = begun.elapsed();
        self.tools.metrics.add_took(Phase::Acquire, waited);
        crash::point("add.acquired");
        self.build(order, lease, begun, waited).await
    }

    /// The record of a repeated ADD, when the kernel has it as it was made.
    async fn same_again(
        &self,
        record: &Record,
        order: &AddOrder,
    ) -> Result<Option<Record>, CniFailure> {
        if record.state != RecordState::Ready {
            return Ok(None);
        }
        if self.is_whole(record, order).await? {
            return Ok(Some(record.clone()));
        }
        // Routes on the host can be made again without touching the pod; never
        // is anything made in a namespace that may be another one.
        let repaired = self.tools.kernel.add_endpoint(&record.plan, None).await;
        let whole = repaired.is_ok() && self.is_whole(record, order).await?;
        Ok(whole.then(|| record.clone()))
    }

    /// Whether the kernel has exactly what the record says, in this namespace.
    /// A kernel that cannot be asked is no reason to take a healthy pod's network
    /// away.
    async fn is_whole(&self, record: &Record, order: &AddOrder) -> Result<bool, CniFailure> {
        let refused = |error: &KernelError| kernel_failure("check", &record.key, error);
        let Some(links) = record.links else {
            return Ok(false);
        };
        let namespace = order.namespace.try_clone().map_err(|reason| {
            refused(&KernelError::Refused {
                operation: "duplicate the namespace's descriptor".to_owned(),
                reason,
            })
        })?;
        let checked = self
            .tools
            .kernel
            .check_endpoint(&record.plan, &links, Some(namespace))
            .await;
        checked
            .map(|differences| differences.is_empty())
            .map_err(|error| refused(&error))
    }

    async fn lease(
        self: &Arc<Self>,
        (key, pod): (&AttachmentKey, &str),
        gate: &Gate,
        caller: &CancellationToken,
    ) -> Result<Lease, CniFailure> {
        let deleted = CancellationToken::new();
        *gate.lock_waiting() = Some(deleted.clone());
        if gate.deleting.load(Ordering::SeqCst) > 0 {
            deleted.cancel();
        }
        let acquired = tokio::select! {
            biased;
            acquired = self.acquire(key, pod) => Some(acquired),
            () = deleted.cancelled() => None,
            () = caller.cancelled() => None,
            () = tokio::time::sleep(self.settings.add_wait) => {
                *gate.lock_waiting() = None;
                return Err(self.waited_in_vain(key).await);
            }
        };
        *gate.lock_waiting() = None;
        match acquired {
            Some(Ok(lease)) => Ok(lease),
            Some(Err(AcquireError::Hopeless(reason))) => Err(CniFailure::new(
                code::NO_ADDRESS,
                format!("no address for {key}: {reason}"),
                "waiting would not help; `veni status --explain` on the node tells more",
            )),
            Some(Err(AcquireError::Closed)) => Err(CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!("no address for {key}: the daemon is shutting down"),
                "it will be back after its restart",
            )),
            None => Err(CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!("add of {key} was given up while it waited for an address"),
                "the attachment was deleted, or the caller went away",
            )),
        }
    }

    /// Waits for an address. Before waiting is called hopeless, endpoints are compared
    /// with the kernel: sandboxes that died without a DEL may hold all addresses.
    async fn acquire(
        self: &Arc<Self>,
        key: &AttachmentKey,
        pod: &str,
    ) -> Result<Lease, AcquireError> {
        let acquired = self.tools.pool.acquire(key, pod, Attempt::First).await;
        if !matches!(acquired, Err(AcquireError::Hopeless(_))) {
            return acquired;
        }
        self.release_dead().await;
        self.tools.pool.acquire(key, pod, Attempt::Repeated).await
    }

    async fn waited_in_vain(&self, key: &AttachmentKey) -> CniFailure {
        let plan = self.tools.pool.plan().await.unwrap_or_default();
        let under_way = plan
            .actions
            .iter()
            .map(|action| format!("under way: {}", action.action));
        let held_back = plan.held_back.iter().cloned();
        let notes = plan.notes.iter().cloned();
        let why: Vec<String> = held_back.chain(notes).chain(under_way).collect();
        CniFailure::new(
            code::TRY_AGAIN_LATER,
            format!(
                "no address for {key} within {} s: {}",
                self.settings.add_wait.as_secs(),
                why.join("; ")
            ),
            "the pool is refilled as fast as the cloud allows; `veni status --explain` tells more",
        )
    }

    async fn build(
        &self,
        order: AddOrder,
        lease: Lease,
        begun: Instant,
        waited: Duration,
    ) -> Result<Record, CniFailure> {
        let mut record = self.intent(&order, &lease, begun, waited);
        record.plan.egress = match self.take_node_local(&record) {
            Ok(egress) => egress,
            Err(failure) => {
                self.lock_names().remove(&record.plan.host_link);
                let pool = &self.tools.pool;
                pool.give_back(&order.key, lease.addresses, false);
                return Err(failure);
            }
        };
        let built = self.build_journalled(&mut record, order.namespace).await;
        if let Err(failure) = built {
            self.undo(&record).await;
            return Err(failure);
        }
        record.add_micros = micros(begun.elapsed());
        self.tools.metrics.add_took(Phase::Total, begun.elapsed());
        self.lock_records()
            .insert(record.key.clone(), record.clone());
        Ok(record)
    }

    async fn build_journalled(
        &self,
        record: &mut Record,
        namespace: OwnedFd,
    ) -> Result<(), CniFailure> {
        let journal = &self.tools.journal;
        let key = record.key.clone();
        let started = Instant::now();
        journal
            .write(Shelf::Endpoints, &record.id, record)
            .map_err(|error| journal_failure(&key, &error))?;
        self.lock_records().insert(key.clone(), record.clone());
        crash::point("add.journalled");
        let journalled = started.elapsed();
        let started = Instant::now();
        let links = self.make_network(record, namespace).await?;
        crash::point("add.networked");
        self.tools
            .metrics
            .add_took(Phase::Kernel, started.elapsed());
        let started = Instant::now();
        record.links = Some(links);
        record.state = RecordState::Ready;
        journal
            .write(Shelf::Endpoints, &record.id, record)
            .map_err(|error| journal_failure(&key, &error))?;
        crash::point("add.committed");
        let journalled = journalled + started.elapsed();
        self.tools.metrics.add_took(Phase::Journal, journalled);
        Ok(())
    }

    /// The kernel's part. Where a link that is not ours has the name that
    /// operators know, the attachment's own name is taken.
    async fn make_network(
        &self,
        record: &mut Record,
        namespace: OwnedFd,
    ) -> Result<EndpointLinks, CniFailure> {
        let key = record.key.clone();
        let refused = |error: &KernelError| kernel_failure("set up the network of", &key, error);
        let again = namespace.try_clone();
        let kernel = &self.tools.kernel;
        let error = match kernel.add_endpoint(&record.plan, Some(namespace)).await {
            Ok(links) => return Ok(links),
            Err(error) => error,
        };
        let taken =
            matches!(&error, KernelError::LinkTaken(name) if *name == record.plan.host_link);
        let (true, Ok(namespace)) = (taken && self.rename(record), again) else {
            return Err(refused(&error));
        };
        let journal = &self.tools.journal;
        journal
            .write(Shelf::Endpoints, &record.id, record)
            .map_err(|error| journal_failure(&record.key, &error))?;
        let added = kernel.add_endpoint(&record.plan, Some(namespace)).await;
        added.map_err(|error| refused(&error))
    }

    /// Gives a record that has no link yet the next best name; false when it
    /// has the last one.
    fn rename(&self, record: &mut Record) -> bool {
        let prefix = &self.settings.veth_prefix;
        let candidates = host_link_names(prefix, &record.key, &record.pod);
        let Some(last) = candidates
            .last()
            .filter(|last| **last != record.plan.host_link)
        else {
            return false;
        };
        let mut names = self.lock_names();
        names.remove(&record.plan.host_link);
        names.insert(last.clone());
        record.plan.host_link.clone_from(last);
        true
    }

    fn intent(&self, order: &AddOrder, lease: &Lease, begun: Instant, waited: Duration) -> Record {
        let created_ms = unix_millis().saturating_sub(micros(begun.elapsed()) / 1000);
        let default_route = order.default_route();
        let addresses = lease
            .addresses
            .iter()
            .map(|address| PodAddress { address: *address });
        Record {
            id: new_id(&order.key, created_ms),
            key: order.key.clone(),
            pod: order.pod.clone(),
            state: RecordState::Adding,
            plan: EndpointPlan {
                pod_link: order.key.interface_name.clone(),
                host_link: self.reserve_name(&order.key, &order.pod),
                pod_mac: random_mac(),
                host_mac: random_mac(),
                mtu: match order.mtu {
                    0 => self.settings.pod_mtu,
                    mtu => mtu,
                },
                addresses: addresses.collect(),
                node_addresses: self.settings.node_addresses.clone(),
                egress: None,
                // Another plugin may have given the pod IPv6 by another interface.
                no_ipv6: self.settings.no_ipv6 && default_route == DefaultRoute::Only,
                default_route,
            },
            links: None,
            cloud_interface: lease.interface.to_string(),
            created_ms,
            add_micros: 0,
            waited_micros: micros(waited),
            released_ms: None,
        }
    }

    /// The best name that no link of ours has. The last one is tried even when
    /// it is taken: the kernel then says so.
    fn reserve_name(&self, key: &AttachmentKey, pod: &PodName) -> String {
        let candidates = host_link_names(&self.settings.veth_prefix, key, pod);
        let mut names = self.lock_names();
        let free = candidates.iter().find(|name| !names.contains(*name));
        let name = free.or(candidates.last()).cloned().unwrap_or_default();
        names.insert(name.clone());
        name
    }

    /// Undoes a failed ADD; its address has not been used by anybody.
    async fn undo(&self, record: &Record) {
        let index = record.links.map(|links| links.host_index);
        let kernel = &self.tools.kernel;
        if let Err(error) = kernel.remove_endpoint(&record.plan.routed(), index).await {
            tracing::warn!(attachment = %record.key, %error, "failed to undo an add; the next start will");
            return;
        }
        self.lock_records().remove(&record.key);
        if record.links.is_some() {
            return self.bury_undone(record);
        }
        self.lock_names().remove(&record.plan.host_link);
        self.tools.journal.remove(Shelf::Endpoints, &record.id);
        self.tools
            .pool
            .give_back(&record.key, record.addresses(), false);
        self.free_node_local(record);
    }

    /// What could not be committed had come up for a moment: its link is deleted
    /// and its address cools like any other's.
    fn bury_undone(&self, record: &Record) {
        let dying = Record {
            state: RecordState::Dying,
            released_ms: Some(unix_millis()),
            ..record.clone()
        };
        if let Err(error) = self
            .tools
            .journal
            .write(Shelf::Endpoints, &dying.id, &dying)
        {
            tracing::warn!(attachment = %record.key, %error, "an add that was undone stays in the journal");
        }
        self.tools
            .pool
            .give_back(&record.key, record.addresses(), true);
        self.bury(dying);
    }

    fn tell_added(&self, key: &AttachmentKey, result: &Result<Record, CniFailure>) {
        match result {
            Ok(record) => {
                let addresses = record.response().addresses.join(", ");
                tracing::info!(
                    attachment = %key,
                    pod.namespace = record.pod.namespace,
                    pod.name = record.pod.name,
                    ip = addresses,
                    interface = record.cloud_interface,
                    link = record.plan.host_link,
                    micros = record.add_micros,
                    waited_micros = record.waited_micros,
                    "pod added"
                );
                self.tools.metrics.add_ended(AddOutcome::Ok);
                let message = format!("{} has {addresses}", record.label());
                self.tools.events.emit(EventKind::Add, message);
            }
            Err(failure) => {
                tracing::warn!(attachment = %key, code = failure.code, error = failure.message, "pod not added");
                self.tools.metrics.add_ended(match failure.code {
                    code::NO_ADDRESS | code::TRY_AGAIN_LATER => AddOutcome::NoAddress,
                    code::UNKNOWN_CONTAINER => AddOutcome::NamespaceGone,
                    _ => AddOutcome::Failed,
                });
                self.tools
                    .events
                    .emit(EventKind::Add, failure.message.clone());
            }
        }
    }
}

/// Another for every ADD, also for two of one attachment within a millisecond and
/// under two daemons: the reaper of the first must not forget the second. The plugin
/// finds the entry by how it begins.
fn new_id(key: &AttachmentKey, created_ms: u64) -> String {
    let chance: u32 = rand::random();
    let prefix = veni_api::file_names::entry_prefix(&key.into());
    format!("{prefix}{created_ms:012x}-{chance:08x}")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
