//! Node-local addresses: which of them are some endpoint's, and which is next.
//!
//! Pure. Every node has the same range, so no cloud is asked and nothing is kept but
//! the endpoints' own records. An address is given back when its endpoint is forgotten,
//! which is after its cooldown; of those that are free, the one that has rested
//! longest comes next.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether the endpoint of a record lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Its pod uses the address.
    Lives,
    /// Its entry is left while the address cools.
    Dying,
}

/// The addresses of one range.
#[derive(Debug)]
pub(super) struct NodeLocal {
    range: IpNet,
    /// Id of the record that has it.
    taken: BTreeMap<IpAddr, String>,
    /// Position in the range that is tried first.
    next: u32,
}

impl NodeLocal {
    /// All of a range but its first and last address, which stand for the network and
    /// for everybody on it. None is taken.
    pub(super) fn new(range: IpNet) -> Self {
        Self {
            range,
            taken: BTreeMap::new(),
            next: 1,
        }
    }

    /// How many addresses there are, taken or not.
    pub(super) fn size(&self) -> u32 {
        let bits = self.range.max_prefix_len() - self.range.prefix_len();
        2_u32.checked_pow(bits.into()).unwrap_or(u32::MAX) - 2
    }

    /// The range.
    pub(super) fn range(&self) -> IpNet {
        self.range
    }

    /// Takes the next free address for a record; `None` when there is none.
    pub(super) fn take(&mut self, record: &str) -> Option<IpAddr> {
        let size = self.size();
        let positions = (0..size).map(|step| (self.next - 1 + step) % size + 1);
        let mut candidates = positions.map(|position| (position, at(self.range, position)));
        let (position, address) =
            candidates.find(|(_, address)| !self.taken.contains_key(address))?;
        self.next = position % size + 1;
        self.taken.insert(address, record.to_owned());
        Some(address)
    }

    /// Takes an address that a record has already. What is left in the journal of the
    /// dead must not take it from the living, so of two the one that lives has it.
    pub(super) fn keep(&mut self, address: IpAddr, record: &str, life: Life) {
        if life == Life::Lives || !self.taken.contains_key(&address) {
            self.taken.insert(address, record.to_owned());
        }
    }

    /// Makes an address free, if it is this record's.
    pub(super) fn free(&mut self, address: IpAddr, record: &str) {
        if self
            .taken
            .get(&address)
            .is_some_and(|owner| owner == record)
        {
            self.taken.remove(&address);
        }
    }
}

fn at(range: IpNet, position: u32) -> IpAddr {
    match range {
        IpNet::V4(range) => Ipv4Addr::from_bits(range.network().to_bits() + position).into(),
        IpNet::V6(range) => {
            Ipv6Addr::from_bits(range.network().to_bits() + u128::from(position)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veni_dataplane::plan::{EGRESS_V4, EGRESS_V6};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_address_but_the_first_and_the_last_is_given_once() {
        for (range, first, last) in [
            (IpNet::from(EGRESS_V4), "169.254.172.1", "169.254.175.254"),
            (IpNet::from(EGRESS_V6), "fd00::ac:1", "fd00::ac:3fe"),
        ] {
            let mut all = NodeLocal::new(range);
            let given: Vec<IpAddr> = std::iter::from_fn(|| all.take("a")).collect();
            assert_eq!(given.len(), 1022);
            assert_eq!(given.len(), all.size() as usize);
            assert_eq!(given[0], address(first));
            assert_eq!(given[1021], address(last));
            assert_eq!(
                given
                    .iter()
                    .collect::<std::collections::BTreeSet<_>>()
                    .len(),
                1022
            );
        }
    }

    #[test]
    fn an_address_that_was_freed_comes_after_those_that_have_rested_longer() {
        let mut all = NodeLocal::new(EGRESS_V4.into());
        let one = all.take("a").expect("free");
        all.free(one, "a");
        let following: Vec<IpAddr> = (0..1021).filter_map(|_| all.take("a")).collect();
        assert!(!following.contains(&one));
        assert_eq!(all.take("a"), Some(one));
        assert_eq!(all.take("a"), None);
    }

    #[test]
    fn what_endpoints_have_already_is_passed_over() {
        let mut all = NodeLocal::new(EGRESS_V6.into());
        all.keep(address("fd00::ac:1"), "a", Life::Lives);
        all.keep(address("fd00::ac:3"), "b", Life::Dying);
        // One of another setting's time is no trouble.
        all.keep(address("169.254.172.1"), "c", Life::Lives);
        assert_eq!(all.take("a"), Some(address("fd00::ac:2")));
        assert_eq!(all.take("a"), Some(address("fd00::ac:4")));
    }

    #[test]
    fn what_is_left_of_the_dead_frees_no_address_of_the_living() {
        let one = address("169.254.172.1");
        let (living, dead) = (("living", Life::Lives), ("dead", Life::Dying));
        for order in [[dead, living], [living, dead]] {
            let mut all = NodeLocal::new(EGRESS_V4.into());
            for (record, life) in order {
                all.keep(one, record, life);
            }
            all.free(one, "dead");
            assert_ne!(all.take("next"), Some(one));
            all.free(one, "living");
            assert!((0..1022).any(|_| all.take("next") == Some(one)));
        }
    }
}
