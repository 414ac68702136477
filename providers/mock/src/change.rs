//! Changes of the truth, as the wires of the network must follow them: without
//! delay, in order.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use veni_provider::{Interface, InterfaceId, Mac};

/// One change of the cloud's truth, as its followers are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A node was made; its interfaces follow.
    NodeAdded {
        /// The node's id.
        instance: String,
        /// The node's instance type.
        instance_type: String,
    },
    /// A node is gone, its interfaces before it.
    NodeRemoved {
        /// The node's id.
        instance: String,
    },
    /// An interface was plugged into a node.
    InterfaceAttached {
        /// The id of the node whose interface it is.
        instance: String,
        /// The interface with all it holds.
        interface: Interface,
        /// Its security groups.
        security_groups: Vec<String>,
    },
    /// An interface was pulled out of a node.
    InterfaceDetached {
        /// The id of the node whose interface it is.
        instance: String,
        /// The interface that changed.
        interface: InterfaceId,
        /// The MAC that it had.
        mac: Mac,
    },
    /// An interface may send from other addresses than before.
    SourcesChanged {
        /// The id of the node whose interface it is.
        instance: String,
        /// The interface that changed.
        interface: InterfaceId,
        /// Its own addresses.
        own: Vec<IpAddr>,
        /// All its secondary addresses.
        addresses: Vec<IpAddr>,
        /// All its prefixes.
        prefixes: Vec<IpNet>,
    },
}
