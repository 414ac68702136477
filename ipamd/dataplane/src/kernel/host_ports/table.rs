//! The text of the table for ports of the node.
//!
//! It is loaded into what is there: rules are replaced, maps and their elements stay.
//! Chains of equal hook and priority run in the order of their registration, so every
//! priority here is one that no other tool uses, our own other table included.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Family, IPV4, IPV6};
use crate::plan::{NodeAddress, NodePlan, POD_GROUP};

/// Name of the table.
pub(crate) const NAME: &str = "veni_host_ports";
/// Family and name of the table.
pub(crate) const TABLE: &str = "inet veni_host_ports";

/// Before any destination NAT, which the kernel does at -100 whatever the priority of the
/// chain that asks for it: a packet still has the address that it was sent to.
const BEFORE_DESTINATION_NAT: i32 = -143;
/// Of destination NAT: before kube-proxy's chains (-110 and -100).
const DESTINATION_NAT: i32 = -127;
/// After destination NAT: the packet has its pod's address.
const AFTER_DESTINATION_NAT: i32 = -89;
/// Before kube-proxy's source NAT (100).
const SOURCE_NAT: i32 = 93;

/// Links whose addresses are those of services: kube-proxy puts every service's address on
/// the first where it uses IPVS, the cluster's DNS cache its own on the second.
const LINKS_OF_SERVICES: [&str; 2] = ["kube-ipvs0", "nodelocaldns"];

/// Whether packets of pods get the mark of their connection by our other table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarksOfPods {
    /// That table gives it to them.
    Restored,
    /// There is no such table.
    NotRestored,
}

/// The table's text, with the node's addresses as they are now.
pub(crate) fn text(
    plan: &NodePlan,
    primary: &str,
    addresses: &[NodeAddress],
    marks: MarksOfPods,
) -> String {
    // What is not there yet cannot be flushed.
    let mut text = format!("table {TABLE}\nflush table {TABLE}\ntable {TABLE} {{\n");
    for family in [IPV4, IPV6] {
        write_maps(&mut text, family);
    }
    write_loopback(&mut text);
    let own = own(addresses);
    write_destination_nat(&mut text, &own);
    write_marks(&mut text, primary, plan.mark, marks);
    write_source_nat(&mut text, plan.node_v4, plan.node_v6);
    text.push_str("}\n");
    text
}

/// Removes what the kernel does not let a text change: maps and chains of the same names
/// that are declared otherwise.
pub(crate) fn anew(text: &str) -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n{text}")
}

/// The node's own addresses, in order, that packets are sent to from other links than
/// their own: by pods, and by the node itself.
pub(crate) fn own(addresses: &[NodeAddress]) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> = addresses
        .iter()
        .filter(|on| !LINKS_OF_SERVICES.contains(&on.link.as_str()))
        .map(|on| on.address)
        .filter(|address| match address {
            IpAddr::V4(address) => !address.is_loopback(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        })
        .collect();
    own.sort_unstable();
    own.dedup();
    own
}

fn write_maps(text: &mut String, family: Family) {
    let Family {
        kind,
        all,
        one,
        pods,
        ..
    } = family;
    let _ = write!(
        text,
        "\tmap {all} {{\n\
         \t\ttype inet_proto . inet_service : {kind} . inet_service\n\
         \t}}\n\n\
         \tmap {one} {{\n\
         \t\ttype {kind} . inet_proto . inet_service : {kind} . inet_service\n\
         \t}}\n\n\
         \tset {pods} {{\n\
         \t\ttype {kind} . {kind}\n\
         \t}}\n\n"
    );
}

/// A link to a pod that is reached by the node's loopback address lets packets with such
/// addresses pass (`route_localnet`), the pod's own as well: from it none is sound
/// (CVE-2020-8558). The answers to what was translated have the node's address.
fn write_loopback(text: &mut String) {
    let _ = write!(
        text,
        "\tchain loopback {{\n\
         \t\tcomment \"pods do not reach what listens on the node's loopback addresses\"\n\
         \t\ttype filter hook prerouting priority {BEFORE_DESTINATION_NAT}; policy accept;\n\
         \t\tiifgroup {POD_GROUP:#x} ip daddr 127.0.0.0/8 drop\n\
         \t\tiifgroup {POD_GROUP:#x} ip saddr 127.0.0.0/8 drop\n\
         \t}}\n\n"
    );
}

/// An address counts as the node's where a packet enters by the very link that has it, at
/// once; else where it was there when the node was compared last. Asking whether it is
/// local at all would do for both, but all addresses of services are, where kube-proxy
/// uses IPVS.
fn write_destination_nat(text: &mut String, own: &[IpAddr]) {
    let _ = write!(
        text,
        "\tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority {DESTINATION_NAT}; policy accept;\n\
         \t\tiifgroup != {POD_GROUP:#x} fib daddr . iif type local goto host_ports\n"
    );
    write_own(text, own);
    let _ = write!(
        text,
        "\t}}\n\n\tchain output {{\n\
         \t\ttype nat hook output priority {DESTINATION_NAT}; policy accept;\n\
         \t\tip daddr 127.0.0.0/8 goto host_ports\n"
    );
    write_own(text, own);
    text.push_str("\t}\n\n\tchain host_ports {\n");
    for family in [IPV4, IPV6] {
        let Family { word, one, all, .. } = family;
        let _ = write!(
            text,
            "\t\tdnat {word} to {word} daddr . meta l4proto . th dport map @{one}\n\
             \t\tmeta nfproto ipv{} dnat {word} to meta l4proto . th dport map @{all}\n",
            if family == IPV4 { 4 } else { 6 }
        );
    }
    text.push_str("\t}\n\n");
}

fn write_own(text: &mut String, own: &[IpAddr]) {
    for family in [IPV4, IPV6] {
        let of_family = own.iter().filter(|address| Family::of(**address) == family);
        let words: Vec<String> = of_family.map(IpAddr::to_string).collect();
        if !words.is_empty() {
            let word = family.word;
            let _ = writeln!(
                text,
                "\t\t{word} daddr {{ {} }} goto host_ports",
                words.join(", ")
            );
        }
    }
}

/// A connection that entered by the primary interface answers by it, whatever interface
/// has its pod's address: as with node ports, also where these are not wanted.
fn write_marks(text: &mut String, primary: &str, mark: u32, marks: MarksOfPods) {
    let _ = write!(
        text,
        "\tchain marks {{\n\
         \t\tcomment \"connections that entered by the primary interface answer by it\"\n\
         \t\ttype filter hook prerouting priority {AFTER_DESTINATION_NAT}; policy accept;\n"
    );
    for Family { word, pods, .. } in [IPV4, IPV6] {
        let _ = writeln!(
            text,
            "\t\tiifname \"{primary}\" ct state new ct status dnat \
             {word} daddr . {word} daddr @{pods} ct mark set ct mark | {mark:#x}"
        );
    }
    if marks == MarksOfPods::NotRestored {
        let _ = writeln!(
            text,
            "\t\tiifgroup {POD_GROUP:#x} ct mark & {mark:#x} == {mark:#x} \
             meta mark set meta mark | {mark:#x}"
        );
    }
    text.push_str("\t}\n\n");
}

/// A source is kept but for two, that a pod could not answer: its own address, and the
/// node's loopback address.
fn write_source_nat(text: &mut String, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) {
    let _ = write!(
        text,
        "\tchain source_nat {{\n\
         \t\tcomment \"pods that reach themselves, and the node's loopback address\"\n\
         \t\ttype nat hook postrouting priority {SOURCE_NAT}; policy accept;\n\
         \t\toifgroup != {POD_GROUP:#x} return\n"
    );
    if let Some(node) = v4 {
        let _ = writeln!(text, "\t\tip saddr 127.0.0.0/8 snat ip to {node}");
    }
    let nodes = [v4.map(IpAddr::V4), v6.map(IpAddr::V6)];
    for node in nodes.into_iter().flatten() {
        let Family { word, pods, .. } = Family::of(node);
        let _ = writeln!(
            text,
            "\t\tct status dnat {word} saddr . {word} daddr @{pods} snat {word} to {node}"
        );
    }
    text.push_str("\t}\n");
}
