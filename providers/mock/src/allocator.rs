//! The free space of one subnet range: single addresses and aligned blocks of
//! a delegated prefix's size, out of the same space, so that scattered
//! addresses leave no block. Knows no interface and no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use veni_provider::Family;

use crate::config::AllocationOrder;

/// How many released addresses and blocks are held back while others are free.
const HELD_BACK: usize = 64;
/// Random draws before a search takes over.
const DRAWS: usize = 32;
/// Clouds keep the first four addresses and the last one of a subnet.
const RESERVED_AT_START: u128 = 4;

/// What was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// One address.
    Address(IpAddr),
    /// One prefix.
    Prefix(IpNet),
}

#[derive(Debug)]
enum Block {
    Whole,
    Singles(BTreeSet<u128>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Released {
    Offset(u128),
    Block(u128),
}

/// The space of one range.
#[derive(Debug)]
pub struct Allocator {
    range: IpNet,
    order: AllocationOrder,
    base: u128,
    size: u128,
    block_size: u128,
    /// Only blocks in which something is taken or reserved.
    blocks: BTreeMap<u128, Block>,
    taken: u128,
    held_back: VecDeque<Released>,
}

impl Allocator {
    /// All of a range free, but for what the cloud reserves.
    pub fn new(range: IpNet, order: AllocationOrder) -> Self {
        let range = range.trunc();
        let host_bits = u32::from(range.max_prefix_len() - range.prefix_len());
        let family = Family::of(range.addr());
        let block_bits = u32::from(range.max_prefix_len() - family.delegated_prefix_length());
        let mut allocator = Self {
            range,
            order,
            base: number(range.addr()),
            size: 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX),
            block_size: 1 << block_bits,
            blocks: BTreeMap::new(),
            taken: 0,
            held_back: VecDeque::new(),
        };
        for offset in 0..RESERVED_AT_START.min(allocator.size) {
            allocator.mark(offset);
        }
        if allocator.size > RESERVED_AT_START {
            allocator.mark(allocator.size - 1);
        }
        allocator
    }

    /// The range.
    pub fn range(&self) -> IpNet {
        self.range
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.range.addr())
    }

    /// Free addresses.
    pub fn free_addresses(&self) -> u128 {
        self.size - self.taken
    }

    /// Blocks that are free as a whole.
    pub fn free_prefixes(&self) -> u128 {
        let whole_blocks = self.size / self.block_size;
        whole_blocks.saturating_sub(self.blocks.len() as u128)
    }

    /// Takes one address; `None` when there is none.
    pub fn take_address(&mut self, rng: &mut impl Rng) -> Option<IpAddr> {
        let offset = self
            .draw_offset(rng)
            .or_else(|| self.search_offset(rng))
            .or_else(|| self.oldest_held_back())?;
        self.mark(offset);
        Some(self.address(offset))
    }

    /// Takes this very address; `false` when it is not free or not in the range.
    pub fn take_this(&mut self, address: IpAddr) -> bool {
        match self.offset(address) {
            Some(offset) if self.is_free(offset) => {
                self.mark(offset);
                true
            }
            _ => false,
        }
    }

    /// Takes one aligned block; `None` when none is free as a whole.
    pub fn take_prefix(&mut self, rng: &mut impl Rng) -> Option<IpNet> {
        let count = self.size / self.block_size;
        if self.free_prefixes() == 0 {
            return None;
        }
        let start = match self.order {
            AllocationOrder::Random => rng.random_range(0..count),
            AllocationOrder::LowestFirst => 0,
        };
        let free = |index: &u128| !self.blocks.contains_key(index);
        let in_turn = || (start..count).chain(0..start);
        let index = in_turn()
            .find(|index| free(index) && !self.block_is_held_back(*index))
            .or_else(|| in_turn().find(free))?;
        self.held_back.retain(|released| match *released {
            Released::Block(block) => block != index,
            Released::Offset(offset) => offset / self.block_size != index,
        });
        self.blocks.insert(index, Block::Whole);
        self.taken += self.block_size;
        self.prefix(index)
    }

    /// Gives one back. `false` when it was not taken: nothing changes.
    pub fn free(&mut self, lease: Lease) -> bool {
        let released = match lease {
            Lease::Address(address) => self.unmark(address).map(Released::Offset),
            Lease::Prefix(prefix) => self.unmark_block(prefix).map(Released::Block),
        };
        let Some(released) = released else {
            return false;
        };
        self.held_back.push_back(released);
        if self.held_back.len() > HELD_BACK {
            self.held_back.pop_front();
        }
        true
    }

    /// Takes addresses until `leave` are free, and returns them. IPv4 only:
    /// nobody fills an IPv6 range.
    pub fn fill(&mut self, leave: u128, rng: &mut impl Rng) -> Vec<IpAddr> {
        if self.family() == Family::V6 {
            return Vec::new();
        }
        let mut free: Vec<u128> = (0..self.size).filter(|o| self.is_free(*o)).collect();
        if self.order == AllocationOrder::Random {
            free.shuffle(rng);
        }
        let count = (free.len() as u128).saturating_sub(leave) as usize;
        free.truncate(count);
        self.take_all(free)
    }

    /// Takes one address in each free block, so that no block is left, and
    /// returns them.
    pub fn fragment(&mut self, rng: &mut impl Rng) -> Vec<IpAddr> {
        let blocks = self.size / self.block_size;
        let free: Vec<u128> = (0..blocks)
            .filter(|index| !self.blocks.contains_key(index))
            .map(|index| index * self.block_size + rng.random_range(0..self.block_size))
            .collect();
        self.take_all(free)
    }

    fn take_all(&mut self, offsets: Vec<u128>) -> Vec<IpAddr> {
        offsets
            .into_iter()
            .map(|offset| {
                self.mark(offset);
                self.address(offset)
            })
            .collect()
    }

    fn draw_offset(&self, rng: &mut impl Rng) -> Option<u128> {
        if self.order == AllocationOrder::LowestFirst {
            return None;
        }
        (0..DRAWS)
            .map(|_| rng.random_range(0..self.size))
            .find(|offset| self.is_free(*offset) && !self.is_held_back(*offset))
    }

    fn search_offset(&self, rng: &mut impl Rng) -> Option<u128> {
        let count = self.size.div_ceil(self.block_size);
        let start = match self.order {
            AllocationOrder::Random => rng.random_range(0..count),
            AllocationOrder::LowestFirst => 0,
        };
        (start..count)
            .chain(0..start)
            .filter(|index| !matches!(self.blocks.get(index), Some(Block::Whole)))
            .find_map(|index| {
                let from = index * self.block_size;
                let to = (from + self.block_size).min(self.size);
                (from..to).find(|offset| self.is_free(*offset) && !self.is_held_back(*offset))
            })
    }

    fn oldest_held_back(&self) -> Option<u128> {
        self.held_back.iter().find_map(|released| match *released {
            Released::Offset(offset) => Some(offset).filter(|offset| self.is_free(*offset)),
            Released::Block(index) => {
                let from = index * self.block_size;
                (from..from + self.block_size).find(|offset| self.is_free(*offset))
            }
        })
    }

    fn is_free(&self, offset: u128) -> bool {
        match self.blocks.get(&(offset / self.block_size)) {
            None => true,
            Some(Block::Whole) => false,
            Some(Block::Singles(taken)) => !taken.contains(&offset),
        }
    }

    fn is_held_back(&self, offset: u128) -> bool {
        self.held_back.iter().any(|released| match *released {
            Released::Offset(held) => held == offset,
            Released::Block(index) => index == offset / self.block_size,
        })
    }

    fn block_is_held_back(&self, index: u128) -> bool {
        self.held_back.contains(&Released::Block(index))
    }

    fn is_reserved(&self, offset: u128) -> bool {
        offset < RESERVED_AT_START || offset == self.size - 1
    }

    fn mark(&mut self, offset: u128) {
        let block = self
            .blocks
            .entry(offset / self.block_size)
            .or_insert_with(|| Block::Singles(BTreeSet::new()));
        if let Block::Singles(taken) = block
            && taken.insert(offset)
        {
            self.taken += 1;
        }
        self.held_back
            .retain(|released| *released != Released::Offset(offset));
    }

    fn unmark(&mut self, address: IpAddr) -> Option<u128> {
        let offset = self.offset(address)?;
        if self.is_reserved(offset) {
            return None;
        }
        let index = offset / self.block_size;
        let Some(Block::Singles(taken)) = self.blocks.get_mut(&index) else {
            return None;
        };
        if !taken.remove(&offset) {
            return None;
        }
        if taken.is_empty() {
            self.blocks.remove(&index);
        }
        self.taken -= 1;
        Some(offset)
    }

    fn unmark_block(&mut self, prefix: IpNet) -> Option<u128> {
        let index = self.offset(prefix.addr())? / self.block_size;
        if self.prefix(index) != Some(prefix) {
            return None;
        }
        if !matches!(self.blocks.get(&index), Some(Block::Whole)) {
            return None;
        }
        self.blocks.remove(&index);
        self.taken -= self.block_size;
        Some(index)
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        self.range
            .contains(&address)
            .then(|| number(address) - self.base)
    }

    fn address(&self, offset: u128) -> IpAddr {
        let value = self.base + offset;
        match self.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(value as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(value)),
        }
    }

    fn prefix(&self, index: u128) -> Option<IpNet> {
        let length = self.family().delegated_prefix_length();
        IpNet::new(self.address(index * self.block_size), length).ok()
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}
