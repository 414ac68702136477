//! What an interface has a limited number of: slots, each for one address or for
//! one delegated prefix.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Family;
use crate::range::of_bits;

/// What a slot of an interface is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// One address a slot.
    Address,
    /// One delegated prefix a slot.
    Prefix,
}

impl SlotKind {
    /// Tells what a range is: a /32 (/128) is a single address, anything shorter a
    /// prefix.
    #[must_use]
    pub fn of(range: &IpNet) -> Self {
        if range.prefix_len() == range.max_prefix_len() {
            Self::Address
        } else {
            Self::Prefix
        }
    }

    /// Returns how many pods a slot of this kind serves: what
    /// [`crate::range::capacity`] says of a range that fills it.
    #[must_use]
    pub fn capacity(self, family: Family) -> u32 {
        let bits = match (self, family) {
            (Self::Address, _) => 0,
            (Self::Prefix, Family::V4) => 32 - family.delegated_prefix_length(),
            (Self::Prefix, Family::V6) => 128 - family.delegated_prefix_length(),
        };
        of_bits(family, bits)
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "address",
            Self::Prefix => "prefix",
        })
    }
}
