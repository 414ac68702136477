//! Our nftables table: its text, and the one program that loads it.
//!
//! Chains of equal hook and priority run in the order of their registration, so
//! every priority here is one that no other tool uses.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use ipnet::IpNet;

use crate::KernelError;
use crate::plan::{
    ClosedAddress, DYING_GROUP, NodePlan, POD_GROUP, SECONDARY_GROUP, SourceNatPorts, egress_range,
};

/// Family and name of the table.
pub(crate) const TABLE: &str = "inet veni";

/// After connection tracking (-200) and mangle (-150), before any destination NAT
/// (kube-proxy: -110 and -100): the packet still has the address it was sent to.
const BEFORE_DESTINATION_NAT: i32 = -137;
/// After destination NAT: a service's address is one of its pods' now.
const AFTER_DESTINATION_NAT: i32 = -87;
/// Before any firewall's own chains (iptables: 0, firewalld: 10): what these accept is
/// looked at all the same.
const BEFORE_FIREWALLS: i32 = -13;
/// After kube-proxy's source NAT (100).
const SOURCE_NAT: i32 = 111;

/// What the table calls the things of one family.
#[derive(Clone, Copy)]
struct Family {
    word: &'static str,
    /// Type of its addresses.
    kind: &'static str,
    /// The set of ranges that pods keep their address towards.
    set: &'static str,
}

const IPV4: Family = Family {
    word: "ip",
    kind: "ipv4_addr",
    set: "untranslated_v4",
};
const IPV6: Family = Family {
    word: "ip6",
    kind: "ipv6_addr",
    set: "untranslated_v6",
};

/// The table's text, or `None` when the plan needs none. Loading it replaces the
/// table of an earlier plan in one transaction.
pub(crate) fn table(plan: &NodePlan, primary: &str) -> Option<String> {
    let v4 = plan.node_v4.filter(|_| plan.source_nat);
    // IPv6 addresses of a cloud are valid outside of it as they are, unless the
    // plan names ranges beyond which they are not.
    let v6 = plan
        .node_v6
        .filter(|_| plan.source_nat && plan.untranslated.iter().any(is_v6));
    let translates = v4.is_some() || v6.is_some() || plan.egress.is_some();
    if !translates && !plan.node_ports && plan.closed_to_pods.is_empty() {
        return None;
    }
    let mut text = replace();
    text.push_str("table inet veni {\n");
    if v4.is_some() {
        write_set(&mut text, IPV4, plan, |range| !is_v6(range));
    }
    if v6.is_some() {
        write_set(&mut text, IPV6, plan, is_v6);
    }
    if plan.node_ports {
        write_node_ports(&mut text, primary, plan.mark);
    }
    let families = [(IPV4, v4.is_some()), (IPV6, v6.is_some())];
    let translated = families.into_iter().filter(|(_, translated)| *translated);
    write_marks(&mut text, translated.map(|(family, _)| family), plan.mark);
    if let Some(node) = plan.egress {
        write_egress(&mut text, node);
    }
    if !plan.closed_to_pods.is_empty() {
        write_closed(&mut text, &plan.closed_to_pods);
    }
    if translates {
        write_source_nat(&mut text, plan, v4, v6);
    }
    text.push_str("}\n");
    Some(text)
}

/// Removes the table, whether it is there or not.
pub(crate) fn replace() -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

fn is_v6(range: &IpNet) -> bool {
    matches!(range, IpNet::V6(_))
}

fn write_set(text: &mut String, family: Family, plan: &NodePlan, accept: impl Fn(&IpNet) -> bool) {
    let ranges: Vec<IpNet> = plan
        .untranslated
        .iter()
        .copied()
        .filter(|range| accept(range))
        .collect();
    let mut ranges: Vec<String> = IpNet::aggregate(&ranges)
        .iter()
        .map(|range| range.trunc().to_string())
        .collect();
    ranges.sort_unstable();
    let Family { kind, set, .. } = family;
    let _ = writeln!(text, "\tset {set} {{\n\t\ttype {kind}\n\t\tflags interval");
    if !ranges.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", ranges.join(", "));
    }
    text.push_str("\t}\n\n");
}

/// What comes in by the primary interface for the node itself may be a node port,
/// whose pod answers from another interface's address: its connection is marked.
/// So is what comes in by a link of others (a bridge of containers, a tunnel): a pod of a
/// secondary interface would send its answers out by that, and not back.
fn write_node_ports(text: &mut String, primary: &str, mark: u32) {
    let _ = write!(
        text,
        "\tchain node_ports {{\n\
         \t\tcomment \"connections that entered by no secondary interface are not answered by one\"\n\
         \t\ttype filter hook prerouting priority {BEFORE_DESTINATION_NAT}; policy accept;\n\
         \t\tiifname \"{primary}\" ct state new fib daddr . iif type local \
         ct mark set ct mark | {mark:#x}\n\
         \t\tiifname != {{ \"lo\", \"{primary}\" }} \
         iifgroup != {{ {DYING_GROUP:#x}, {POD_GROUP:#x}, {SECONDARY_GROUP:#x} }} \
         ct state new ct mark set ct mark | {mark:#x}\n\
         \t}}\n\n"
    );
}

/// Marks new connections of pods that leave the network, and gives every packet
/// of pods the mark of its connection.
fn write_marks(text: &mut String, translated: impl Iterator<Item = Family>, mark: u32) {
    let _ = write!(
        text,
        "\tchain marks {{\n\
         \t\tcomment \"traffic of pods that must leave by the primary interface\"\n\
         \t\ttype filter hook prerouting priority {AFTER_DESTINATION_NAT}; policy accept;\n\
         \t\tiifgroup != {POD_GROUP:#x} return\n"
    );
    for Family { word, set, .. } in translated {
        let _ = writeln!(
            text,
            "\t\tct state new ct direction original {word} daddr != @{set} \
             fib daddr type unicast ct mark set ct mark | {mark:#x}"
        );
    }
    let _ = write!(
        text,
        "\t\tct mark & {mark:#x} == {mark:#x} \
         meta mark set meta mark | {mark:#x}\n\t}}\n"
    );
}

/// Translates what was marked because it leaves the network.
fn write_source_nat(
    text: &mut String,
    plan: &NodePlan,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
) {
    let mark = plan.mark;
    let _ = write!(
        text,
        "\n\tchain source_nat {{\n\
         \t\tcomment \"new connections of pods that leave the network\"\n\
         \t\ttype nat hook postrouting priority {SOURCE_NAT}; policy accept;\n"
    );
    let ports = flag(plan.source_nat_ports);
    if let Some(node) = plan.egress {
        let (family, range) = (family(node), egress_range(node));
        let _ = writeln!(
            text,
            "\t\t{family} saddr {range} snat {family} to {node}{ports}"
        );
    }
    let _ = write!(
        text,
        "\t\toifgroup {POD_GROUP:#x} return\n\
         \t\tmeta mark & {mark:#x} != {mark:#x} return\n\
         \t\tct mark & {mark:#x} != {mark:#x} return\n"
    );
    if let Some(node) = v4 {
        let _ = writeln!(text, "\t\tmeta nfproto ipv4 snat ip to {node}{ports}");
    }
    if let Some(node) = v6 {
        let _ = writeln!(text, "\t\tmeta nfproto ipv6 snat ip6 to {node}{ports}");
    }
    text.push_str("\t}\n");
}

/// Nobody opens a flow towards a node-local address, from outside of the node or from
/// another pod of it: no policy and no security group knows these addresses.
fn write_egress(text: &mut String, node: IpAddr) {
    let (family, range) = (family(node), egress_range(node));
    let _ = write!(
        text,
        "\n\tchain egress {{\n\
         \t\tcomment \"node-local addresses of pods open flows and are opened none to\"\n\
         \t\ttype filter hook forward priority {BEFORE_FIREWALLS}; policy accept;\n\
         \t\t{family} daddr {range} ct state != {{ established, related }} \
         reject with icmpx admin-prohibited\n\
         \t}}\n"
    );
}

/// Pods open no flows to these addresses, also by a service that leads there. Answers of pods
/// pass: probes may come from such an address. So that no pod can make its own packets answers,
/// none may send as if it were that address.
fn write_closed(text: &mut String, closed: &[ClosedAddress]) {
    let _ = write!(
        text,
        "\n\tchain closed_to_pods {{\n\
         \t\tcomment \"pods open no flows to the cloud's services for the node\"\n\
         \t\ttype filter hook forward priority {BEFORE_FIREWALLS}; policy accept;\n\
         \t\tiifgroup != {POD_GROUP:#x} return\n"
    );
    for ClosedAddress { address, .. } in closed {
        let _ = writeln!(text, "\t\t{} saddr {address} drop", family(*address));
    }
    text.push_str("\t\tct direction reply return\n");
    for ClosedAddress { address, but_port } in closed {
        let family = family(*address);
        if let Some(port) = but_port {
            let _ = writeln!(
                text,
                "\t\t{family} daddr {address} meta l4proto {{ tcp, udp }} th dport {port} return"
            );
        }
        let _ = writeln!(
            text,
            "\t\t{family} daddr {address} reject with icmpx admin-prohibited"
        );
    }
    text.push_str("\t}\n");
}

/// How nft names the family of an address.
fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => IPV4.word,
        IpAddr::V6(_) => IPV6.word,
    }
}

/// How nft names a way of choosing ports.
fn flag(ports: SourceNatPorts) -> &'static str {
    match ports {
        SourceNatPorts::FullyRandom => " fully-random",
        SourceNatPorts::Random => " random",
        SourceNatPorts::Keep => "",
    }
}

/// Loads a text in one transaction.
pub(crate) fn load(text: &str) -> Result<(), KernelError> {
    run(&["-f", "-"], text).map(drop)
}

/// A table as the kernel has it, without the elements of its sets where they come and go;
/// `None` when there is none.
pub(crate) fn listed(table: &str) -> Option<String> {
    let mut arguments = vec!["--stateless"];
    if table != TABLE {
        arguments.push("--terse");
    }
    arguments.extend(["list", "table"]);
    arguments.extend(table.split(' '));
    run(&arguments, "").ok()
}

/// The chains of everybody, as `nft` lists them; empty where it cannot.
pub(crate) fn chains() -> String {
    run(&["list", "chains"], "").unwrap_or_default()
}

/// A table of somebody's, by family and name, as `nft` lists it; empty where it cannot.
pub(crate) fn table_of_others(family_and_name: &str) -> String {
    let mut arguments = vec!["list", "table"];
    arguments.extend(family_and_name.split_whitespace());
    run(&arguments, "").unwrap_or_default()
}

/// The chain that the reference plugin portmap puts its rules into, and never removes.
const PORTMAP: &str = "CNI-HOSTPORT-DNAT";

/// How many pods' host ports the reference plugin portmap has in iptables.
pub(crate) fn of_portmap(chains: &str) -> usize {
    if !chains.contains(PORTMAP) {
        return 0;
    }
    let rules = |family| run(&["list", "chain", family, "nat", PORTMAP], "").unwrap_or_default();
    let of_pods = |rules: String| {
        rules
            .lines()
            .filter(|line| line.contains("CNI-DN-"))
            .count()
    };
    of_pods(rules("ip")) + of_pods(rules("ip6"))
}

fn run(arguments: &[&str], input: &str) -> Result<String, KernelError> {
    let failed = |reason: String| KernelError::Tool {
        operation: format!("run nft {}", arguments.join(" ")),
        reason,
    };
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(MISSING.to_owned()),
            _ => failed(error.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // An nft that has failed already does not read; its own words count.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is said when the program is not there.
const MISSING: &str = "there is no program nft: install nftables";

/// Whether the failure is that the program is missing.
pub(crate) fn is_missing(error: &KernelError) -> bool {
    matches!(error, KernelError::Tool { reason, .. } if reason == MISSING)
}

#[cfg(test)]
mod tests;
