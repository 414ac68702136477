//! The whole truth of a cloud at one instant, without lag, for auditors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veni_provider::{Interface, Limits, Operation, SubnetId};

use crate::allocator::Lease;
use crate::change::Change;
use crate::faults::Fault;

/// The truth of a whole cloud at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudDump {
    /// Nodes in order of their ids.
    pub nodes: Vec<NodeDump>,
    /// Subnets in order of their configuration.
    pub subnets: Vec<SubnetDump>,
    /// Calls by node, operation and outcome.
    pub calls: Vec<CallCount>,
    /// Faults that may still meet a call, oldest first.
    pub faults: Vec<FaultDump>,
    /// What no node is permitted.
    pub denied: Vec<Operation>,
}

/// A fault in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultDump {
    /// The fault as it was injected.
    pub fault: Fault,
    /// Calls that it has met.
    pub met: u32,
}

/// A node in truth, whatever its inventory shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDump {
    /// The node's id.
    pub instance_id: String,
    /// The node's instance type.
    pub instance_type: String,
    /// The availability zone that the node runs in.
    pub zone: String,
    /// What the instance type allows.
    pub limits: Limits,
    /// Interfaces in order of device index.
    pub interfaces: Vec<InterfaceDump>,
}

/// An interface in truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceDump {
    /// The interface with all it holds.
    pub interface: Interface,
    /// Its security groups.
    pub security_groups: Vec<String>,
}

/// A subnet in truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetDump {
    /// Id.
    pub id: SubnetId,
    /// Free IPv4 addresses.
    pub free_ipv4: u32,
    /// Free aligned /28.
    pub free_ipv4_prefixes: u32,
    /// Free aligned /80.
    pub free_ipv6_prefixes: u32,
    /// IPv4 addresses that somebody holds, a prefix counted as its sixteen,
    /// without those that the cloud reserves.
    pub used_ipv4: u32,
    /// What was taken by filling and fragmenting, and by no interface.
    pub filled: Vec<Lease>,
}

/// How often a call had an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCount {
    /// The node that called.
    pub instance: String,
    /// The call of the provider.
    pub operation: Operation,
    /// `ok`, or the label of the error's class as the caller was told it.
    pub outcome: String,
    /// How many of these calls had this outcome.
    pub count: u64,
}

impl CloudDump {
    /// A node by its id.
    pub fn node(&self, instance_id: &str) -> Option<&NodeDump> {
        self.nodes
            .iter()
            .find(|node| node.instance_id == instance_id)
    }

    /// A subnet by its id.
    pub fn subnet(&self, id: &SubnetId) -> Option<&SubnetDump> {
        self.subnets.iter().find(|subnet| subnet.id == *id)
    }

    /// How often an operation was called by all nodes, whatever came of it.
    pub fn calls_of(&self, operation: Operation) -> u64 {
        self.calls
            .iter()
            .filter(|call| call.operation == operation)
            .map(|call| call.count)
            .sum()
    }

    /// Calls of a node by operation and outcome.
    pub fn calls_by(&self, instance_id: &str) -> BTreeMap<(Operation, String), u64> {
        self.calls
            .iter()
            .filter(|call| call.instance == instance_id)
            .map(|call| ((call.operation, call.outcome.clone()), call.count))
            .collect()
    }

    /// The changes that lead from an empty cloud to this one: what a follower
    /// applies before those that come.
    pub fn as_changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for node in &self.nodes {
            changes.push(Change::NodeAdded {
                instance: node.instance_id.clone(),
                instance_type: node.instance_type.clone(),
            });
            for held in &node.interfaces {
                changes.push(Change::InterfaceAttached {
                    instance: node.instance_id.clone(),
                    interface: held.interface.clone(),
                    security_groups: held.security_groups.clone(),
                });
            }
        }
        changes
    }
}
