//! Checks what is timed: addresses, routes, rules, and packets that are answered. Uses
//! `ip -j` and sockets and none of the project's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::command::{ip_json, ip_json_in};
use crate::contender::{Contender, Kind};
use crate::latency::{Place, RoundTrips};
use crate::node::{GATEWAY, Node};
use crate::starter::Outcome;

/// Pods of one batch that are entered and asked to answer.
const SAMPLE: usize = 8;

/// Checks that ADDs did what their results say. `present` is the number of the contender's
/// pods now.
pub(crate) fn added(
    contender: &Contender,
    node: &Node,
    pods: &[usize],
    outcomes: &[Outcome],
    present: usize,
) -> anyhow::Result<Vec<Ipv4Addr>> {
    let addresses = outcomes
        .iter()
        .map(|outcome| address_of(&outcome.answer))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let different: BTreeSet<&Ipv4Addr> = addresses.iter().collect();
    ensure!(
        different.len() == addresses.len(),
        "two pods have one address"
    );
    let routes = routes(contender.kind)?;
    ensure!(
        routes.len() == present,
        "{} has {} routes for {present} pods",
        contender.kind.name(),
        routes.len()
    );
    for address in &addresses {
        ensure!(
            routes.contains_key(&address.to_string()),
            "{} says that a pod has {address}, but there is no route to it",
            contender.kind.name()
        );
    }
    rule_stands(contender.kind)?;
    let step = pods.len().div_ceil(SAMPLE).max(1);
    for (pod, address) in pods.iter().zip(&addresses).step_by(step) {
        let namespace = contender.namespace(*pod);
        pod_has(&namespace, *address)
            .and_then(|()| answers(contender.kind, node, &namespace, *address))
            .with_context(|| format!("pod {pod} of {}", contender.kind.name()))?;
    }
    Ok(addresses)
}

/// Checks that nothing is left of some pods, and that `left` others are there.
pub(crate) fn gone(contender: &Contender, pods: &[usize], left: usize) -> anyhow::Result<()> {
    let kind = contender.kind;
    let routes = routes(kind)?.len();
    ensure!(
        routes == left,
        "{} has {routes} routes for {left} pods",
        kind.name()
    );
    let links = links(kind)?;
    ensure!(
        links == left,
        "{} has {links} links for {left} pods",
        kind.name()
    );
    let step = pods.len().div_ceil(SAMPLE).max(1);
    for pod in pods.iter().step_by(step) {
        let shown = ip_json_in(&contender.namespace(*pod), "link show type veth")?;
        ensure!(
            shown.is_empty(),
            "pod {pod} of {} still has its link",
            kind.name()
        );
    }
    Ok(())
}

/// Checks that packets from every used prefix of a secondary interface leave by it.
pub(crate) fn prefixes_have_rules(pool: &veni_api::v1::PoolResponse) -> anyhow::Result<usize> {
    let rules = ip_json("rule show")?;
    let secondary = pool.interfaces.iter().filter(|i| !i.primary);
    let used = secondary
        .flat_map(|i| &i.prefixes)
        .filter(|p| p.assigned > 0);
    let mut count = 0;
    for prefix in used {
        let network = prefix.prefix.split('/').next().unwrap_or_default();
        let stands = rules
            .iter()
            .any(|rule| rule["priority"] == 1536 && rule["src"] == network && rule["srclen"] == 28);
        ensure!(
            stands,
            "no rule makes packets from {} leave by its interface",
            prefix.prefix
        );
        count += 1;
    }
    Ok(count)
}

fn address_of(answer: &str) -> anyhow::Result<Ipv4Addr> {
    let result: Value = serde_json::from_str(answer)
        .with_context(|| format!("an ADD answered `{}`", answer.trim()))?;
    let text = result["ips"][0]["address"].as_str().unwrap_or_default();
    let address = text.split('/').next().unwrap_or_default();
    address
        .parse()
        .with_context(|| format!("an ADD answered no address: {}", answer.trim()))
}

/// The node's routes to a contender's pods, with their links.
fn routes(kind: Kind) -> anyhow::Result<BTreeMap<String, String>> {
    // The kernel does not know a table without routes, and `ip` fails.
    let shown = ip_json(&format!("route show table {}", kind.table())).unwrap_or_default();
    let text = |route: &Value, field: &str| route[field].as_str().unwrap_or_default().to_owned();
    Ok(shown
        .iter()
        .map(|route| (text(route, "dst"), text(route, "dev")))
        .filter(|(to, _)| kind != Kind::Reference || to.starts_with("10.64."))
        .collect())
}

fn links(kind: Kind) -> anyhow::Result<usize> {
    let prefix = match kind {
        Kind::Veni => "eni",
        Kind::Reference => "veth",
        Kind::Floor => "flo",
    };
    let shown = ip_json("link show type veth")?;
    let named = |link: &&Value| {
        link["ifname"]
            .as_str()
            .unwrap_or_default()
            .starts_with(prefix)
    };
    Ok(shown.iter().filter(named).count())
}

fn rule_stands(kind: Kind) -> anyhow::Result<()> {
    let stands = kind == Kind::Reference
        || ip_json("rule show")?
            .iter()
            .any(|rule| rule["priority"] == 512 && rule["table"] == kind.table());
    ensure!(stands, "no rule looks the pods of {} up", kind.name());
    Ok(())
}

fn pod_has(namespace: &Path, address: Ipv4Addr) -> anyhow::Result<()> {
    let links = ip_json_in(namespace, "address show dev eth0")?;
    let link = links.first().context("there is no eth0")?;
    let has = link["addr_info"]
        .as_array()
        .is_some_and(|list| list.iter().any(|info| info["local"] == address.to_string()));
    ensure!(has, "eth0 does not have {address}: {link}");
    ensure!(link["operstate"] == "UP", "eth0 is not up: {link}");
    let routes = ip_json_in(namespace, "route show default")?;
    ensure!(
        routes.first().is_some_and(|route| route["dev"] == "eth0"),
        "there is no default route by eth0"
    );
    Ok(())
}

/// Checks that the pod answers a packet. It comes from the cloud network for Veni's pods,
/// and from the node for the peers', which the network does not know.
fn answers(kind: Kind, node: &Node, namespace: &Path, address: Ipv4Addr) -> anyhow::Result<()> {
    let pod = Place::new(Some(namespace), address);
    let other = match kind {
        Kind::Veni => Place::new(Some(&node.network), GATEWAY.parse()?),
        Kind::Reference | Kind::Floor => Place::new(None, Ipv4Addr::new(10, 0, 0, 4)),
    };
    RoundTrips::try_new(&other, &pod)?.go(1).map(drop)
}
