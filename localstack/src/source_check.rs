//! The cloud's source check, as nftables text. The VPC drops a packet whose source
//! address or MAC is not assigned to the interface that it came from, and counts it by
//! interface. The counters of other drops are here too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::LabError;
use crate::internet::PORT as INTERNET;
use crate::security_groups;
use crate::wiring::WiredInterface;

/// The VPC's only table.
pub(crate) const TABLE: &str = "inet vpc";

/// How many packets of an interface the VPC has dropped since it was plugged in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// From it, with a source that is not assigned to it.
    pub forged: u64,
    /// From it to the internet, with a source that is not an interface's own
    /// address: an internet gateway translates only those.
    pub untranslatable: u64,
    /// To it or from it, and allowed by no rule of its security groups.
    pub refused: u64,
}

/// The table without any port. It drops all packets from a port that it does not know.
pub(crate) fn base() -> String {
    // The check is at priority `raw`, before connection tracking, so that a forged packet
    // opens no connection.
    format!(
        "table {TABLE} {{
  set own_v4 {{ type ipv4_addr; }}
  map from {{ type ifname : verdict; }}
  map to_internet {{ type ifname : verdict; }}
  map out_of {{ type ifname : verdict; }}
  map into {{ type ifname : verdict; }}
  chain from_ports {{
    type filter hook prerouting priority raw; policy accept;
    iifname {{ \"lo\", \"{INTERNET}\" }} accept
    iifname vmap @from
    drop
  }}
  chain between {{
    type filter hook forward priority filter; policy accept;
    oifname \"{INTERNET}\" ip saddr != @own_v4 iifname vmap @to_internet
    ct state established,related accept
    iifname vmap @out_of
    oifname vmap @into
  }}
}}
"
    )
}

/// Text that makes the chains of a port and opens it.
pub(crate) fn open(interface: &WiredInterface) -> String {
    let (port, mac) = (interface.port(), interface.mac);
    let mut text = format!(
        "add counter {TABLE} {port}_forged
add counter {TABLE} {port}_untranslatable
add counter {TABLE} {port}_refused
add set {TABLE} {port}_v4 {{ type ipv4_addr; flags interval; }}
add set {TABLE} {port}_v6 {{ type ipv6_addr; flags interval; }}
add chain {TABLE} {port}_from
add rule {TABLE} {port}_from ether saddr != {mac} counter name \"{port}_forged\" drop
add rule {TABLE} {port}_from ip saddr @{port}_v4 accept
add rule {TABLE} {port}_from ip6 saddr @{port}_v6 accept
add rule {TABLE} {port}_from ip6 saddr {{ ::, fe80::/10 }} meta l4proto ipv6-icmp accept
add rule {TABLE} {port}_from counter name \"{port}_forged\" drop
add chain {TABLE} {port}_internet
add rule {TABLE} {port}_internet counter name \"{port}_untranslatable\" drop
"
    );
    text.push_str(&elements("add", interface, interface.sources.iter()));
    if let Some(own) = interface.own(true) {
        let _ = writeln!(text, "add element {TABLE} own_v4 {{ {own} }}");
    }
    text.push_str(&security_groups::open(interface));
    // The maps come last, because their elements name the chains above.
    let _ = write!(
        text,
        "add element {TABLE} to_internet {{ \"{port}\" : jump {port}_internet }}
add element {TABLE} out_of {{ \"{port}\" : jump {port}_egress }}
add element {TABLE} into {{ \"{port}\" : jump {port}_ingress }}
add element {TABLE} from {{ \"{port}\" : jump {port}_from }}
"
    );
    text
}

/// Text that closes a port and removes what [`open`] has made.
pub(crate) fn close(interface: &WiredInterface) -> String {
    let port = interface.port();
    // The reverse of `open`: nftables refuses to delete a chain that a map still names.
    let mut text = format!(
        "delete element {TABLE} from {{ \"{port}\" }}
delete element {TABLE} out_of {{ \"{port}\" }}
delete element {TABLE} into {{ \"{port}\" }}
delete element {TABLE} to_internet {{ \"{port}\" }}
"
    );
    if let Some(own) = interface.own(true) {
        let _ = writeln!(text, "delete element {TABLE} own_v4 {{ {own} }}");
    }
    for chain in ["from", "internet", "ingress", "egress"] {
        let _ = writeln!(text, "flush chain {TABLE} {port}_{chain}");
        let _ = writeln!(text, "delete chain {TABLE} {port}_{chain}");
    }
    for family in ["v4", "v6"] {
        let _ = writeln!(text, "delete set {TABLE} {port}_{family}");
    }
    for counter in ["forged", "untranslatable", "refused"] {
        let _ = writeln!(text, "delete counter {TABLE} {port}_{counter}");
    }
    text
}

/// Text that changes which sources a port accepts.
pub(crate) fn update(interface: &WiredInterface, lost: &[IpNet], won: &[IpNet]) -> String {
    let mut text = elements("delete", interface, lost.iter());
    text.push_str(&elements("add", interface, won.iter()));
    text
}

fn elements<'a>(
    verb: &str,
    interface: &WiredInterface,
    sources: impl Iterator<Item = &'a IpNet>,
) -> String {
    let (ipv4, ipv6): (Vec<&IpNet>, Vec<&IpNet>) =
        sources.partition(|source| source.addr().is_ipv4());
    let mut text = String::new();
    for (family, sources) in [("v4", ipv4), ("v6", ipv6)] {
        if !sources.is_empty() {
            let list: Vec<String> = sources.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "{verb} element {TABLE} {}_{family} {{ {} }}",
                interface.port(),
                list.join(", ")
            );
        }
    }
    text
}

/// Reads the counters out of `nft -j list counters`, by port.
pub(crate) fn read_counters(json: &str) -> Result<BTreeMap<String, Dropped>, LabError> {
    let unreadable = |reason: String| LabError::Tool {
        operation: "read the VPC's counters".to_owned(),
        reason,
    };
    let all: Value = serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
    let objects = all["nftables"]
        .as_array()
        .ok_or_else(|| unreadable(format!("nft printed {json}")))?;
    let mut counters: BTreeMap<String, Dropped> = BTreeMap::new();
    for counter in objects.iter().filter_map(|object| object.get("counter")) {
        let name = counter["name"].as_str().unwrap_or_default();
        let Some((port, what)) = name.split_once('_') else {
            continue;
        };
        let packets = counter["packets"].as_u64().unwrap_or_default();
        let dropped = counters.entry(port.to_owned()).or_default();
        match what {
            "forged" => dropped.forged = packets,
            "untranslatable" => dropped.untranslatable = packets,
            "refused" => dropped.refused = packets,
            _ => {}
        }
    }
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_port_and_cause() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"name": "n1e0_forged", "packets": 3, "bytes": 84}},
            {"counter": {"name": "n1e0_refused", "packets": 1, "bytes": 84}},
            {"counter": {"name": "n2e1_untranslatable", "packets": 2, "bytes": 84}}]}"#;
        let counters = read_counters(json).expect("readable");
        assert_eq!(counters["n1e0"].forged, 3);
        assert_eq!(counters["n1e0"].refused, 1);
        assert_eq!(counters["n2e1"].untranslatable, 2);
    }

    #[test]
    fn output_that_is_not_nft_s_is_an_error() {
        assert!(read_counters("{}").is_err());
        assert!(read_counters("").is_err());
    }
}
