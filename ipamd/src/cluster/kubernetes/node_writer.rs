//! Keeps what operators and schedulers see of this node: the condition
//! `NetworkAddressesAvailable`, taints, and the summary.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use veni_api::timestamp::rfc_3339;

use super::availability::{Availability, Reason, Status, judge, troubles};
use super::event_queue::Told;
use super::health::{Asked, Health};
use super::summary::{self, Beside};
use super::taints::{NO_ADDRESSES, TaintWish};
use super::writers::{MANAGER, REFUSED, Served, Writers, Written, written};
use crate::cluster::{Cluster, NodeObject};
use crate::pool::{PlanReport, PoolReport};

/// The condition's type.
const CONDITION: &str = "NetworkAddressesAvailable";

/// Between two looks at the pool.
const LOOK: Duration = Duration::from_secs(5);
/// Between two writes of a condition that has not changed.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// Between two summaries.
const SUMMARY: Duration = Duration::from_secs(60);
/// Between two writes of a summary that has not changed: somebody may have deleted it.
const SUMMARY_HEARTBEAT: Duration = Duration::from_secs(600);
/// So long must it be that no address can come before the node is tainted.
const TAINT_AFTER: Duration = Duration::from_secs(60);
/// Until a trouble that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(600);
/// Until taints are asked for again that are as they shall be, though the watch tells otherwise.
const WATCH_LAGS: Duration = Duration::from_secs(60);

/// Writes what is seen of the node.
pub(super) struct NodeWriter {
    nodes: Api<Node>,
    summaries: Api<DynamicObject>,
    node: String,
    startup_taint: Option<String>,
    taints_without_addresses: bool,
    cluster: Cluster,
    health: Health,
    served: Served,
    troubles: mpsc::Sender<Told>,
    ready_since: String,
    condition: ConditionWritten,
    summary: SummaryWritten,
    /// Since when no address can come, for the taint.
    without: Option<Instant>,
    taints_again: Instant,
    /// The troubles that were there at the last look, and when each was told.
    known: BTreeMap<Reason, Instant>,
}

/// The condition as it was at the last look.
struct ConditionWritten {
    now: Option<(Status, Reason)>,
    /// Since when it has this status.
    since: String,
    /// Whether the last write failed: a change, too, waits for the next.
    failed: bool,
    next: Instant,
}

struct SummaryWritten {
    /// As it was written last; null where the write failed.
    object: Value,
    next: Instant,
    /// Until when the same is not written again.
    heartbeat: Instant,
}

impl NodeWriter {
    pub(super) fn new(with: &Writers, served: Served, troubles: mpsc::Sender<Told>) -> Self {
        let (client, now) = (with.client.clone(), Instant::now());
        Self {
            nodes: Api::all(client.clone()),
            summaries: Api::all_with(client, &summary::resource()),
            node: with.node.clone(),
            startup_taint: with.settings.startup_taint.clone(),
            taints_without_addresses: with.settings.taint_without_addresses,
            cluster: with.cluster.clone(),
            health: with.health.clone(),
            served,
            troubles,
            ready_since: rfc_3339(SystemTime::now()),
            condition: ConditionWritten {
                now: None,
                since: String::new(),
                failed: false,
                next: now,
            },
            summary: SummaryWritten {
                object: Value::Null,
                next: now,
                heartbeat: now,
            },
            without: None,
            taints_again: now,
            known: BTreeMap::new(),
        }
    }

    /// Looks and writes for ever, or until the pool has closed.
    pub(super) async fn run(mut self) {
        let mut view = self.cluster.watch();
        loop {
            let node = view.borrow_and_update().node.clone();
            let pool = &self.served.pool;
            let (Some(report), Some(plan)) = (pool.report().await, pool.plan().await) else {
                return;
            };
            let judged = judge(&report, &plan);
            self.tell_troubles(&report, &plan, &judged);
            self.write_taints(&node, &judged).await;
            self.write_condition(&judged).await;
            self.write_summary(&node, &report, &plan, &judged).await;
            let another_node = view.wait_for(|view| view.node != node);
            // It ends with the time: what the pool does shows by looking alone.
            drop(tokio::time::timeout(LOOK, another_node).await);
        }
    }

    /// Each trouble is told when it comes and again while it lasts, and when all are over.
    fn tell_troubles(&mut self, report: &PoolReport, plan: &PlanReport, judged: &Availability) {
        let (there, now) = (troubles(report, plan, judged), Instant::now());
        let over = there.is_empty() && !self.known.is_empty();
        if over
            && self
                .troubles
                .try_send(Told::recovery(&judged.message))
                .is_err()
        {
            return;
        }
        let is_there = |reason: &Reason| there.iter().any(|trouble| trouble.reason == *reason);
        self.known.retain(|reason, _| is_there(reason));
        for trouble in &there {
            let told = self.known.get(&trouble.reason);
            let due = told.is_none_or(|told| now >= *told + TELL_AGAIN);
            // Full while the API is away: it is told at a later look.
            if due && self.troubles.try_send(Told::trouble(trouble)).is_ok() {
                self.known.insert(trouble.reason, now);
            }
        }
    }

    async fn write_condition(&mut self, judged: &Availability) {
        let (last, now) = (&mut self.condition, Instant::now());
        let heartbeat = rfc_3339(SystemTime::now());
        let before = last.now.replace((judged.status, judged.reason));
        if before.is_none_or(|(status, _)| status != judged.status) {
            last.since.clone_from(&heartbeat);
        }
        if before != last.now && !last.failed {
            last.next = now;
        }
        if now < last.next {
            return;
        }
        let condition = json!({
            "type": CONDITION,
            "status": judged.status.to_string(),
            "reason": judged.reason.name(),
            "message": judged.message,
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": last.since,
        });
        // The merge of conditions by type leaves those of others alone.
        let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
        let params = params();
        let write = self.nodes.patch_status(&self.node, &params, &patch);
        match written(&self.health, Asked::Condition, write).await {
            Written::Done(_) => (last.failed, last.next) = (false, now + HEARTBEAT),
            Written::Refused(_) => (last.failed, last.next) = (true, now + REFUSED),
            Written::TryAgain(pause) => (last.failed, last.next) = (true, now + pause),
        }
    }

    async fn write_taints(&mut self, node: &NodeObject, judged: &Availability) {
        let now = Instant::now();
        self.without = match (judged.status, judged.reason) {
            (Status::Unknown, _) => self.without,
            // A taint would only have new nodes made, in the same full subnet.
            (Status::True, _) | (_, Reason::SubnetExhausted) => None,
            (Status::False, _) => self.without.or(Some(now)),
        };
        let ends = judged.status == Status::True || judged.reason == Reason::SubnetExhausted;
        // A daemon before has seen it last.
        let is_tainted = node.taints.iter().any(|taint| taint.key == NO_ADDRESSES);
        let is_over = self.without.is_some_and(|since| now >= since + TAINT_AFTER);
        let lasts = is_over || (is_tainted && !ends);
        let wish = TaintWish {
            startup: self.startup_taint.as_deref(),
            no_addresses: lasts && self.taints_without_addresses,
        };
        let keys = node.taints.iter().map(|taint| taint.key.as_str());
        // Without a uid, only a file has told of the node.
        if node.uid.is_empty() || wish.is_met(keys) || now < self.taints_again {
            return;
        }
        let write = change_taints(&self.nodes, &self.node, wish);
        match written(&self.health, Asked::Taints, write).await {
            Written::Done(Some(keys)) => {
                tracing::info!(taints = keys.join(","), "changed the node's taints");
            }
            Written::Done(None) => self.taints_again = now + WATCH_LAGS,
            // Somebody else has changed the node meanwhile: at the next look.
            Written::Refused(kube::Error::Api(status)) if status.is_conflict() => {}
            Written::Refused(_) => self.taints_again = now + REFUSED,
            Written::TryAgain(pause) => self.taints_again = now + pause,
        }
    }

    async fn write_summary(
        &mut self,
        node: &NodeObject,
        report: &PoolReport,
        plan: &PlanReport,
        judged: &Availability,
    ) {
        let now = Instant::now();
        if now < self.summary.next || node.uid.is_empty() {
            return;
        }
        let beside = Beside {
            ready_since: &self.ready_since,
            pods: self.served.endpoints.list().len(),
            warnings: report.node_warnings.len() + self.host_warnings().await,
        };
        let status = summary::status(report, plan, judged, &beside);
        let object = summary::object(&self.node, &node.uid, status);
        if object == self.summary.object && now < self.summary.heartbeat {
            self.summary.next = now + SUMMARY;
            return;
        }
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        let write = self.summaries.patch(&self.node, &params, &patch);
        let written = written(&self.health, Asked::Summary, write).await;
        self.summary.object = Value::Null;
        let (pause, missing) = match written {
            Written::Done(_) => {
                self.summary.object = object;
                self.summary.heartbeat = now + SUMMARY_HEARTBEAT;
                (SUMMARY, false)
            }
            Written::Refused(error) => (REFUSED, super::is_missing(&error)),
            Written::TryAgain(pause) => (pause.max(SUMMARY), false),
        };
        self.summary.next = now + pause;
        let missing = missing.then(|| {
            "the cluster does not know NodeNetworks, so tables of all nodes lack this one: install \
             the definition nodenetworks.veni.dev"
                .to_owned()
        });
        self.health.wrong(Asked::Summary, missing);
    }

    /// Reads files. Without an answer, which only a panic can prevent, none is counted.
    async fn host_warnings(&self) -> usize {
        let Some(host) = self.served.host.clone() else {
            return 0;
        };
        let warnings = tokio::task::spawn_blocking(move || host.warnings()).await;
        warnings.map_or(0, |all| all.len())
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Changes the taints of the node as it is now. The list is replaced as a whole, so the change
/// names the version that it is about: the API refuses it if somebody else has come between. Tells
/// the keys of the list if it was changed.
async fn change_taints(
    nodes: &Api<Node>,
    name: &str,
    wish: TaintWish<'_>,
) -> kube::Result<Option<Vec<String>>> {
    let node = nodes.get(name).await?;
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    if wish.is_met(taints.iter().map(|taint| taint.key.as_str())) {
        return Ok(None);
    }
    let taints = wish.apply(taints);
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": taints },
    }));
    nodes.patch(name, &params(), &patch).await?;
    let keys = taints.iter().map(|taint| taint.key.clone());
    Ok(Some(keys.collect()))
}
