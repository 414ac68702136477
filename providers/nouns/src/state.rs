//! How far an interface is.

use serde::{Deserialize, Serialize};

/// How far an interface is, as the cloud tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceState {
    /// The cloud is attaching it: what it holds counts, but it may not carry
    /// traffic yet.
    Attaching,
    /// It is attached and usable.
    Attached,
    /// The cloud is carrying out a change of it, which may take minutes. It is usable
    /// as it was, and takes no further change until that has ended.
    Updating,
    /// The cloud is detaching it: nothing on it may be given to a pod.
    Detaching,
}

impl InterfaceState {
    /// Tells whether pods may use the addresses that it holds.
    #[must_use]
    pub fn carries_pods(self) -> bool {
        matches!(self, Self::Attached | Self::Updating)
    }
}
