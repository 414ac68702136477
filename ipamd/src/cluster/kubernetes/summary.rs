//! The node's summary: the object NodeNetwork that an operator's table of all nodes is made of.

use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::availability::{Availability, held_back};
use crate::pool::{PlanReport, PoolReport};

/// Bytes of the text of what holds the pool back.
const LONGEST_TEXT: usize = 400;
/// Bytes of the summary. Where the node's name is long, that text is shorter.
const LONGEST: usize = 1024;

/// The field of that text.
const HELD_BACK: &str = "heldBack";

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
        status[HELD_BACK] = shortened(&held_back, LONGEST_TEXT).into();
    }
    status
}

/// The object, owned by the node's: it goes with the node.
pub(super) fn object(node: &str, node_uid: &str, status: Value) -> Value {
    let resource = resource();
    let mut object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": node,
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid },
            ],
        },
        "status": status,
    });
    let over = object.to_string().len().saturating_sub(LONGEST);
    if let (Some(fields), true) = (object["status"].as_object_mut(), over > 0) {
        let text = fields.remove(HELD_BACK);
        let text = text.as_ref().and_then(Value::as_str).unwrap_or_default();
        // In JSON, a byte of the text is one or more.
        let text = shortened(text, text.len().saturating_sub(over));
        if !text.is_empty() {
            fields.insert(HELD_BACK.to_owned(), text.into());
        }
    }
    object
}

/// At most so many bytes of a text, whole letters; what is cut shows by an ellipsis.
pub(super) fn shortened(text: &str, most: usize) -> String {
    const CUT: &str = "…";
    if most < CUT.len() {
        return String::new();
    }
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most - CUT.len());
    format!("{}{CUT}", &text[..end])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::kubernetes::availability::judge;
    use crate::config::MOST_ADDRESSES;
    use crate::pool::{CallKind, HeldBack, LevelCounts};
    use crate::serve::fixtures::pool_report;

    #[test]
    fn a_summary_has_a_kibibyte_at_most() {
        let many = MOST_ADDRESSES;
        let report = PoolReport {
            instance_type: "u7inh-32tb.480xlarge".to_owned(),
            max_pods: many,
            waiting: 100_000,
            counts: LevelCounts {
                assigned: many,
                free: many,
                cooling: many,
                total: many,
                interfaces: many,
                ..LevelCounts::default()
            },
            ..pool_report()
        };
        let quoted = |reason: &str| HeldBack::BackingOff {
            calls: CallKind::Inventory,
            since: Duration::from_secs(60),
            left: Duration::from_secs(5),
            reason: reason.to_owned(),
            denied: None,
        };
        let plan = PlanReport {
            held_back: vec![quoted(r#"said the cloud: "\no""#); 100],
            ..PlanReport::default()
        };
        let judged = judge(&report, &plan);
        let beside = Beside {
            ready_since: "2026-01-01T00:00:00.000Z",
            pods: 100_000,
            warnings: 100,
        };
        let status = status(&report, &plan, &judged, &beside);
        let uid = "00000000-0000-0000-0000-000000000000";
        let usual = "ip-10-100-100-100.ap-southeast-2.compute.internal";
        // RFC 1123 has no longer one.
        let longest = "n".repeat(253);
        for (name, left) in [(usual, 300), (longest.as_str(), 0)] {
            let object = object(name, uid, status.clone());
            let size = object.to_string().len();
            assert!(size <= LONGEST, "{size}: {object}");
            let text = object["status"]["heldBack"].as_str().unwrap_or_default();
            assert!((left..=LONGEST_TEXT).contains(&text.len()), "{text}");
            assert!(text.is_empty() || text.ends_with('…'), "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(shortened("as it is", 8), "as it is");
        assert_eq!(shortened("ääää", 7), "ää…");
        assert_eq!(shortened("ääää", 2), "");
    }
}
