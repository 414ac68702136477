//! A subnet's free space.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tokio::time::Instant;

/// Azure reserves the first four addresses of a subnet and its last.
/// <https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq>
pub(crate) const RESERVED: u32 = 5;
/// The length of a block.
pub(crate) const BLOCK: u8 = 28;

/// A subnet with what is taken of it.
#[derive(Debug)]
pub(crate) struct Subnet {
    pub(crate) name: String,
    pub(crate) range: Ipv4Net,
    /// What is taken, and from when on it is not any more.
    taken: BTreeMap<Ipv4Addr, Option<Instant>>,
}

impl Subnet {
    pub(crate) fn new(name: &str, range: Ipv4Net) -> Self {
        Self {
            name: name.to_owned(),
            range: range.trunc(),
            taken: BTreeMap::new(),
        }
    }

    /// How many addresses it has for resources.
    pub(crate) fn size(&self) -> u32 {
        let all = 1_u32.checked_shl(u32::from(32 - self.range.prefix_len()));
        all.unwrap_or(u32::MAX).saturating_sub(RESERVED)
    }

    pub(crate) fn used(&self, now: Instant) -> u32 {
        let used = self.taken.values().filter(|free| is_taken(**free, now));
        u32::try_from(used.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn free(&self, now: Instant) -> u32 {
        self.size().saturating_sub(self.used(now))
    }

    fn is_free(&self, address: Ipv4Addr, now: Instant) -> bool {
        let offset = address
            .to_bits()
            .wrapping_sub(self.range.network().to_bits());
        let reserved = offset < RESERVED - 1 || address == self.range.broadcast();
        let taken = self.taken.get(&address);
        self.range.contains(&address) && !reserved && taken.is_none_or(|free| !is_taken(*free, now))
    }

    /// The lowest free address, taken.
    pub(crate) fn take_one(&mut self, now: Instant) -> Option<Ipv4Net> {
        let first = self.range.network().to_bits();
        let last = self.range.broadcast().to_bits();
        let all = (first..=last).map(Ipv4Addr::from_bits);
        let address = all.into_iter().find(|one| self.is_free(*one, now))?;
        self.taken.insert(address, None);
        Some(Ipv4Net::new_assert(address, 32))
    }

    /// The lowest block of 16 free addresses that is aligned, taken.
    pub(crate) fn take_block(&mut self, now: Instant) -> Option<Ipv4Net> {
        if self.range.prefix_len() > BLOCK {
            return None;
        }
        let mut blocks = self.range.subnets(BLOCK).ok()?;
        let block = blocks.find(|one| addresses(one).all(|one| self.is_free(one, now)))?;
        self.taken.extend(addresses(&block).map(|one| (one, None)));
        Some(block)
    }

    /// This very address, taken, if it is free.
    pub(crate) fn take_this(&mut self, address: Ipv4Addr, now: Instant) -> Option<Ipv4Net> {
        let free = self.is_free(address, now);
        free.then(|| {
            self.taken.insert(address, None);
            Ipv4Net::new_assert(address, 32)
        })
    }

    /// Takes the lowest free addresses until so many are left.
    pub(crate) fn fill(&mut self, leave_free: u32, now: Instant) {
        let excess = self.free(now).saturating_sub(leave_free);
        let free = addresses(&self.range).filter(|one| self.is_free(*one, now));
        let lowest: Vec<Ipv4Addr> = free.take(excess as usize).collect();
        self.taken.extend(lowest.into_iter().map(|one| (one, None)));
    }

    /// Gives a range back; it is free from `when` on.
    pub(crate) fn give_back(&mut self, range: &Ipv4Net, when: Instant) {
        for address in addresses(range) {
            self.taken.insert(address, Some(when));
        }
    }
}

fn is_taken(free: Option<Instant>, now: Instant) -> bool {
    free.is_none_or(|when| now < when)
}

/// All addresses of a range, the first and the last as well.
pub(crate) fn addresses(range: &Ipv4Net) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
    (first..=last).map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(range: &str) -> Subnet {
        Subnet::new("subnet", range.parse().expect("a range"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_four_addresses_and_the_last_are_never_given_out() {
        let (mut subnet, now) = (subnet("10.0.0.0/29"), Instant::now());
        assert_eq!(subnet.size(), 3);
        let given: Vec<String> = std::iter::from_fn(|| subnet.take_one(now))
            .map(|one| one.addr().to_string())
            .collect();
        assert_eq!(given, ["10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(subnet.free(now), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_taken_address_spoils_its_block_and_no_other() {
        let (mut subnet, now) = (subnet("10.0.0.0/26"), Instant::now());
        let spoilt = "10.0.0.20".parse().expect("an address");
        assert!(subnet.take_this(spoilt, now).is_some());
        let block = subnet.take_block(now).expect("the third block is free");
        assert_eq!(block.to_string(), "10.0.0.32/28");
        // The first and the last block hold reserved addresses.
        assert_eq!(subnet.take_block(now), None);
        assert_eq!(subnet.free(now), 64 - 5 - 17);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_free_only_when_its_time_has_come() {
        let (mut subnet, now) = (subnet("10.0.0.0/29"), Instant::now());
        let one = subnet.take_one(now).expect("is free");
        let later = now + std::time::Duration::from_secs(5);
        subnet.give_back(&one, later);
        assert_eq!((subnet.free(now), subnet.free(later)), (2, 3));
        assert_eq!(subnet.take_this(one.addr(), now), None);
        assert_eq!(subnet.take_this(one.addr(), later), Some(one));
    }
}
