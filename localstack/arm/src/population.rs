//! Machines that are made, and what a test does to subnets and NICs by hand.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::addresses::BLOCK;
use crate::arm::Arm;
use crate::config::NodeConfig;
use crate::nic::{IpConfiguration, Nic, Provisioning};
use crate::state::State;

/// A name of which there is nothing, or a subnet that has no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownResource(pub String);

impl std::fmt::Display for UnknownResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no {} with room for more", self.0)
    }
}

impl std::error::Error for UnknownResource {}

impl Arm {
    /// Makes a machine with its NIC, and returns the NIC's id.
    ///
    /// # Errors
    /// There is no such subnet, or it is full.
    pub fn add_node(&self, node: NodeConfig) -> Result<String, UnknownResource> {
        self.lock().add_node(node)
    }

    /// Returns the id of a subnet.
    #[must_use]
    pub fn subnet_id(&self, name: &str) -> String {
        self.lock().config.subnet_id(name)
    }

    /// Takes addresses of a subnet until so many are free.
    ///
    /// # Errors
    /// There is no such subnet.
    pub fn fill(&self, subnet: &str, leave_free: u32) -> Result<(), UnknownResource> {
        let now = Instant::now();
        self.with_subnet(subnet, |subnet| {
            subnet.fill(leave_free, now);
        })
    }

    /// Takes one address in each block of a subnet.
    ///
    /// # Errors
    /// There is no such subnet.
    pub fn fragment(&self, subnet: &str) -> Result<(), UnknownResource> {
        let now = Instant::now();
        self.with_subnet(subnet, |subnet| {
            for block in subnet.range.subnets(BLOCK).into_iter().flatten() {
                let middle = Ipv4Addr::from_bits(block.network().to_bits() + 8);
                subnet.take_this(middle, now);
            }
        })
    }

    fn with_subnet(
        &self,
        name: &str,
        change: impl FnOnce(&mut crate::addresses::Subnet),
    ) -> Result<(), UnknownResource> {
        let mut state = self.lock();
        state.end_operations(Instant::now());
        let subnet = state.subnet_mut(name);
        let subnet = subnet.ok_or_else(|| UnknownResource(format!("subnet {name}")))?;
        change(subnet);
        Ok(())
    }
}

impl State {
    fn add_node(&mut self, node: NodeConfig) -> Result<String, UnknownResource> {
        let now = Instant::now();
        let name = format!("{}-nic", node.name);
        let id = self.config.nic_id(&name);
        let machine = self.config.machine_id(&node.name);
        let lacking = || UnknownResource(format!("subnet {}", node.subnet));
        let subnet = self.subnet_mut(&node.subnet).ok_or_else(lacking)?;
        let range = subnet.take_one(now).ok_or_else(lacking)?;
        let number = self.machines.len() + 1;
        let nic = Nic {
            mac: mac(number),
            id: id.clone(),
            machine,
            subnet: node.subnet.clone(),
            etag: self.next_etag(),
            state: Provisioning::Succeeded,
            fields: self.fields(),
            properties: properties(),
            configurations: vec![self.primary(&node, range)],
            name: name.clone(),
        };
        self.nics.insert(name.to_ascii_lowercase(), nic);
        self.machines.insert(node.name.to_ascii_lowercase(), node);
        self.publish_metadata(&name.to_ascii_lowercase());
        Ok(id)
    }

    fn fields(&self) -> Map<String, Value> {
        let fields = json!({
            "location": self.config.location,
            "tags": {"team": "nodes"},
            "kind": "Regular",
            "somethingNew": {"of": "tomorrow"},
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    fn primary(&self, node: &NodeConfig, range: Ipv4Net) -> IpConfiguration {
        let mut properties = json!({
            "primary": true,
            "privateIPAllocationMethod": "Dynamic",
            "privateIPAddressVersion": "IPv4",
            "subnet": {"id": self.config.subnet_id(&node.subnet)},
        });
        if !node.security_groups.is_empty() {
            let groups = node.security_groups.iter();
            let groups: Vec<Value> = groups
                .map(|name| json!({"id": self.config.security_group_id(name)}))
                .collect();
            properties["applicationSecurityGroups"] = json!(groups);
        }
        IpConfiguration {
            name: "ipconfig1".to_owned(),
            properties: properties.as_object().cloned().unwrap_or_default(),
            range: Some(range),
            state: Provisioning::Succeeded,
        }
    }
}

fn properties() -> Map<String, Value> {
    let properties = json!({
        "enableAcceleratedNetworking": true,
        "enableIPForwarding": false,
        "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
        "nicType": "Standard",
        "auxiliaryMode": "None",
    });
    properties.as_object().cloned().unwrap_or_default()
}

/// One of Azure's own range.
fn mac(number: usize) -> String {
    let [.., a, b, c] = number.to_be_bytes();
    format!("00-0D-3A-{a:02X}-{b:02X}-{c:02X}")
}
