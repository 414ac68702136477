//! Changes of the truth, as the wires of the network must follow them: without
//! delay, in order.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use veni_provider::{Interface, InterfaceId, Mac};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A node was made; its interfaces follow.
    NodeAdded {
        /// Its id.
        instance: String,
        /// Its type.
        instance_type: String,
    },
    /// A node is gone, its interfaces before it.
    NodeRemoved {
        /// Its id.
        instance: String,
    },
    /// An interface was plugged into a node.
    InterfaceAttached {
        /// The node.
        instance: String,
        /// The interface with all it holds.
        interface: Interface,
        /// Its security groups.
        security_groups: Vec<String>,
    },
    /// An interface was pulled out of a node.
    InterfaceDetached {
        /// The node.
        instance: String,
        /// The interface.
        interface: InterfaceId,
        /// Its MAC.
        mac: Mac,
    },
    /// An interface may send from other addresses than before.
    SourcesChanged {
        /// The node.
        instance: String,
        /// The interface.
        interface: InterfaceId,
        /// Its own addresses.
        own: Vec<IpAddr>,
        /// All its secondary addresses.
        addresses: Vec<IpAddr>,
        /// All its prefixes.
        prefixes: Vec<IpNet>,
    },
}
