//! The node's summary: the object NodeNetwork that an operator's table of all nodes is made of.

use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::availability::{Availability, held_back};
use crate::pool::{PlanReport, PoolReport};

/// Bytes of the text of what holds the pool back, so that the summary has 1 KiB at most.
const LONGEST_TEXT: usize = 400;

/// The kind, as its definition in the chart has it.
pub(super) fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("veni.dev", "v1alpha1", "NodeNetwork");
    ApiResource::from_gvk_with_plural(&kind, "nodenetworks")
}

/// What is known beside the pool's reports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<'a> {
    /// Since when pods are served, as RFC 3339 has it.
    pub(super) ready_since: &'a str,
    /// Attachments that have a network.
    pub(super) pods: usize,
    /// Warnings of `veni status`.
    pub(super) warnings: usize,
}

/// The summary's `status`.
pub(super) fn status(
    report: &PoolReport,
    plan: &PlanReport,
    judged: &Availability,
    beside: &Beside<'_>,
) -> Value {
    let counts = report.counts;
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "readySince": beside.ready_since,
        "provider": report.provider,
        "instanceType": report.instance_type,
        "pods": beside.pods,
        "maxPods": report.max_pods,
        "addresses": {
            "assigned": counts.assigned,
            "free": counts.free,
            "cooling": counts.cooling,
            "total": counts.total,
        },
        "waiting": report.waiting,
        "interfaces": counts.interfaces,
        "state": judged.reason.name(),
        "warnings": beside.warnings,
    });
    let held_back = held_back(plan);
    if !held_back.is_empty() {
        status["heldBack"] = shortened(&held_back, LONGEST_TEXT).into();
    }
    status
}

/// The object, owned by the node's: it goes with the node.
pub(super) fn object(node: &str, node_uid: &str, status: &Value) -> Value {
    let resource = resource();
    json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": node,
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid },
            ],
        },
        "status": status,
    })
}

/// At most so many bytes of a text, whole letters; what is cut shows by an ellipsis.
pub(super) fn shortened(text: &str, most: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most - CUT.len());
    format!("{}{CUT}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kubernetes::availability::judge;
    use crate::pool::HeldBack;
    use crate::serve::fixtures::pool_report;

    #[test]
    fn a_summary_has_a_kibibyte_at_most() {
        let (report, plan) = (
            pool_report(),
            PlanReport {
                held_back: vec![HeldBack::Cordoned; 100],
                ..PlanReport::default()
            },
        );
        let judged = judge(&report, &plan);
        let beside = Beside {
            ready_since: "2026-01-01T00:00:00.000Z",
            pods: 100_000,
            warnings: 100,
        };
        let status = status(&report, &plan, &judged, &beside);
        let name = "ip-10-100-100-100.ap-southeast-2.compute.internal";
        let uid = "00000000-0000-0000-0000-000000000000";
        let object = object(name, uid, &status).to_string();
        assert!(object.len() <= 1024, "{}: {object}", object.len());
        let text = status["heldBack"].as_str().expect("text");
        assert!(text.len() <= LONGEST_TEXT && text.ends_with('…'), "{text}");
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(shortened("as it is", 8), "as it is");
        assert_eq!(shortened("ääää", 7), "ää…");
    }
}
