//! The truth of a mock cloud, and what its operations do to it. No waiting, no
//! faults: those stand before it, in [`crate::provider`].

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::broadcast;
use tokio::time::Instant;
use veni_provider::{
    AttachRequest, Capabilities, DEFAULT_NETWORK_CARD, ErrorClass, Family, Interface, InterfaceId,
    InterfaceState, Inventory, Limit, Mac, Node, Operation, Subnet, SubnetId,
};

use crate::allocator::Lease;
use crate::change::Change;
use crate::config::{CloudConfig, Profile};
use crate::dump::{CallCount, CloudDump};
use crate::faults::Faults;
use crate::node::{NodeState, leases};
use crate::operations::Operations;
use crate::refusal::Refusal;
use crate::subnet::SubnetState;
use crate::throttle::Budget;

/// Changes that a follower may lag behind before it has to start anew.
const CHANGES_KEPT: usize = 8192;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: CloudConfig,
    pub(crate) capabilities: Capabilities,
    pub(crate) rng: StdRng,
    pub(crate) nodes: BTreeMap<String, NodeState>,
    pub(crate) subnets: Vec<SubnetState>,
    pub(crate) faults: Faults,
    pub(crate) budget: Option<Budget>,
    pub(crate) denied: Vec<Operation>,
    pub(crate) operations: Operations,
    pub(crate) calls: BTreeMap<(String, Operation, &'static str), u64>,
    pub(crate) changes: broadcast::Sender<Change>,
    /// How far the cloud's clock is behind tokio's.
    pub(crate) behind: Duration,
}

impl State {
    pub(crate) fn new(config: CloudConfig) -> Self {
        let now = Instant::now();
        let mut faults = Faults::default();
        for fault in &config.faults {
            faults.inject(fault.clone(), now);
        }
        Self {
            capabilities: config.profile.capabilities(config.settle_time),
            rng: StdRng::seed_from_u64(config.seed),
            nodes: BTreeMap::new(),
            subnets: config
                .subnets
                .iter()
                .map(|subnet| SubnetState::new(subnet.clone(), config.order))
                .collect(),
            faults,
            budget: config.throttle.map(|throttle| Budget::new(throttle, now)),
            denied: Vec::new(),
            operations: Operations::default(),
            calls: BTreeMap::new(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            behind: Duration::ZERO,
            config,
        }
    }

    pub(crate) fn publish(&self, change: Change) {
        // Nobody listening is not an error.
        let _ = self.changes.send(change);
    }

    pub(crate) fn count(&mut self, instance: &str, operation: Operation, outcome: &'static str) {
        *self
            .calls
            .entry((instance.to_owned(), operation, outcome))
            .or_default() += 1;
    }

    pub(crate) fn dump(&self) -> CloudDump {
        CloudDump {
            nodes: self.nodes.values().map(NodeState::dump).collect(),
            subnets: self.subnets.iter().map(SubnetState::dump).collect(),
            calls: self
                .calls
                .iter()
                .map(|((instance, operation, outcome), count)| CallCount {
                    instance: instance.clone(),
                    operation: *operation,
                    outcome: (*outcome).to_owned(),
                    count: *count,
                })
                .collect(),
            faults: self.faults.dump(self.now()),
            denied: self.denied.clone(),
        }
    }

    /// The cloud's clock.
    pub(crate) fn now(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.behind).unwrap_or(now)
    }

    pub(crate) fn describe_node(&self, instance: &str) -> Result<Node, Refusal> {
        let node = self.node(instance)?;
        Ok(Node {
            instance_id: node.instance_id.clone(),
            instance_type: node.instance_type.clone(),
            zone: node.zone.clone(),
            limits: node.limits,
            network_cidrs: self.config.vpc_cidrs.clone(),
        })
    }

    pub(crate) fn inventory(&mut self, instance: &str) -> Result<Inventory, Refusal> {
        let subnets = self.subnets_of(instance)?;
        let now = self.now();
        let interfaces = self.node_mut(instance)?.seen(now);
        Ok(Inventory {
            interfaces,
            subnets,
        })
    }

    pub(crate) fn attach(
        &mut self,
        instance: &str,
        request: &AttachRequest,
        at_most: Option<u32>,
    ) -> Result<Interface, Refusal> {
        if !self.capabilities.attach_while_running {
            return Err(Refusal::new(
                ErrorClass::Unsupported,
                "OperationNotAllowed: interfaces are attached while the machine is stopped only",
            ));
        }
        let node = self.node(instance)?;
        if let Some(made) = node
            .tokens
            .get(&request.token)
            .and_then(|id| node.interface(id))
        {
            return Ok(made.clone());
        }
        let there = node.on_card(DEFAULT_NETWORK_CARD).count();
        if there >= node.limits.interfaces as usize {
            let text = format!(
                "AttachmentLimitExceeded: interface count {} exceeds the limit for {}",
                there + 1,
                node.instance_type
            );
            return Err(Refusal::new(
                ErrorClass::LimitReached {
                    limit: Limit::Interfaces,
                },
                text,
            ));
        }
        let subnet = match &request.subnet {
            Some(subnet) => subnet.clone(),
            None => self.best_subnet(instance)?,
        };
        let mut interface = self.make_interface(instance, &subnet, DEFAULT_NETWORK_CARD)?;
        if let Some(slots) = request.slots
            && let Err(refusal) = self.take_slots(instance, &mut interface, slots, at_most)
        {
            self.free(&interface);
            return Err(refusal);
        }
        let token = (request.token.clone(), interface.id.clone());
        self.node_mut(instance)?.tokens.extend([token]);
        self.plug(instance, interface.clone())?;
        Ok(interface)
    }

    pub(crate) fn detach(&mut self, instance: &str, id: &InterfaceId) -> Result<(), Refusal> {
        let supported = self.capabilities.attach_while_running;
        let node = self.node_mut(instance)?;
        let Some(position) = node.interfaces.iter().position(|i| i.id == *id) else {
            return Ok(());
        };
        if node.interfaces[position].primary {
            return Err(Refusal::invalid(format!(
                "{id} is the primary interface of {instance} and cannot be detached"
            )));
        }
        if !supported {
            return Err(Refusal::new(
                ErrorClass::Unsupported,
                "OperationNotAllowed: interfaces are detached while the machine is stopped only",
            ));
        }
        let gone = node.interfaces.remove(position);
        self.free(&gone);
        let (now, delay) = (self.now(), self.lag());
        self.publish(Change::InterfaceDetached {
            instance: instance.to_owned(),
            interface: gone.id.clone(),
            mac: gone.mac,
        });
        self.node_mut(instance)?.show_detached(gone, now, delay);
        Ok(())
    }

    /// A new interface with its own addresses, not attached yet.
    pub(crate) fn make_interface(
        &mut self,
        instance: &str,
        subnet_id: &SubnetId,
        network_card: u32,
    ) -> Result<Interface, Refusal> {
        let node = self.node(instance)?;
        let has_ipv6 = node.limits.ipv6_per_interface > 0;
        let device_index = node.first_free_device_index(network_card);
        let id = self.new_interface_id(instance, device_index);
        let mac = self.new_mac();
        let position = self.subnet_position(subnet_id)?;
        let subnet = &mut self.subnets[position];
        let mut own_addresses = Vec::new();
        let families: Vec<Family> = subnet
            .families()
            .filter(|family| *family == Family::V4 || has_ipv6)
            .collect();
        for family in families {
            match subnet.take_address(family, &mut self.rng) {
                Ok(address) => own_addresses.push(address),
                Err(refusal) => {
                    for address in own_addresses {
                        subnet.free(Lease::Address(address));
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(Interface {
            id,
            mac,
            device_index,
            network_card,
            primary: device_index == 0 && network_card == DEFAULT_NETWORK_CARD,
            managed: network_card == DEFAULT_NETWORK_CARD,
            made_for_pods: device_index != 0 && network_card == DEFAULT_NETWORK_CARD,
            for_pods: subnet.config.for_pods,
            state: InterfaceState::Attached,
            subnet: subnet_id.clone(),
            subnet_cidrs: subnet.config.cidrs.clone(),
            gateways: subnet.gateways(),
            own_addresses,
            addresses: Vec::new(),
            prefixes: Vec::new(),
        })
    }

    /// Attaches a made interface and tells the wires.
    pub(crate) fn plug(&mut self, instance: &str, interface: Interface) -> Result<(), Refusal> {
        let (now, delay) = (self.now(), self.lag());
        let node = self.node_mut(instance)?;
        let id = interface.id.clone();
        node.interfaces.push(interface.clone());
        node.interfaces
            .sort_by_key(|interface| (interface.network_card, interface.device_index));
        node.show_attached(&id, now, delay);
        let security_groups = node.security_groups.clone();
        self.publish(Change::InterfaceAttached {
            instance: instance.to_owned(),
            interface,
            security_groups,
        });
        Ok(())
    }

    /// Gives back all that an interface holds.
    pub(crate) fn free(&mut self, interface: &Interface) {
        if let Ok(subnet) = self.subnet_mut(&interface.subnet) {
            for lease in leases(interface) {
                subnet.free(lease);
            }
        }
    }

    pub(crate) fn node(&self, instance: &str) -> Result<&NodeState, Refusal> {
        self.nodes
            .get(instance)
            .ok_or_else(|| Refusal::no_such_instance(instance))
    }

    pub(crate) fn subnet_mut(&mut self, id: &SubnetId) -> Result<&mut SubnetState, Refusal> {
        let position = self.subnet_position(id)?;
        Ok(&mut self.subnets[position])
    }

    /// How long the next change takes to show.
    pub(crate) fn lag(&mut self) -> Duration {
        let quantile = self.rng.random();
        self.config.consistency_delay.at(quantile)
    }

    fn node_mut(&mut self, instance: &str) -> Result<&mut NodeState, Refusal> {
        self.nodes
            .get_mut(instance)
            .ok_or_else(|| Refusal::no_such_instance(instance))
    }

    pub(crate) fn interface(
        &self,
        instance: &str,
        id: &InterfaceId,
    ) -> Result<&Interface, Refusal> {
        self.node(instance)?
            .interface(id)
            .ok_or_else(|| Refusal::no_such_interface(id))
    }

    pub(crate) fn replace(&mut self, instance: &str, interface: Interface) -> Result<(), Refusal> {
        let (now, delay) = (self.now(), self.lag());
        let id = interface.id.clone();
        self.publish(Change::SourcesChanged {
            instance: instance.to_owned(),
            interface: id.clone(),
            own: interface.own_addresses.clone(),
            addresses: interface.addresses.clone(),
            prefixes: interface.prefixes.clone(),
        });
        let node = self.node_mut(instance)?;
        match node.interface_mut(&id) {
            Some(place) => *place = interface,
            None => return Err(Refusal::no_such_interface(&id)),
        }
        node.show(&id, now, delay);
        Ok(())
    }

    /// Takes the mark of a daemon's from an interface: somebody else has made it.
    pub(crate) fn make_unmarked(
        &mut self,
        instance: &str,
        mut made: Interface,
    ) -> Result<Interface, Refusal> {
        made.made_for_pods = false;
        self.replace(instance, made.clone())?;
        Ok(made)
    }

    /// Shows an interface in another state.
    pub(crate) fn show_state(&mut self, instance: &str, id: &InterfaceId, state: InterfaceState) {
        let (now, delay) = (self.now(), self.lag());
        let Ok(node) = self.node_mut(instance) else {
            return;
        };
        if let Some(interface) = node.interface_mut(id) {
            interface.state = state;
            node.show(id, now, delay);
        }
    }

    /// Shows the interfaces of a subnet as not for pods.
    pub(crate) fn keep_pods_out(&mut self, subnet: &SubnetId) {
        let now = self.now();
        for node in self.nodes.values_mut() {
            let mut changed = Vec::new();
            for interface in node.interfaces.iter_mut().filter(|i| i.subnet == *subnet) {
                interface.for_pods = false;
                changed.push(interface.id.clone());
            }
            for id in changed {
                node.show(&id, now, Duration::ZERO);
            }
        }
    }

    /// Subnets that a node may use, best first.
    fn subnets_of(&self, instance: &str) -> Result<Vec<Subnet>, Refusal> {
        let node = self.node(instance)?;
        let home = node.interfaces.first().map(|interface| &interface.subnet);
        let in_reach = |subnet: &&SubnetState| match self.config.profile {
            Profile::Aws => subnet.config.zone == node.zone,
            Profile::Azure => Some(&subnet.config.id) == home,
        };
        let mut subnets: Vec<Subnet> = self
            .subnets
            .iter()
            .filter(in_reach)
            .map(SubnetState::as_seen)
            .collect();
        subnets.sort_by_key(|subnet| (!subnet.usable, std::cmp::Reverse(subnet.free_ipv4)));
        Ok(subnets)
    }

    fn best_subnet(&self, instance: &str) -> Result<SubnetId, Refusal> {
        let subnets = self.subnets_of(instance)?;
        let best = subnets.into_iter().find(|subnet| subnet.usable);
        best.map(|subnet| subnet.id)
            .ok_or_else(|| Refusal::invalid("the zone has no subnet for pods"))
    }

    pub(crate) fn subnet_position(&self, id: &SubnetId) -> Result<usize, Refusal> {
        self.subnets
            .iter()
            .position(|subnet| subnet.config.id == *id)
            .ok_or_else(|| {
                Refusal::invalid(format!("the subnet {id} does not exist (InvalidSubnetID)"))
            })
    }

    fn new_interface_id(&mut self, instance: &str, device_index: u32) -> InterfaceId {
        match self.config.profile {
            Profile::Aws => {
                let number: u64 = self.rng.random();
                InterfaceId::new(format!("eni-0{number:016x}"))
            }
            Profile::Azure => InterfaceId::new(format!(
                "/subscriptions/mock/resourceGroups/veni/providers/Microsoft.Network/\
                 networkInterfaces/{instance}-nic{device_index}"
            )),
        }
    }

    fn new_mac(&mut self) -> Mac {
        let mut bytes: [u8; 6] = self.rng.random();
        // Locally administered, not multicast.
        bytes[0] = (bytes[0] | 0x02) & 0xfe;
        Mac(bytes)
    }
}
