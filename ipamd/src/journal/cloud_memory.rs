//! What a restart knows of the cloud without asking it.

use serde::{Deserialize, Serialize};
use veni_provider::{Capabilities, Inventory, Node};

/// What the daemon last knew of the cloud; it serves pods from
/// it after a restart while the cloud is unreachable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloudMemory {
    pub(crate) node: Node,
    pub(crate) inventory: Inventory,
    /// What the cloud could do for it.
    #[serde(default)]
    pub(crate) capabilities: Option<Capabilities>,
    /// When that was so, milliseconds since the epoch.
    pub(crate) as_of_ms: u64,
}
