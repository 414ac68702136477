//! Who assigned what to the node's interfaces, as it is written down.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use veni_nouns::{Family, InterfaceId, SlotKind};
use veni_provider::AddressSlots;

/// Who assigned a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// Veni, or the cloud's own plugin before it.
    Veni,
    /// It was there when its interface was first seen. Pods may have it; it is kept.
    Found,
    /// Somebody else, while Veni had the interface: for a use of their own. Pods may
    /// not have it; it is kept.
    Others,
}

impl Origin {
    /// Whether pods may have addresses of such a range.
    pub(crate) fn is_lent(self) -> bool {
        self != Self::Others
    }
}

/// What one interface holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    /// Veni, or the plugin before it, made it for this node.
    pub(crate) made_for_pods: bool,
    pub(crate) ranges: BTreeMap<IpNet, Origin>,
}

/// An assignment whose outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) slots: AddressSlots,
    /// Ranges that an inventory showed before the answer came.
    pub(crate) shown: Vec<IpNet>,
    /// Once it has ended without an answer: until when its ranges may show.
    #[serde(skip)]
    pub(crate) shows_until: Option<Instant>,
}

impl Assignment {
    pub(crate) fn matches(&self, cidr: &IpNet) -> bool {
        let (kind, family) = match self.slots {
            AddressSlots::Addresses { family, .. } => (SlotKind::Address, family),
            AddressSlots::Prefixes { family, .. } => (SlotKind::Prefix, family),
        };
        (SlotKind::of(cidr), Family::of_range(cidr)) == (kind, family)
    }

    /// Ranges that it may bring yet.
    pub(crate) fn left(&self) -> usize {
        let (AddressSlots::Addresses { count, .. } | AddressSlots::Prefixes { count, .. }) =
            self.slots;
        usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.shown.len())
    }
}

/// What outlives the daemon: who assigned what, on which node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AssignedRecord {
    /// The cloud's id of the instance.
    pub(crate) node: String,
    pub(crate) interfaces: BTreeMap<InterfaceId, Holding>,
    /// Assignments under way or in doubt, which only the same boot's daemon is told of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) calls: BTreeMap<InterfaceId, Vec<Assignment>>,
    /// What was given back, as long as an inventory may list it as it was before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) given_back: BTreeSet<IpNet>,
}

impl AssignedRecord {
    /// Without what is under way.
    pub(crate) fn settled(&self) -> Self {
        Self {
            calls: BTreeMap::new(),
            ..self.clone()
        }
    }
}
