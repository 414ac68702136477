//! One table of all nodes, out of one list of the summaries that their daemons write
//! (`NodeNetwork` of `veni.dev/v1alpha1`).

use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use veni_terminal::{print, printable};

use super::client::Kubectl;
use crate::table::{render_within, table_width};

const HEADINGS: [&str; 11] = [
    "node",
    "version",
    ">pods",
    ">at most",
    ">assigned",
    ">free",
    ">cooling",
    ">waiting",
    ">interfaces",
    "state",
    ">warnings",
];

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<NodeNetwork>,
}

#[derive(Debug, Deserialize)]
struct NodeNetwork {
    metadata: Metadata,
    #[serde(default)]
    status: Summary,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

/// What a daemon tells of its node. A daemon of another version may tell less.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Summary {
    version: Option<String>,
    pods: Option<u64>,
    max_pods: Option<u64>,
    addresses: Addresses,
    waiting: Option<u64>,
    interfaces: Option<u64>,
    state: Option<String>,
    held_back: Option<String>,
    warnings: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Addresses {
    assigned: Option<u64>,
    free: Option<u64>,
    cooling: Option<u64>,
}

/// Prints the table.
///
/// # Errors
/// The list cannot be had, or is none of summaries.
pub(super) async fn run(kubectl: &Kubectl) -> anyhow::Result<ExitCode> {
    let list = kubectl.objects(&["get", "nodenetworks.veni.dev"]).await;
    let list = list.context(
        "failed to list the nodes' summaries; the chart installs their definition (crds/), and \
         the role `view` may read them",
    )?;
    let list = serde_json::from_value(list).context("the list is none of NodeNetworks")?;
    print!("{}", shown(&list, table_width()));
    Ok(ExitCode::SUCCESS)
}

fn shown(list: &List, width: Option<usize>) -> String {
    if list.items.is_empty() {
        return "no node has a summary yet: a daemon writes it when it is ready (kubectl \
                --namespace kube-system get daemonset veni)\n"
            .to_owned();
    }
    let mut items: Vec<&NodeNetwork> = list.items.iter().collect();
    items.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    let mut text = render_within(&HEADINGS, items.iter().map(|item| row(item)), width);
    for item in items {
        if let Some(reason) = &item.status.held_back {
            let line = format!("{}: held back: {reason}", item.metadata.name);
            text.push_str(&printable::line(&line));
            text.push('\n');
        }
    }
    text
}

fn row(item: &NodeNetwork) -> Vec<String> {
    let status = &item.status;
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        item.metadata.name.clone(),
        text(&status.version),
        number(status.pods),
        number(status.max_pods),
        number(status.addresses.assigned),
        number(status.addresses.free),
        number(status.addresses.cooling),
        number(status.waiting),
        number(status.interfaces),
        text(&status.state),
        number(status.warnings),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(list: Value) -> String {
        shown(&serde_json::from_value(list).expect("a list"), None)
    }

    #[test]
    fn each_node_has_a_line_in_the_order_of_names_and_says_what_holds_it_back() {
        let list = json!({"items": [
            {"metadata": {"name": "node-b"}, "status": {
                "version": "0.1.0", "pods": 12, "maxPods": 29, "waiting": 3, "interfaces": 2,
                "addresses": {"assigned": 12, "free": 0, "cooling": 1, "total": 13},
                "state": "SubnetExhausted", "heldBack": "subnet-a has no free address", "warnings": 1}},
            {"metadata": {"name": "node-a"}, "status": {
                "version": "0.1.0", "pods": 2, "maxPods": 29, "waiting": 0, "interfaces": 1,
                "addresses": {"assigned": 2, "free": 8, "cooling": 0, "total": 10},
                "state": "AddressesAvailable", "warnings": 0}},
        ]});
        assert_eq!(
            text(list),
            "NODE    VERSION  PODS  AT MOST  ASSIGNED  FREE  COOLING  WAITING  INTERFACES  STATE               WARNINGS\n\
             node-a  0.1.0       2       29         2     8        0        0           1  AddressesAvailable         0\n\
             node-b  0.1.0      12       29        12     0        1        3           2  SubnetExhausted            1\n\
             node-b: held back: subnet-a has no free address\n"
        );
    }

    #[test]
    fn a_daemon_of_another_version_may_tell_less_and_more() {
        let list = json!({"items": [{"metadata": {"name": "n"}, "status": {"later": {"x": 1}}}]});
        let line = text(list).lines().nth(1).map(str::to_owned);
        let line = line.expect("a line of the node");
        assert_eq!(
            line.split_whitespace().filter(|cell| *cell == "-").count(),
            10
        );
    }

    #[test]
    fn a_summary_s_words_stay_in_their_line() {
        let list = json!({"items": [{"metadata": {"name": "n"}, "status": {"heldBack": "a\nb\u{1b}[31m"}}]});
        assert_eq!(text(list).lines().count(), 3);
    }

    #[test]
    fn a_cluster_without_summaries_is_told_where_to_look() {
        assert!(text(json!({"items": []})).contains("get daemonset veni"));
    }
}
