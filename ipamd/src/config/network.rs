//! How pods' packets travel: families, source translation, names and MTUs of links.

use ipnet::IpNet;
use veni_dataplane::plan::SourceNatPorts;

use super::choice::ProviderChoice;
use super::groups::NetworkSettings;
use super::parse::{Parsed, ranges, wrong};
use super::reader::Reader;
use super::remark::Remark;
use super::setting::{Setting, one_of, read_by, truth, truth_if_set, whole, whole_if_set};
use super::variable::{Condition, Decided, DefaultValue};

pub(super) static ENABLE_IPV4: Setting<bool> =
    Setting::new("ENABLE_IPv4", truth(true), "Pods get an IPv4 address.");

pub(super) static ENABLE_IPV6: Setting<bool> = Setting::new(
    "ENABLE_IPv6",
    truth(false),
    "Pods get an IPv6 address, out of a /80 on the primary interface; together with ENABLE_IPv4 \
     both.",
);

pub(super) static AWS_VPC_K8S_CNI_EXTERNALSNAT: Setting<bool> = Setting::new(
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    truth(false),
    "Leave the translation of traffic that leaves the network to a gateway.",
);

pub(super) static AWS_VPC_K8S_CNI_RANDOMIZESNAT: Setting<SourceNatPorts> = Setting::new(
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    one_of(
        &[
            ("prng", SourceNatPorts::FullyRandom),
            ("hashrandom", SourceNatPorts::Random),
            ("none", SourceNatPorts::Keep),
        ],
        "prng",
    ),
    "How source ports are chosen: prng, hashrandom or none.",
)
.needs(&[WITH_SOURCE_NAT]);

pub(super) static AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS: Setting<Vec<IpNet>> = Setting::new(
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    read_by(ranges, DefaultValue::Text("")),
    "Further ranges, separated by commas, to which pods keep their own address.",
)
.needs(&[WITH_SOURCE_NAT]);

pub(super) static AWS_VPC_CNI_NODE_PORT_SUPPORT: Setting<bool> = Setting::new(
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    truth(true),
    "Answers to node-port traffic leave by the primary interface; those to what entered by links \
     of others, as bridges and tunnels, follow the node's own routes.",
);

pub(super) static VENI_BLOCK_POD_METADATA: Setting<Option<bool>> = Setting::new(
    "VENI_BLOCK_POD_METADATA",
    truth_if_set("true on Azure with the machine's managed identity, else false"),
    "Pods open no flows to instance metadata, nor, on Azure, to the wire server but for its DNS; \
     pods of the node's own network do.",
)
.unset_means(|now| {
    let closed = now.config.network.metadata_closed;
    Some(Decided::new(closed, now.config.provider.name()))
});

pub(super) static AWS_VPC_K8S_CNI_VETHPREFIX: Setting<String> = Setting::new(
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    read_by(veth_prefix, DefaultValue::Text("eni")),
    "First letters of the host ends' names, at most four.",
);

pub(super) static AWS_VPC_ENI_MTU: Setting<u32> = Setting::new(
    "AWS_VPC_ENI_MTU",
    whole(SMALLEST_IPV4_MTU..=9001, 9001),
    "MTU of the cloud's interfaces, the primary one among them, 576 to 9001 (1280 with IPv6).",
);

pub(super) static POD_MTU: Setting<Option<u32>> = Setting::new(
    "POD_MTU",
    whole_if_set(SMALLEST_IPV4_MTU..=9001, "AWS_VPC_ENI_MTU"),
    "MTU of the pods, in the same range.",
)
.unset_means(|now| Some(Decided::new(now.config.network.pod_mtu, "AWS_VPC_ENI_MTU")));

/// The smallest packets that every link must carry: RFC 791.
const SMALLEST_IPV4_MTU: u32 = 576;

/// Likewise: RFC 8200.
const SMALLEST_IPV6_MTU: u32 = 1280;

const WITH_SOURCE_NAT: Condition = Condition {
    note: "not used: AWS_VPC_K8S_CNI_EXTERNALSNAT is true",
    holds: |now| now.config.network.source_nat,
};

/// Interface names have 15 bytes, eleven of which are a hash.
fn veth_prefix(text: &str) -> Parsed<String> {
    let reason = if text.len() > 4 {
        "must have at most four letters: eleven digits of a hash follow, and a name has 15"
    } else if ["eth", "lo", "vlan"].contains(&text) {
        "is the name of other interfaces; choose another, such as eni"
    } else if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        "must be ASCII letters and digits"
    } else {
        return Ok(text.to_owned());
    };
    Err(wrong(text, reason))
}

pub(super) fn read(reader: &mut Reader<'_>, provider: &ProviderChoice) -> NetworkSettings {
    let ipv4 = reader.read(&ENABLE_IPV4);
    let ipv6 = reader.read(&ENABLE_IPV6);
    if !ipv4 && !ipv6 {
        reader.problem(
            &ENABLE_IPV4,
            "false",
            "pods need an address family: set ENABLE_IPv4 or ENABLE_IPv6 or both to true",
        );
    }
    let veth_prefix = reader.read(&AWS_VPC_K8S_CNI_VETHPREFIX);
    let smallest = if ipv6 {
        SMALLEST_IPV6_MTU
    } else {
        SMALLEST_IPV4_MTU
    };
    let interface_mtu = reader.read(&AWS_VPC_ENI_MTU.at_least(smallest));
    let pod_mtu = reader.read(&POD_MTU.at_least(smallest));
    let closed = reader.read(&VENI_BLOCK_POD_METADATA);
    NetworkSettings {
        ipv4,
        ipv6,
        veth_prefix,
        interface_mtu,
        pod_mtu: pod_mtu.unwrap_or(interface_mtu),
        source_nat: !reader.read(&AWS_VPC_K8S_CNI_EXTERNALSNAT),
        source_nat_ports: reader.read(&AWS_VPC_K8S_CNI_RANDOMIZESNAT),
        untranslated: reader.read(&AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS),
        node_ports: reader.read(&AWS_VPC_CNI_NODE_PORT_SUPPORT),
        metadata_closed: closed.unwrap_or(provider.metadata_gives_its_rights()),
    }
}

/// What an operator should hear who leaves the node's rights to its pods.
pub(super) fn remark(network: &NetworkSettings, provider: &ProviderChoice) -> Option<Remark> {
    let open = !network.metadata_closed && provider.metadata_gives_its_rights();
    open.then(|| {
        let text = "every pod can take a token of the node's managed identity from instance \
                    metadata, and with it write the node's NIC: leave this unset, or give the \
                    node a workload identity";
        Remark::warning(VENI_BLOCK_POD_METADATA.variable.name, text.to_owned())
    })
}
