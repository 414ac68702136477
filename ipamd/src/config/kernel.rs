//! What the node's kernel is told beyond the pods' own addresses and routes: marks,
//! routes of external services, settings, flows of the family that pods lack.

use ipnet::IpNet;
use veni_dataplane::plan::PRIMARY_MARK;
use veni_provider::Family;

use super::groups::{KernelSettings, NetworkSettings};
use super::parse::{Parsed, ranges_that, wrong};
use super::reader::Reader;
use super::setting::{Setting, read_by, truth};
use super::variable::DefaultValue;

pub(super) static DISABLE_POD_V6: Setting<bool> = Setting::new(
    "DISABLE_POD_V6",
    truth(false),
    "Switch IPv6 off inside every pod; refused together with ENABLE_IPv6 and ENABLE_V6_EGRESS.",
);

pub(super) static ENABLE_V4_EGRESS: Setting<bool> = Setting::new(
    "ENABLE_V4_EGRESS",
    truth(true),
    "Where pods have IPv6 alone: each also gets a node-local IPv4 address, by which it opens \
     flows that leave with the node's own.",
);

pub(super) static ENABLE_V6_EGRESS: Setting<bool> = Setting::new(
    "ENABLE_V6_EGRESS",
    truth(false),
    "Where pods have IPv4 alone: each also gets a node-local IPv6 address, by which it opens \
     flows that leave with the node's own.",
);

pub(super) static AWS_EXTERNAL_SERVICE_CIDRS: Setting<Vec<IpNet>> = Setting::new(
    "AWS_EXTERNAL_SERVICE_CIDRS",
    read_by(external_services, DefaultValue::Text("")),
    "Ranges, separated by commas, to which pods' packets follow the node's own routes and leave \
     by its primary interface.",
);

pub(super) static AWS_VPC_K8S_CNI_CONNMARK: Setting<u32> = Setting::new(
    "AWS_VPC_K8S_CNI_CONNMARK",
    read_by(mark, DefaultValue::Bits(PRIMARY_MARK)),
    "Mark, and its mask, of connections that must leave by the primary interface: decimal or \
     0x…, without the bits of kube-proxy (0x4000, 0x8000).",
);

pub(super) static DISABLE_TCP_EARLY_DEMUX: Setting<bool> = Setting::new(
    "DISABLE_TCP_EARLY_DEMUX",
    truth(false),
    "Set net.ipv4.tcp_early_demux=0 on the node; false leaves the node's value alone.",
);

/// Bits of packets' marks that kube-proxy uses: to translate, and to drop.
const KUBE_PROXY_MARKS: u32 = 0x4000 | 0x8000;

fn external_services(text: &str) -> Parsed<Vec<IpNet>> {
    ranges_that(text, |range| {
        (range.prefix_len() == 0).then_some(
            "would lead all traffic of pods out of the primary interface, which does not hold \
             their addresses: name the services' own ranges",
        )
    })
}

fn mark(text: &str) -> Parsed<u32> {
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => lower.parse(),
    };
    let reason = match number {
        Err(_) | Ok(0) => "must be from 1 to 4294967295 (0xffffffff), decimal or with 0x",
        Ok(mark) if mark & KUBE_PROXY_MARKS != 0 => {
            "has bits that kube-proxy marks packets with (0x4000 and 0x8000): choose others, such \
             as 0x80"
        }
        Ok(mark) => return Ok(mark),
    };
    Err(wrong(text, reason))
}

pub(super) fn read(reader: &mut Reader<'_>, network: &NetworkSettings) -> KernelSettings {
    let egress = read_egress(reader, network);
    KernelSettings {
        mark: reader.read(&AWS_VPC_K8S_CNI_CONNMARK),
        external_services: reader.read(&AWS_EXTERNAL_SERVICE_CIDRS),
        no_tcp_early_demux: reader.read(&DISABLE_TCP_EARLY_DEMUX),
        no_pod_ipv6: read_no_pod_ipv6(reader, network, egress),
        egress,
    }
}

fn read_egress(reader: &mut Reader<'_>, network: &NetworkSettings) -> Option<Family> {
    let v4 = reader.read(&ENABLE_V4_EGRESS);
    let v6 = reader.read(&ENABLE_V6_EGRESS);
    match (network.ipv4, network.ipv6) {
        (false, true) if v4 => Some(Family::V4),
        (true, false) if v6 => Some(Family::V6),
        _ => None,
    }
}

fn read_no_pod_ipv6(
    reader: &mut Reader<'_>,
    network: &NetworkSettings,
    egress: Option<Family>,
) -> bool {
    let off = reader.read(&DISABLE_POD_V6);
    if off && network.ipv6 {
        let reason =
            "pods cannot have IPv6 addresses without IPv6: set this or ENABLE_IPv6 to false";
        reader.problem(&DISABLE_POD_V6, "true", reason);
    } else if off && egress == Some(Family::V6) {
        let reason =
            "pods cannot open IPv6 flows without IPv6: set this or ENABLE_V6_EGRESS to false";
        reader.problem(&DISABLE_POD_V6, "true", reason);
    }
    off
}
