//! The calls of [`crate::Provider`] by name, and the families in which clouds
//! count them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One call of the trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// [`crate::Provider::node`].
    Node,
    /// [`crate::Provider::inventory`].
    Inventory,
    /// [`crate::Provider::attach_interface`].
    AttachInterface,
    /// [`crate::Provider::detach_interface`].
    DetachInterface,
    /// [`crate::Provider::assign`].
    Assign,
    /// [`crate::Provider::release`].
    Release,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Node,
        Self::Inventory,
        Self::AttachInterface,
        Self::DetachInterface,
        Self::Assign,
        Self::Release,
    ];

    /// A short name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Inventory => "inventory",
            Self::AttachInterface => "attach_interface",
            Self::DetachInterface => "detach_interface",
            Self::Assign => "assign",
            Self::Release => "release",
        }
    }

    /// The budget it is paid from.
    pub fn family(self) -> ApiFamily {
        match self {
            Self::Node | Self::Inventory => ApiFamily::Describe,
            Self::Assign => ApiFamily::Addresses,
            Self::AttachInterface => ApiFamily::Interfaces,
            Self::Release | Self::DetachInterface => ApiFamily::Returns,
        }
    }

    /// Whether it changes anything, so that a missing answer leaves doubt.
    pub fn mutates(self) -> bool {
        self.family() != ApiFamily::Describe
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Calls that share one budget here. What goes back has one of its own: should
/// the cloud throttle it, pods do not wait for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiFamily {
    /// Reads of the node and its inventory.
    Describe,
    /// Assigning addresses.
    Addresses,
    /// Attaching interfaces.
    Interfaces,
    /// Giving back: releasing addresses and detaching interfaces.
    Returns,
}

impl ApiFamily {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Describe,
        Self::Addresses,
        Self::Interfaces,
        Self::Returns,
    ];

    /// A short name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Addresses => "addresses",
            Self::Interfaces => "interfaces",
            Self::Returns => "returns",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_and_family_has_a_label_of_its_own_in_the_form_of_a_metric_s() {
        let calls = Operation::ALL.map(Operation::label);
        let families = ApiFamily::ALL.map(ApiFamily::label);
        for labels in [calls.as_slice(), families.as_slice()] {
            let distinct: BTreeSet<&str> = labels.iter().copied().collect();
            assert_eq!(distinct.len(), labels.len());
            let fits = |label: &str| label.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(labels.iter().all(|label| fits(label) && label.len() > 3));
        }
        // Dashboards and alerts name these.
        assert!(calls.contains(&"attach_interface"));
        assert!(families.contains(&"describe"));
        assert_eq!(Operation::Assign.to_string(), "assign");
    }
}
