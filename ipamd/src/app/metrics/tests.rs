//! What a daemon exposes before anything has happened, beside docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use std::time::Duration;

use veni_provider::{ApiFamily, ErrorClass, Operation};

use super::*;
use crate::cloud_metrics::RequestSeen;
use crate::node_metrics::allowances::{ALLOWANCES, Allowances};
use crate::node_metrics::conntrack::Conntrack;
use crate::node_metrics::{Drops, KernelReading};
use crate::pool::{InterfaceReport, InterfaceState, PoolReport, PrefixReport};
use crate::serve::fixtures::{interface_report, pool_report};

/// Labels and their values.
type Labels = BTreeMap<String, String>;

/// What is exposed: the type and the help of each family, and the labels of its samples.
#[derive(Debug, Default, PartialEq)]
struct Exposed {
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: BTreeMap<String, BTreeSet<Labels>>,
}

/// Reads the text format, and holds it to its rules.
fn exposed(text: &str) -> Exposed {
    let mut read = Exposed::default();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# HELP ") {
            let (name, help) = family.split_once(' ').expect("name and help");
            read.helps.insert(name.to_owned(), help.to_owned());
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("name and kind");
            assert!(
                ["counter", "gauge", "histogram"].contains(&kind),
                "a kind that the text format does not know: {line}"
            );
            let before = read.kinds.insert(name.to_owned(), kind.to_owned());
            assert_eq!(before, None, "told twice: {line}");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            value.parse::<f64>().expect("a number");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|part| name.strip_suffix(part))
                .find(|family| read.kinds.contains_key(*family))
                .unwrap_or(name);
            assert!(read.kinds.contains_key(family), "without a type: {line}");
            let mut labels: Labels = labels
                .trim_end_matches('}')
                .split_terminator(',')
                .map(|pair| pair.split_once('=').expect("name=value"))
                .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
                .collect();
            labels.remove("le");
            let samples = read.samples.entry(family.to_owned()).or_default();
            samples.insert(labels);
        }
    }
    read
}

/// A row of docs/metrics.md: type, and the values of each label; none where they
/// are not listed.
struct Row {
    kind: String,
    meaning: String,
    labels: BTreeMap<String, Vec<String>>,
}

impl Row {
    /// Every combination of the labels' values; `None` where one is not listed.
    fn combinations(&self) -> Option<BTreeSet<Labels>> {
        let mut all = BTreeSet::from([Labels::new()]);
        for (label, values) in &self.labels {
            let longer = |one: &Labels| {
                let one = one.clone();
                values.iter().map(move |value| {
                    let mut one = one.clone();
                    one.insert(label.clone(), value.clone());
                    one
                })
            };
            all = all.iter().flat_map(longer).collect();
        }
        (!all.is_empty()).then_some(all)
    }
}

fn page() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(path).expect("the page");
    let quoted = |text: &str| -> Vec<String> {
        let parts = text.split('`').skip(1).step_by(2);
        // An empty value cannot be quoted by itself.
        parts
            .map(|part| part.trim_matches('"').to_owned())
            .collect()
    };
    // What follows the table explains some of its rows.
    let (table, _) = page.split_once("\n## ").expect("a table and more");
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| `awscni_") || line.starts_with("| `veni_"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else {
            panic!("not four cells: {line}");
        };
        assert!(!meaning.is_empty(), "{line}");
        let labels = labels.split_terminator(';').map(|label| {
            let (name, values) = label.split_once(':').expect("name: values");
            (quoted(name).remove(0), quoted(values))
        });
        let row = Row {
            kind: kind.to_owned(),
            meaning: meaning.to_owned(),
            labels: labels.collect(),
        };
        (quoted(name).remove(0), row)
    })
    .collect()
}

/// Of a node that tracks connections, with an interface of ENA's.
fn kernel() -> KernelReading {
    let allowances = Allowances {
        exceeded: ALLOWANCES.map(|allowance| (allowance, 0)).to_vec(),
        conntrack_available: Some(0),
    };
    KernelReading {
        conntrack: Some(Conntrack {
            entries: 0,
            limit: 0,
        }),
        allowances: vec![("eth0".to_owned(), allowances)],
        drops: vec![Drops {
            direction: "ingress",
            reason: "policy_ingress",
            packets: 0,
        }],
    }
}

/// Of a daemon on AWS that has just begun.
fn fresh() -> Exposed {
    let metrics = Metrics::default();
    metrics.requests.begin_at_zero(["AttachNetworkInterface"]);
    for family in ApiFamily::ALL {
        metrics.calls.set_budget(family, 1.0);
    }
    metrics.node.set_kernel(kernel());
    exposed(&metrics.text().expect("is text"))
}

#[test]
fn everything_counts_from_the_start_for_every_value_of_its_labels() {
    let fresh = fresh();
    let mut enumerated = 0;
    for (name, row) in page() {
        let Some(combinations) = row.combinations() else {
            continue;
        };
        assert_eq!(fresh.kinds.get(&name), Some(&row.kind), "{name}");
        assert_eq!(fresh.samples.get(&name), Some(&combinations), "{name}");
        enumerated += combinations.len();
    }
    assert!(enumerated > 90, "the page lists the values: {enumerated}");
    let of_actions = &fresh.samples["awscni_ec2api_error_count"];
    assert_eq!(of_actions.len(), 1, "an action that has not been called");
}

fn prefix() -> PrefixReport {
    PrefixReport {
        prefix: "10.0.1.16/28".parse().expect("a range"),
        free: 16,
        assigned: 0,
        cooling: 0,
        used: Vec::new(),
    }
}

#[test]
fn what_is_exposed_has_the_type_the_help_and_the_labels_of_the_page() {
    let metrics = Metrics::default();
    let seen = RequestSeen {
        action: "AssignPrivateIpAddresses",
        outcome: Err("RequestLimitExceeded"),
        status: Some(503),
        waited: Duration::ZERO,
        took: Duration::ZERO,
    };
    metrics.requests.ended(&seen);
    metrics.requests.budget(seen.action, 2.5);
    metrics.api.request_ended("list", "nodes", Some(200));
    metrics.calls.set_budget(ApiFamily::Describe, 10.0);
    metrics.node.set_spread(&PoolReport {
        interfaces: vec![InterfaceReport {
            prefixes: vec![prefix()],
            ..interface_report(InterfaceState::Attached)
        }],
        ..pool_report()
    });
    metrics.node.set_kernel(kernel());
    let exposed = exposed(&metrics.text().expect("is text"));
    let page = page();
    let kinds: BTreeMap<String, String> = page
        .iter()
        .map(|(name, row)| (name.clone(), row.kind.clone()))
        .collect();
    assert_eq!(exposed.kinds, kinds);
    let helps: BTreeMap<String, String> = page
        .iter()
        .map(|(name, row)| (name.clone(), format!("{}.", row.meaning)))
        .collect();
    assert_eq!(exposed.helps, helps);
    for (name, samples) in &exposed.samples {
        let labels: BTreeSet<&String> = page[name].labels.keys().collect();
        for sample in samples {
            assert_eq!(sample.keys().collect::<BTreeSet<_>>(), labels, "{name}");
        }
    }
}

#[test]
fn the_first_failure_after_a_start_is_an_increase() {
    let metrics = Metrics::default();
    let line = r#"veni_cloud_calls_total{operation="assign",outcome="denied"} "#;
    let value = |metrics: &Metrics| {
        let text = metrics.text().expect("is text");
        let value = text.lines().find_map(|one| one.strip_prefix(line));
        value.map(str::to_owned)
    };
    assert_eq!(value(&metrics).as_deref(), Some("0"));
    let failed = Err(&ErrorClass::Denied);
    metrics
        .calls
        .ended(Operation::Assign, failed, Duration::ZERO, Duration::ZERO);
    assert_eq!(value(&metrics).as_deref(), Some("1"));
}
