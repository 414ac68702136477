//! A change that the cloud has accepted and carries out on its own.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use veni_nouns::{Family, InterfaceId, OperationId};
use veni_provider::{AddressSlots, AttachRequest};

/// A change that the cloud is carrying out, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningChange {
    pub(crate) operation: OperationId,
    pub(crate) family: Family,
    /// Why, for people.
    pub(crate) reason: String,
    pub(crate) call: Call,
    /// It has ended by then, milliseconds since the epoch.
    pub(crate) ends_by_ms: u64,
}

/// The call by which a change is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Assign {
        interface: InterfaceId,
        slots: AddressSlots,
    },
    Attach(AttachRequest),
    Release {
        interface: InterfaceId,
        ranges: Vec<IpNet>,
    },
    Detach {
        interface: InterfaceId,
        /// Where its rules are.
        table: Option<u32>,
        /// All that goes with it.
        ranges: Vec<IpNet>,
    },
}
