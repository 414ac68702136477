//! What the simulated cloud is made of: subnets, interfaces and their slots.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use veni_pool::{InterfaceId, SlotKind};

#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    pub(crate) used: BTreeSet<u32>,
    pub(crate) cooling: BTreeMap<u32, u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Nic {
    pub(crate) id: InterfaceId,
    pub(crate) subnet: usize,
    pub(crate) primary: bool,
    pub(crate) for_pods: bool,
    pub(crate) attached_ms: u64,
    pub(crate) slots: BTreeMap<IpNet, Addresses>,
}

impl Nic {
    pub(crate) fn pods(&self) -> u32 {
        self.slots.values().map(|slot| slot.used.len() as u32).sum()
    }

    pub(crate) fn idle(&self) -> bool {
        self.slots
            .values()
            .all(|slot| slot.used.is_empty() && slot.cooling.is_empty())
    }
}

/// A subnet: free addresses, of which `blocks` are whole /28s.
#[derive(Debug, Clone)]
pub(crate) struct Subnet {
    pub(crate) scattered: u32,
    pub(crate) blocks: u32,
    pub(crate) no_addresses_until: Option<u64>,
    pub(crate) no_prefixes_until: Option<u64>,
}

impl Subnet {
    pub(crate) fn new(scattered: u32, blocks: u32) -> Self {
        Self {
            scattered,
            blocks,
            no_addresses_until: None,
            no_prefixes_until: None,
        }
    }

    pub(crate) fn free(&self) -> u32 {
        self.scattered + self.blocks * 16
    }

    /// All or nothing, as the cloud does it.
    pub(crate) fn take(&mut self, kind: SlotKind, count: u32) -> bool {
        match kind {
            SlotKind::Prefix if self.blocks >= count => self.blocks -= count,
            SlotKind::Address if self.free() >= count => {
                while self.scattered < count {
                    self.blocks -= 1;
                    self.scattered += 16;
                }
                self.scattered -= count;
            }
            _ => return false,
        }
        true
    }
}

pub(crate) fn kind_of(cidr: &IpNet) -> SlotKind {
    if cidr.prefix_len() == 32 {
        SlotKind::Address
    } else {
        SlotKind::Prefix
    }
}

pub(crate) fn size(kind: SlotKind) -> u32 {
    if kind == SlotKind::Prefix { 16 } else { 1 }
}

pub(crate) fn capacity(cidr: &IpNet) -> u32 {
    1 << (32 - cidr.prefix_len())
}
