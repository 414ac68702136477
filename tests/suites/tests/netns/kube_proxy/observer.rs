//! A table of somebody else on a node: it sets marks of its own, and counts which link
//! packets leave by and which of its marks were changed on the way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use veni_testbed::kernel;

use super::services::NODE_PORTS;

/// Marks that are neither Veni's (0x80) nor a request for kube-proxy's source NAT
/// (0x4000): another program's, and what iptables took for "drop" (0x8000).
const PACKET_MARK: u32 = 0x1000_8000;
const CONNECTION_MARK: u32 = 0x2000_4000;

/// Loads the table, with its counters at zero.
pub(super) async fn load(node: &Path, internet: IpAddr) {
    let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
    let chains = ["prerouting", "output"].map(|hook| {
        format!(
            "chain {hook} {{ type filter hook {hook} priority -149; policy accept; \
             meta mark set meta mark or {PACKET_MARK}; \
             ct state new ct mark set ct mark or {CONNECTION_MARK}; }}\n"
        )
    });
    let mut counters = vec![
        ("forwarded", String::new()),
        (
            "packet_mark_lost",
            format!("meta mark and {PACKET_MARK} != {PACKET_MARK}"),
        ),
        (
            "connection_mark_lost",
            format!("ct mark and {CONNECTION_MARK} != {CONNECTION_MARK}"),
        ),
    ];
    let answers = format!(
        "ct direction reply meta l4proto {{ tcp, udp }} ct original proto-dst {first}-{last}"
    );
    counters.push(("answers_by_primary", format!("oifname eth0 {answers}")));
    counters.push(("answers_by_other", format!("oifname eth1 {answers}")));
    let family = if internet.is_ipv4() { "ip" } else { "ip6" };
    let outside = format!("{family} daddr {internet}");
    counters.push(("outside_by_primary", format!("oifname eth0 {outside}")));
    counters.push(("outside_by_other", format!("oifname eth1 {outside}")));
    let declared = counters
        .iter()
        .map(|(name, _)| format!("counter {name} {{ }}; "));
    let declared: String = declared.collect();
    let rules = counters
        .iter()
        .map(|(name, of)| format!("{of} counter name {name}; "));
    let rules: String = rules.collect();
    let text = format!(
        "add table inet observer; delete table inet observer; table inet observer {{ {declared} \
         {chains} chain postrouting {{ type filter hook postrouting priority 400; policy accept; \
         {rules} }}; }}",
        chains = chains.concat()
    );
    let loaded = kernel::run(node, "nft", &[&text]).await;
    loaded.unwrap_or_else(|error| panic!("{error}"));
}

/// Packets by counter.
pub(super) async fn counters(node: &Path) -> BTreeMap<String, u64> {
    let arguments = ["-j", "list", "counters", "table", "inet", "observer"];
    let text = kernel::run(node, "nft", &arguments).await;
    let all: Value = serde_json::from_str(&text.expect("the table is there")).expect("JSON");
    let objects = all["nftables"].as_array().cloned().unwrap_or_default();
    let counters = objects.iter().filter_map(|object| object.get("counter"));
    counters
        .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["packets"].as_u64()?)))
        .collect()
}

/// Whether a counter is of packets that there must be none of.
pub(super) fn is_of_strays(counter: &str) -> bool {
    counter.ends_with("_lost") || counter.ends_with("_by_other")
}

/// Fails unless all packets left as they should.
pub(super) async fn is_content(node: &Path, when: &str) {
    let counters = counters(node).await;
    for (name, packets) in &counters {
        let none = *packets == 0;
        assert_eq!(is_of_strays(name), none, "{when}: {name} in {counters:?}");
    }
    assert_eq!(counters.len(), 7, "{counters:?}");
}
