//! The address family.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Address family. Each family has a pool and a plan of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns the family of a range.
    pub fn of_range(range: &IpNet) -> Self {
        Self::of(range.addr())
    }

    /// Returns the length of the prefixes that clouds delegate: /28 for IPv4 (AWS
    /// and Azure), /80 for IPv6 (AWS).
    pub fn delegated_prefix_length(self) -> u8 {
        match self {
            Self::V4 => 28,
            Self::V6 => 80,
        }
    }
}
