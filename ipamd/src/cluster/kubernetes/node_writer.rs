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
use super::health::{Asked, Health};
use super::pod_events::Told;
use super::summary::{self, Beside};
use super::taints::TaintWish;
use super::writers::{MANAGER, Served, Writers, Written, written};
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
/// So long must it be that no address can come before the node is tainted.
const TAINT_AFTER: Duration = Duration::from_secs(60);
/// Until a trouble that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(600);
/// What the API refuses is tried again after this: somebody may have granted it.
const REFUSED: Duration = Duration::from_secs(300);

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

/// The condition as it was written last.
struct ConditionWritten {
    status: Option<Status>,
    reason: Option<Reason>,
    /// Since when it has this status.
    since: String,
    next: Instant,
}

struct SummaryWritten {
    status: Value,
    next: Instant,
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
                status: None,
                reason: None,
                since: String::new(),
                next: now,
            },
            summary: SummaryWritten {
                status: Value::Null,
                next: now,
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
        let unchanged = (last.status, last.reason) == (Some(judged.status), Some(judged.reason));
        // A failed write of another condition has set the next time, too.
        if now < last.next && (unchanged || last.status.is_none()) {
            return;
        }
        let heartbeat = rfc_3339(SystemTime::now());
        if last.status != Some(judged.status) {
            last.since.clone_from(&heartbeat);
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
            Written::Done(_) => {
                last.status = Some(judged.status);
                last.reason = Some(judged.reason);
                last.next = now + HEARTBEAT;
            }
            Written::Refused(_) => {
                last.status = None;
                last.next = now + REFUSED;
            }
            Written::TryAgain(pause) => {
                last.status = None;
                last.next = now + pause;
            }
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
        let lasts = self.without.is_some_and(|since| now >= since + TAINT_AFTER);
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
            Written::Done(keys) => {
                tracing::info!(taints = keys.join(","), "changed the node's taints");
            }
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
        if status == self.summary.status {
            return;
        }
        let object = summary::object(&self.node, &node.uid, &status);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        let write = self.summaries.patch(&self.node, &params, &patch);
        let (pause, missing) = match written(&self.health, Asked::Summary, write).await {
            Written::Done(_) => {
                self.summary.status = status;
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
/// names the version that it is about: the API refuses it if somebody else has come between.
async fn change_taints(
    nodes: &Api<Node>,
    name: &str,
    wish: TaintWish<'_>,
) -> kube::Result<Vec<String>> {
    let node = nodes.get(name).await?;
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let keys = |taints: &[k8s_openapi::api::core::v1::Taint]| {
        let keys = taints.iter().map(|taint| taint.key.clone());
        keys.collect::<Vec<String>>()
    };
    if wish.is_met(taints.iter().map(|taint| taint.key.as_str())) {
        return Ok(keys(&taints));
    }
    let taints = wish.apply(taints);
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": taints },
    }));
    nodes.patch(name, &params(), &patch).await?;
    Ok(keys(&taints))
}
