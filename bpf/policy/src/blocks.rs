//! Ranges of addresses that policies name, each with all that covering ranges allow too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

use crate::{Class, PortRange};

/// Allows nothing.
static NOTHING: LazyLock<Class> = LazyLock::new(Class::default);

/// A range that one rule allows.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) cidr: IpNet,
    /// Smaller ranges inside of `cidr`.
    pub(crate) except: Vec<IpNet>,
    pub(crate) ports: Vec<PortRange>,
}

/// Every range that rules name or except, with what it is allowed.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    classes: BTreeMap<IpNet, Class>,
    /// Lengths of the ranges of IPv4 and of IPv6, to look them up by.
    lengths: [BTreeSet<u8>; 2],
}

impl Blocks {
    pub(crate) fn new(grants: &[Grant]) -> Self {
        // Which grants begin at a range and which end there.
        let mut marks: BTreeMap<IpNet, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (index, grant) in grants.iter().enumerate() {
            marks.entry(grant.cidr).or_default().0.push(index);
            for except in &grant.except {
                marks.entry(*except).or_default().1.push(index);
            }
        }
        let mut blocks = Self::default();
        // The ranges around the present one, widest first, each with the grants that hold in it: a
        // range comes after those around it.
        let mut around: Vec<(IpNet, BTreeSet<usize>)> = Vec::new();
        for (range, (begin, end)) in marks {
            while around
                .last()
                .is_some_and(|(outer, _)| !outer.contains(&range))
            {
                around.pop();
            }
            let mut holding = around
                .last()
                .map_or_else(BTreeSet::new, |(_, holding)| holding.clone());
            holding.extend(begin);
            holding.retain(|index| !end.contains(index));
            let ports = holding
                .iter()
                .flat_map(|&index| grants[index].ports.iter().copied());
            blocks.classes.insert(range, Class::new(ports.collect()));
            blocks.lengths[family(&range.addr())].insert(range.prefix_len());
            around.push((range, holding));
        }
        blocks
    }

    /// What an address is allowed.
    pub(crate) fn class(&self, address: IpAddr) -> &Class {
        self.covering(address, host(address).prefix_len())
    }

    /// What a range inherits from those around it.
    pub(crate) fn class_around(&self, range: IpNet) -> &Class {
        match range.prefix_len().checked_sub(1) {
            Some(length) => self.covering(range.addr(), length),
            None => &NOTHING,
        }
    }

    /// Every range with its class.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, &Class)> {
        self.classes.iter().map(|(range, class)| (*range, class))
    }

    /// Of the longest range of at most `length` bits.
    fn covering(&self, address: IpAddr, length: u8) -> &Class {
        let lengths = self.lengths[family(&address)].range(..=length).rev();
        let ranges = lengths.filter_map(|&length| IpNet::new(address, length).ok());
        ranges
            .filter_map(|range| self.classes.get(&range.trunc()))
            .next()
            .unwrap_or(&NOTHING)
    }
}

fn family(address: &IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// The range of one address.
pub(crate) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
