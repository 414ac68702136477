//! The endpoints of this node: one per attachment, each made and taken away by
//! one task at a time.
//!
//! ADD and DEL run in tasks of their own, which complete or undo what they
//! began whatever becomes of the caller. Operations on one attachment are
//! serialised; a DEL ends the waiting of an ADD that is still in flight.

mod add;
mod audit;
mod del;
mod node_local;
mod reaper;
mod record;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veni_api::failure::{CniFailure, code};
use veni_dataplane::{DataPlane, DefaultRoute, KernelError};

use crate::attachment::AttachmentKey;
use crate::events::Events;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::pool::Pool;

pub use add::AddOrder;
use audit::SharedAudit;
use node_local::NodeLocal;
pub(crate) use reaper::Reaper;
pub use record::{Record, RecordState};

/// What all endpoints of the node have in common.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// First letters of the host ends' names.
    pub veth_prefix: String,
    /// MTU, bytes, unless the network configuration says another.
    pub pod_mtu: u32,
    /// Longest wait for an address.
    pub add_wait: Duration,
    /// Cooldown of addresses.
    pub cooldown: Duration,
    /// The node's own addresses, source of its packets to pods.
    pub node_addresses: Vec<IpAddr>,
    /// Range of the node-local addresses by which pods open flows of the family that
    /// they have no addresses of; `None` when they open none.
    pub egress: Option<IpNet>,
    /// Whether IPv6 is switched off in every pod.
    pub no_ipv6: bool,
}

/// What endpoints are made with.
#[derive(Clone)]
pub struct Tools {
    /// Addresses.
    pub pool: Pool,
    /// Kernel.
    pub kernel: Arc<dyn DataPlane>,
    /// Journal.
    pub journal: Journal,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// The right to change one attachment, and the way to hurry its holder.
#[derive(Default)]
struct Gate {
    turn: AsyncMutex<()>,
    waiting: Mutex<Option<CancellationToken>>,
    /// DELs that wait for their turn: an ADD before them need not begin.
    deleting: AtomicU32,
}

/// All endpoints of the node.
pub struct Endpoints {
    settings: EndpointSettings,
    tools: Tools,
    gates: Mutex<HashMap<AttachmentKey, Arc<Gate>>>,
    records: Mutex<HashMap<AttachmentKey, Record>>,
    /// Names of host ends that exist or are about to.
    names: Mutex<BTreeSet<String>>,
    /// Node-local addresses, where pods get one.
    node_local: Option<Mutex<NodeLocal>>,
    dying: mpsc::UnboundedSender<Record>,
    tasks: TaskTracker,
    shared_audit: SharedAudit,
}

impl Endpoints {
    /// Endpoints without any; what a daemon before has left is restored by
    /// [`Endpoints::restore`]. The reaper must be run.
    pub(crate) fn new(settings: EndpointSettings, tools: Tools) -> (Arc<Self>, Reaper) {
        let (dying, queue) = mpsc::unbounded_channel();
        let node_local = settings.egress.map(NodeLocal::new).map(Mutex::new);
        let endpoints = Arc::new(Self {
            settings,
            node_local,
            tools,
            gates: Mutex::default(),
            records: Mutex::default(),
            names: Mutex::default(),
            dying,
            tasks: TaskTracker::new(),
            shared_audit: SharedAudit::default(),
        });
        let reaper = Reaper::new(Arc::clone(&endpoints), queue);
        (endpoints, reaper)
    }

    /// Takes in what recovery has found: living endpoints, and dying ones
    /// whose link or cooldown is not over.
    pub(crate) fn restore(&self, records: Vec<Record>) {
        for record in records {
            if record.state != RecordState::Dying || record.links.is_some() {
                self.lock_names().insert(record.plan.host_link.clone());
            }
            if let (Some(address), Some(mut all)) = (record.plan.egress, self.lock_node_local()) {
                let lives = record.state != RecordState::Dying;
                all.keep(address, &record.id, lives);
            }
            match record.state {
                RecordState::Dying => self.bury(record),
                RecordState::Adding | RecordState::Ready => {
                    self.lock_records().insert(record.key.clone(), record);
                }
            }
        }
    }

    /// All endpoints in order of their creation.
    pub fn list(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.lock_records().values().cloned().collect();
        records.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        records
    }

    /// Names of pods by attachment, for reports.
    pub fn labels(&self) -> HashMap<String, String> {
        self.lock_records()
            .values()
            .map(|record| (record.key.to_string(), record.label()))
            .collect()
    }

    /// Compares one endpoint with the kernel; no difference is an empty list.
    ///
    /// # Errors
    /// The attachment is not known, or the kernel cannot be asked.
    pub async fn check(
        &self,
        key: &AttachmentKey,
        expected: &[String],
        namespace: Option<std::os::fd::OwnedFd>,
    ) -> Result<Vec<String>, CniFailure> {
        let record = self.lock_records().get(key).cloned();
        let (Some(record), Some(links)) = (
            record.as_ref(),
            record.as_ref().and_then(|record| record.links),
        ) else {
            return Err(CniFailure::new(
                code::UNKNOWN_CONTAINER,
                format!("attachment {key} is not known"),
                "it was never added, or has been deleted: the runtime should add it again",
            ));
        };
        let checked = self
            .tools
            .kernel
            .check_endpoint(&record.plan, &links, namespace);
        let differences = checked
            .await
            .map_err(|error| kernel_failure("check", key, &error))?;
        let mut texts: Vec<String> = differences.into_iter().map(|d| d.text).collect();
        let own = record.response().addresses;
        for address in expected.iter().filter(|address| !own.contains(address)) {
            texts.push(format!(
                "the runtime expects address {address}, the attachment has {}",
                own.join(", ")
            ));
        }
        Ok(texts)
    }

    /// Waits until no ADD or DEL is under way; none may be begun any more.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn gate(&self, key: &AttachmentKey) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(key.clone()).or_default())
    }

    /// Forgets a gate that nobody else holds or waits at.
    fn leave(&self, key: &AttachmentKey, gate: Arc<Gate>) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // One in the map, one here: under the map's lock nobody gets another.
        if Arc::strong_count(&gate) == 2 {
            gates.remove(key);
        }
        // Under the lock: of two who leave at once, one must see itself alone.
        drop(gate);
    }

    fn lock_records(&self) -> MutexGuard<'_, HashMap<AttachmentKey, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node-local address for a new endpoint, where pods get one: they open flows by
    /// it, which is nothing for an interface without a default route.
    fn take_node_local(&self, record: &Record) -> Result<Option<IpAddr>, CniFailure> {
        if record.plan.default_route == DefaultRoute::None {
            return Ok(None);
        }
        let Some(mut all) = self.lock_node_local() else {
            return Ok(None);
        };
        let taken = all.take(&record.id).ok_or_else(|| {
            let (size, range) = (all.size(), all.range());
            CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!(
                    "no address for {}: all {size} node-local ones of {range} are used or cool",
                    record.key
                ),
                "one is free again IP_COOLDOWN_PERIOD seconds after its pod's end; without \
                 ENABLE_V4_EGRESS or ENABLE_V6_EGRESS pods need none",
            )
        });
        taken.map(Some)
    }

    /// An endpoint is forgotten: its node-local address is free.
    fn free_node_local(&self, record: &Record) {
        if let (Some(address), Some(mut all)) = (record.plan.egress, self.lock_node_local()) {
            all.give_back(address, &record.id);
        }
    }

    fn lock_node_local(&self) -> Option<MutexGuard<'_, NodeLocal>> {
        let all = self.node_local.as_ref()?;
        Some(all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn lock_waiting(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that panicked is a defect. The process ends, and starts again from
/// journal, kernel and cloud.
fn end_process(error: &tokio::task::JoinError) -> ! {
    tracing::error!(%error, "a defect: the daemon ends, to start again from its journal");
    std::process::abort()
}

fn kernel_failure(operation: &str, key: &AttachmentKey, error: &KernelError) -> CniFailure {
    let code = match error {
        KernelError::NamespaceGone => code::UNKNOWN_CONTAINER,
        _ => code::KERNEL_REFUSED,
    };
    let details = match error {
        KernelError::Refused { reason, .. } if reason.kind() == io::ErrorKind::AlreadyExists => {
            "nothing of it was left behind; an interface beside another one of its pod needs \
             isDefaultGateway of the network configuration to be false, or another name than eth0"
        }
        _ => "nothing of it was left behind; see the daemon's log on this node",
    };
    CniFailure::new(
        code,
        format!("failed to {operation} {key}: {error}"),
        details,
    )
}

fn journal_failure(key: &AttachmentKey, error: &JournalError) -> CniFailure {
    CniFailure::new(
        code::IO_FAILURE,
        format!("attachment {key}: {error}"),
        "nothing of it was left behind: the daemon adds no pod that it cannot write down; make \
         room in its run folder (df -h, df -i), or mount it writable",
    )
}
