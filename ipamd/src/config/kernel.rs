//! What the node's kernel is told beyond the pods' own addresses and routes: marks,
//! routes of external services, settings, flows of the family that pods lack.

use ipnet::IpNet;
use veni_dataplane::plan::PRIMARY_MARK;
use veni_provider::Family;

use super::NetworkSettings;
use super::reader::Reader;

/// Bits of packets' marks that kube-proxy uses: to translate, and to drop.
const KUBE_PROXY_MARKS: u32 = 0x4000 | 0x8000;

/// What the node's kernel is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSettings {
    /// Mark of traffic that must leave by the primary interface.
    pub mark: u32,
    /// Ranges to which pods' packets follow the node's own routes.
    pub external_services: Vec<IpNet>,
    /// Whether `tcp_early_demux` is switched off on the node.
    pub no_tcp_early_demux: bool,
    /// Whether IPv6 is switched off in every pod.
    pub no_pod_ipv6: bool,
    /// Family that pods have no address of and open flows of all the same, by a
    /// node-local address.
    pub egress: Option<Family>,
}

pub(super) fn read_kernel(reader: &mut Reader<'_>, network: &NetworkSettings) -> KernelSettings {
    let egress = read_egress(reader, network);
    KernelSettings {
        mark: read_mark(reader),
        external_services: read_external_services(reader),
        no_tcp_early_demux: reader.boolean("DISABLE_TCP_EARLY_DEMUX", false),
        no_pod_ipv6: read_no_pod_ipv6(reader, network, egress),
        egress,
    }
}

fn read_no_pod_ipv6(
    reader: &mut Reader<'_>,
    network: &NetworkSettings,
    egress: Option<Family>,
) -> bool {
    let name = "DISABLE_POD_V6";
    let off = reader.boolean(name, false);
    if off && network.ipv6 {
        let reason =
            "pods cannot have IPv6 addresses without IPv6: set this or ENABLE_IPv6 to false";
        reader.problem(name, "true", reason);
    } else if off && egress == Some(Family::V6) {
        let reason =
            "pods cannot open IPv6 flows without IPv6: set this or ENABLE_V6_EGRESS to false";
        reader.problem(name, "true", reason);
    }
    off
}

fn read_egress(reader: &mut Reader<'_>, network: &NetworkSettings) -> Option<Family> {
    let v4 = reader.boolean("ENABLE_V4_EGRESS", true);
    let v6 = reader.boolean("ENABLE_V6_EGRESS", false);
    match (network.ipv4, network.ipv6) {
        (false, true) if v4 => Some(Family::V4),
        (true, false) if v6 => Some(Family::V6),
        _ => None,
    }
}

fn read_mark(reader: &mut Reader<'_>) -> u32 {
    let name = "AWS_VPC_K8S_CNI_CONNMARK";
    let Some(text) = reader.text(name) else {
        return PRIMARY_MARK;
    };
    parse_mark(&text).unwrap_or_else(|reason| {
        reader.problem(name, &text, reason);
        PRIMARY_MARK
    })
}

fn parse_mark(text: &str) -> Result<u32, &'static str> {
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => lower.parse(),
    };
    match number {
        Err(_) | Ok(0) => Err("must be from 1 to 4294967295 (0xffffffff), decimal or with 0x"),
        Ok(mark) if mark & KUBE_PROXY_MARKS != 0 => Err(
            "has bits that kube-proxy marks packets with (0x4000 and 0x8000): choose others, \
             such as 0x80",
        ),
        Ok(mark) => Ok(mark),
    }
}

fn read_external_services(reader: &mut Reader<'_>) -> Vec<IpNet> {
    let name = "AWS_EXTERNAL_SERVICE_CIDRS";
    let ranges = reader.ranges(name);
    for everything in ranges.iter().filter(|range| range.prefix_len() == 0) {
        reader.problem(
            name,
            &everything.to_string(),
            "would lead all traffic of pods out of the primary interface, which does not hold \
             their addresses: name the services' own ranges",
        );
    }
    ranges
}
