//! The hook's state of a VPC: parses what the hook sends, and translates it into the
//! lab's wiring.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use veni_provider::{DEFAULT_NETWORK_CARD, Interface, InterfaceId, InterfaceState, Mac, SubnetId};
use veni_provider_mock::config::{Peer, SecurityGroup, SecurityRule};
use veni_provider_mock::dump::InterfaceDump;

use crate::error::LabError;
use crate::feed;
use crate::wiring::Wiring;

/// The VPC's router on every link (VPC user guide, subnet route tables).
const IPV6_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1);

/// The state at one generation.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) generation: u64,
    regions: Vec<RegionState>,
}

#[derive(Debug, Deserialize)]
struct RegionState {
    interfaces: Vec<Eni>,
    instances: Vec<Instance>,
    subnets: Vec<Subnet>,
    security_groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    instance_id: String,
    state: String,
}

/// EC2's NetworkInterface structure.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Eni {
    network_interface_id: String,
    subnet_id: String,
    mac_address: Mac,
    private_ip_addresses: Vec<Ipv4Address>,
    ipv4_prefixes: Vec<Ipv4Prefix>,
    ipv6_addresses: Vec<Ipv6Address>,
    ipv6_prefixes: Vec<Ipv6Prefix>,
    groups: Vec<GroupName>,
    attachment: Option<Attachment>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv4Address {
    primary: bool,
    private_ip_address: Ipv4Addr,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv4Prefix {
    ipv4_prefix: IpNet,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6Address {
    ipv6_address: Ipv6Addr,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6Prefix {
    ipv6_prefix: IpNet,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GroupName {
    group_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    instance_id: String,
    device_index: u32,
    network_card_index: u32,
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subnet {
    subnet_id: String,
    cidr_block: IpNet,
    ipv6_cidr_blocks: Vec<IpNet>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Group {
    group_id: String,
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    ip_protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr: Option<IpNet>,
    group_id: Option<String>,
}

impl State {
    pub(super) fn read(told: Value) -> Result<Self, LabError> {
        serde_json::from_value(told).map_err(|error| LabError::Emulator {
            operation: "tell the state of the VPC".to_owned(),
            reason: format!("the hook is of another version: {error}"),
        })
    }

    /// What is attached to an instance, on its way in and out included, in order
    /// of device index. Interfaces of further network cards are left out: a lab
    /// has no second one.
    pub(super) fn interfaces_of(&self, instance: &str) -> Vec<InterfaceDump> {
        let regions = self.regions.iter();
        let mut found: Vec<InterfaceDump> = regions
            .flat_map(|region| region.interfaces.iter().map(move |eni| (region, eni)))
            .filter_map(|(region, eni)| {
                let attachment = eni.attachment.as_ref()?;
                let here = attachment.instance_id == instance && attachment.network_card_index == 0;
                here.then(|| eni.dump(attachment, region))
            })
            .collect();
        found.sort_by_key(|held| (held.interface.network_card, held.interface.device_index));
        found
    }

    /// Ids of the instances that have not been terminated.
    pub(super) fn running(&self) -> impl Iterator<Item = &str> {
        let all = self.regions.iter().flat_map(|one| &one.instances);
        all.filter(|one| one.state != "terminated")
            .map(|one| one.instance_id.as_str())
    }

    /// Ids of all interfaces.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        let all = self.regions.iter().flat_map(|one| &one.interfaces);
        all.map(|one| one.network_interface_id.as_str())
    }

    /// Ids of the subnets.
    pub(super) fn subnets(&self) -> impl Iterator<Item = &str> {
        let all = self.regions.iter().flat_map(|one| &one.subnets);
        all.map(|one| one.subnet_id.as_str())
    }

    /// What must be plugged in: the interfaces that are attached. Those on their way in or
    /// out carry no packets.
    pub(super) fn wiring(&self, instances: &BTreeMap<String, u32>) -> Wiring {
        let groups = self.regions.iter().flat_map(|one| &one.security_groups);
        let groups: Vec<SecurityGroup> = groups.map(Group::known).collect();
        let mut held = Vec::new();
        for (instance, number) in instances {
            let all = self.interfaces_of(instance).into_iter();
            let carrying = all.filter(|one| one.interface.state == InterfaceState::Attached);
            held.extend(carrying.map(|one| (*number, one)));
        }
        feed::wiring(held.iter().map(|(number, one)| (*number, one)), &groups)
    }
}

impl Eni {
    fn dump(&self, attachment: &Attachment, region: &RegionState) -> InterfaceDump {
        let on_default_card = attachment.network_card_index == DEFAULT_NETWORK_CARD;
        let primary = attachment.device_index == 0 && on_default_card;
        let mut subnets = region.subnets.iter();
        let subnet = subnets.find(|subnet| subnet.subnet_id == self.subnet_id);
        let (own, others): (Vec<_>, Vec<_>) =
            self.private_ip_addresses.iter().partition(|a| a.primary);
        let ipv4 = |all: Vec<&Ipv4Address>| {
            let all = all.into_iter();
            all.map(|one| IpAddr::V4(one.private_ip_address))
                .collect::<Vec<_>>()
        };
        let (mut own_addresses, mut addresses) = (ipv4(own), ipv4(others));
        let mut ipv6 = self.ipv6_addresses.iter();
        if primary {
            // The own IPv6 address is the one that the instance's DHCP client gets.
            own_addresses.extend(ipv6.next().map(|one| IpAddr::V6(one.ipv6_address)));
        }
        addresses.extend(ipv6.map(|one| IpAddr::V6(one.ipv6_address)));
        addresses.sort_unstable();
        let mut prefixes: Vec<IpNet> = self.ipv4_prefixes.iter().map(|p| p.ipv4_prefix).collect();
        prefixes.extend(self.ipv6_prefixes.iter().map(|one| one.ipv6_prefix));
        prefixes.sort_unstable();
        InterfaceDump {
            interface: Interface {
                id: InterfaceId::new(&self.network_interface_id),
                mac: self.mac_address,
                device_index: attachment.device_index,
                network_card: attachment.network_card_index,
                primary,
                made_for_pods: false,
                managed: on_default_card,
                for_pods: true,
                state: match attachment.status.as_str() {
                    "attached" => InterfaceState::Attached,
                    "attaching" => InterfaceState::Attaching,
                    _ => InterfaceState::Detaching,
                },
                subnet: SubnetId::new(&self.subnet_id),
                subnet_cidrs: subnet.map(Subnet::ranges).unwrap_or_default(),
                gateways: subnet.map(Subnet::gateways).unwrap_or_default(),
                own_addresses,
                addresses,
                prefixes,
            },
            security_groups: self.groups.iter().map(|one| one.group_id.clone()).collect(),
        }
    }
}

impl Subnet {
    fn ranges(&self) -> Vec<IpNet> {
        let ipv6 = self.ipv6_cidr_blocks.iter().copied();
        std::iter::once(self.cidr_block).chain(ipv6).collect()
    }

    /// The first address of the IPv4 range; for IPv6 the router's own.
    fn gateways(&self) -> Vec<IpAddr> {
        let next_hop = |range: IpNet| match range {
            IpNet::V4(range) => IpAddr::V4(Ipv4Addr::from(u32::from(range.network()) + 1)),
            IpNet::V6(_) => IpAddr::V6(IPV6_ROUTER),
        };
        self.ranges().into_iter().map(next_hop).collect()
    }
}

impl Group {
    fn known(&self) -> SecurityGroup {
        let known = |rules: &[Rule]| rules.iter().filter_map(Rule::known).collect();
        SecurityGroup {
            id: self.group_id.clone(),
            ingress: known(&self.ingress),
            egress: known(&self.egress),
        }
    }
}

impl Rule {
    /// `None` for a rule whose peer is neither a range nor a group (a prefix list). Such
    /// a rule allows nothing here.
    fn known(&self) -> Option<SecurityRule> {
        let peer = match (self.cidr, &self.group_id) {
            (Some(range), _) => Peer::Cidr(range),
            (None, Some(group)) => Peer::Group(group.clone()),
            (None, None) => return None,
        };
        let protocol = match self.ip_protocol.as_str() {
            "-1" => None,
            "tcp" => Some(6),
            "udp" => Some(17),
            "icmp" => Some(1),
            "icmpv6" => Some(58),
            number => Some(number.parse().ok()?),
        };
        let port = |told: Option<i32>| told.and_then(|one| u16::try_from(one).ok());
        // ICMP has types instead of ports; this lets all of them pass.
        let ports = match protocol {
            Some(6 | 17) => port(self.from_port).zip(port(self.to_port)),
            _ => None,
        };
        Some(SecurityRule {
            protocol,
            ports,
            peer,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test may stop at the first surprise")]
    use serde_json::json;

    use super::*;

    fn eni(id: &str, index: u32, status: &str) -> Value {
        json!({
            "NetworkInterfaceId": id, "SubnetId": "subnet-1", "MacAddress": "02:00:00:00:00:01",
            "PrivateIpAddresses": [
                {"Primary": true, "PrivateIpAddress": "10.0.0.4"},
                {"Primary": false, "PrivateIpAddress": "10.0.0.5"},
            ],
            "Ipv4Prefixes": [{"Ipv4Prefix": "10.0.0.16/28"}],
            "Ipv6Addresses": [{"Ipv6Address": "2600::4"}, {"Ipv6Address": "2600::5"}],
            "Ipv6Prefixes": [],
            "Groups": [{"GroupId": "sg-1", "GroupName": "one"}],
            "Attachment": {
                "InstanceId": "i-1", "DeviceIndex": index, "NetworkCardIndex": 0, "Status": status,
            },
        })
    }

    fn state(interfaces: &[Value]) -> State {
        State::read(json!({"generation": 7, "now": 1.5, "regions": [{
            "interfaces": interfaces,
            "instances": [{"InstanceId": "i-1", "State": "running"}],
            "subnets": [{"SubnetId": "subnet-1", "CidrBlock": "10.0.0.0/24", "Ipv6CidrBlocks": ["2600::/64"]}],
            "security_groups": [{
                "GroupId": "sg-1",
                "Ingress": [{"IpProtocol": "-1", "FromPort": null, "ToPort": null, "Cidr": null, "GroupId": "sg-1"}],
                "Egress": [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 90, "Cidr": "0.0.0.0/0", "GroupId": null}],
            }],
        }]}))
        .expect("a state")
    }

    #[test]
    fn an_interface_sends_from_all_that_is_assigned_to_it() {
        let state = state(&[eni("eni-0", 0, "attached"), eni("eni-1", 1, "attached")]);
        let wiring = state.wiring(&BTreeMap::from([("i-1".to_owned(), 1)]));
        let (first, second) = (&wiring.0["n1e0"], &wiring.0["n1e1"]);
        let sources = [
            "10.0.0.4/32",
            "10.0.0.5/32",
            "10.0.0.16/28",
            "2600::4/128",
            "2600::5/128",
        ];
        let sources = sources.map(|text| text.parse().expect("a range"));
        assert_eq!(first.sources, sources.into_iter().collect());
        let texts = |all: &[IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&first.own_addresses), ["10.0.0.4", "2600::4"]);
        assert_eq!(texts(&second.own_addresses), ["10.0.0.4"]);
        assert_eq!(texts(&first.gateways), ["10.0.0.1", "fe80:ec2::1"]);
        assert_eq!(
            (first.ingress.len(), first.egress[0].ports),
            (1, Some((80, 90)))
        );
    }

    #[test]
    fn nothing_is_plugged_in_before_it_is_attached_nor_while_it_is_detached() {
        let state = state(&[eni("eni-1", 1, "attaching"), eni("eni-2", 2, "detaching")]);
        let wiring = state.wiring(&BTreeMap::from([("i-1".to_owned(), 1)]));
        assert!(wiring.0.is_empty(), "{wiring:?}");
        assert_eq!(state.interfaces_of("i-1").len(), 2);
    }
}
