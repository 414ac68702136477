//! The wire between a served cloud and its users: a unix stream socket, one
//! JSON object per line, in both directions.
//!
//! ```text
//! → {"id":7,"request":{"assign":{"instance":"i-1","interface":"eni-0ab","slots":{"addresses":{"family":"v4","count":2}}}}}
//! ← {"id":7,"message":{"answer":{"grant":{"addresses":["10.0.0.9","10.0.3.1"],"prefixes":[]}}}}
//! → {"id":8,"request":{"admin":"follow"}}
//! ← {"id":8,"message":{"answer":{"dump":{…}}}}
//! ← {"id":8,"message":{"change":{"node_removed":{"instance":"i-1"}}}}
//! ```
//!
//! Ids are the user's, unique on a connection while a request is open. Answers
//! come in any order: a slow call delays no other. A request that was read is
//! carried out even if its connection breaks, as by a real cloud. A user who
//! closes the sending side has closed both.

use serde::{Deserialize, Serialize};
use tokio_util::codec::LinesCodec;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, Grant, Interface, InterfaceId,
    Inventory, Node, Operation, OperationId, Progress, ProviderError, SubnetId,
};

use crate::change::Change;
use crate::cloud::CloudError;
use crate::config::{CloudConfig, Latency, NodeConfig, Throttle};
use crate::dump::CloudDump;
use crate::faults::{Fault, FaultId};

/// Longest line: a dump of many nodes is some megabytes.
const LONGEST_LINE: usize = 64 * 1024 * 1024;

pub(crate) fn codec() -> LinesCodec {
    LinesCodec::new_with_max_length(LONGEST_LINE)
}

/// What a user sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// Named by every message that answers it.
    pub id: u64,
    /// What the user asks for.
    pub request: Request,
}

/// What the cloud sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    /// The request that it answers.
    pub id: u64,
    /// What there is to tell.
    pub message: Message,
}

/// What a user may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What the cloud can do.
    Capabilities,
    /// A node's view of itself.
    Node {
        /// The node that asks.
        instance: String,
    },
    /// A node's inventory.
    Inventory {
        /// The node that asks.
        instance: String,
    },
    /// One more interface for a node.
    AttachInterface {
        /// The node that asks.
        instance: String,
        /// What it asks for.
        request: AttachRequest,
    },
    /// One interface less.
    DetachInterface {
        /// The node that asks.
        instance: String,
        /// The interface that goes.
        interface: InterfaceId,
    },
    /// Addresses or prefixes for an interface.
    Assign {
        /// The node that asks.
        instance: String,
        /// For which interface.
        interface: InterfaceId,
        /// How many of what.
        slots: AddressSlots,
    },
    /// Addresses and prefixes back from an interface.
    Release {
        /// The node that asks.
        instance: String,
        /// From which interface.
        interface: InterfaceId,
        /// What goes back.
        grant: Grant,
    },
    /// Any change, which may run on its own.
    Begin {
        /// The node that asks.
        instance: String,
        /// What it asks for.
        change: ChangeRequest,
    },
    /// How far a change is that was begun.
    Resume {
        /// The node that asks.
        instance: String,
        /// The operation that was begun.
        operation: OperationId,
    },
    /// A request of whoever runs the cloud.
    Admin(AdminRequest),
}

/// What [`crate::MockCloud`] offers to whoever runs it, by the same names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each is the method of the same name of MockCloud, with its arguments"
)]
pub enum AdminRequest {
    Config,
    Dump,
    Follow,
    AddNode(NodeConfig),
    TerminateNode(String),
    Inject(Fault),
    RemoveFault(FaultId),
    ClearFaults,
    FillSubnet {
        subnet: SubnetId,
        leave_free: u32,
    },
    FragmentSubnet(SubnetId),
    Unfill(SubnetId),
    SetLatency {
        operation: Option<Operation>,
        latency: Latency,
    },
    SetConsistencyDelay(Latency),
    SetThrottle(Option<Throttle>),
    Deny(Operation),
    Allow(Operation),
}

/// A message about a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The request succeeded.
    Answer(Answer),
    /// A node's call failed.
    ProviderError(ProviderError),
    /// A request of whoever runs the cloud failed.
    CloudError(CloudError),
    /// The line was not understood; nothing was done.
    NotUnderstood(String),
    /// To a follower: the truth changed.
    Change(Change),
    /// To a follower: too far behind, changes are lost. Nothing more comes.
    Lagged,
}

/// The good answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing to tell but that it is done.
    Done,
    /// To [`Request::Capabilities`].
    Capabilities(Capabilities),
    /// To [`Request::Node`].
    Node(Node),
    /// To [`Request::Inventory`].
    Inventory(Inventory),
    /// To [`Request::AttachInterface`] and [`AdminRequest::AddNode`].
    Interface(Interface),
    /// To [`Request::Assign`].
    Grant(Grant),
    /// To [`Request::Begin`] and [`Request::Resume`].
    Progress(Progress),
    /// To [`AdminRequest::Config`].
    Config(Box<CloudConfig>),
    /// To [`AdminRequest::Dump`] and first to [`AdminRequest::Follow`].
    Dump(CloudDump),
    /// To [`AdminRequest::Inject`].
    Fault(FaultId),
}
