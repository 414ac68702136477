//! Which interface has a routing table.

use serde::{Deserialize, Serialize};
use veni_nouns::InterfaceId;

/// A journal entry; its name is the table's number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InterfaceTable {
    pub(crate) interface: InterfaceId,
}
