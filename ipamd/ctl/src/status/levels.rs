//! How many addresses an interface and the pool have, by family. A node with both
//! families shows IPv4, because that runs out. An IPv6 prefix is shown as `/80` and not
//! as a number, because nobody counts its addresses.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use veni_api::v1::{PoolInterface, PoolPrefix, PoolResponse};

/// IPv6 prefixes of this length or a shorter one are shown as their length: a /80 is one.
const UNCOUNTED: u8 = 112;

/// Addresses of a family, by state. An IPv6 prefix counts as 65,536 at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) free: u32,
    pub(super) assigned: u32,
    pub(super) cooling: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.free = self.free.saturating_add(other.free);
        self.assigned = self.assigned.saturating_add(other.assigned);
        self.cooling = self.cooling.saturating_add(other.cooling);
    }
}

/// The addresses of an interface, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) ipv4: Counts,
    pub(super) ipv6: Counts,
    has_ipv4: bool,
    /// Those of [`Levels::ipv6`] that are in prefixes too large to count.
    uncounted: Counts,
    /// The number of such prefixes, by length.
    words: BTreeMap<u8, u32>,
}

impl Levels {
    /// Of an interface: single addresses and those in prefixes.
    pub(super) fn of(interface: &PoolInterface) -> Self {
        let mut levels = Self::default();
        for one in &interface.addresses {
            let mut counts = Counts::default();
            match one.state.as_str() {
                "free" => counts.free = 1,
                "assigned" => counts.assigned = 1,
                "cooling" => counts.cooling = 1,
                _ => {}
            }
            *levels.family(&one.address) += counts;
        }
        for prefix in &interface.prefixes {
            levels.add_prefix(prefix);
        }
        levels
    }

    /// Of all interfaces that serve pods.
    fn of_pool(pool: &PoolResponse) -> Self {
        let serving = pool.interfaces.iter().filter(|one| one.state == "attached");
        let mut sum = Self::default();
        for one in serving.map(Self::of) {
            sum.ipv4 += one.ipv4;
            sum.ipv6 += one.ipv6;
            sum.has_ipv4 |= one.has_ipv4;
            sum.uncounted += one.uncounted;
            for (length, count) in one.words {
                *sum.words.entry(length).or_default() += count;
            }
        }
        sum
    }

    fn add_prefix(&mut self, one: &PoolPrefix) {
        let counts = Counts {
            free: one.free,
            assigned: one.assigned,
            cooling: one.cooling,
        };
        *self.family(&one.prefix) += counts;
        let length = one.prefix.rsplit_once('/');
        let length = length.and_then(|(_, length)| length.parse().ok());
        if let Some(length) = length.filter(|length| is_ipv6(&one.prefix) && *length <= UNCOUNTED) {
            self.uncounted += counts;
            *self.words.entry(length).or_default() += 1;
        }
    }

    fn family(&mut self, address: &str) -> &mut Counts {
        if is_ipv6(address) {
            &mut self.ipv6
        } else {
            self.has_ipv4 = true;
            &mut self.ipv4
        }
    }

    /// The counts to show: those of IPv4 if the pool has any.
    pub(super) fn shown(&self, ipv4: bool) -> Counts {
        if ipv4 { self.ipv4 } else { self.ipv6 }
    }

    /// What is free, as `31 + /80`.
    pub(super) fn free(&self, ipv4: bool) -> String {
        if ipv4 {
            self.in_words(Some(self.ipv4.free))
        } else {
            let counted = self.ipv6.free.saturating_sub(self.uncounted.free);
            self.in_words(self.number(counted))
        }
    }

    /// Leaves the number out if there are only prefixes to show.
    fn number(&self, counted: u32) -> Option<u32> {
        Some(counted).filter(|counted| *counted > 0 || self.words.is_empty())
    }

    fn in_words(&self, number: Option<u32>) -> String {
        let words = self.words.iter().map(|(length, count)| match count {
            1 => format!("/{length}"),
            several => format!("{several} × /{length}"),
        });
        let number = number.map(|number| number.to_string());
        number
            .into_iter()
            .chain(words)
            .collect::<Vec<_>>()
            .join(" + ")
    }
}

fn is_ipv6(text: &str) -> bool {
    text.contains(':')
}

/// The pool's levels as they are shown.
pub(crate) struct PoolLevels {
    /// `31 + /80`.
    pub(crate) free: String,
    /// What pods could have in all.
    pub(crate) total: String,
    /// Whether IPv4 is what is counted.
    pub(super) ipv4: bool,
    /// By family, of the interfaces that serve pods.
    pub(super) levels: Levels,
}

impl PoolLevels {
    pub(crate) fn of(pool: &PoolResponse) -> Self {
        let levels = Levels::of_pool(pool);
        let ipv4 = levels.has_ipv4 || levels.words.is_empty();
        // The daemon counts its first family. If that is IPv6, these are prefixes.
        let counted = |all: u32, uncounted: u32| {
            if ipv4 {
                Some(all)
            } else {
                levels.number(all.saturating_sub(uncounted))
            }
        };
        let Counts {
            free,
            assigned,
            cooling,
        } = levels.uncounted;
        let free = levels.in_words(counted(pool.free, free));
        let inside = levels.uncounted.free + assigned + cooling;
        let total = levels.in_words(counted(pool.total, inside));
        Self {
            free,
            total,
            ipv4,
            levels,
        }
    }
}

#[cfg(test)]
mod tests {
    use veni_api::v1::PoolAddress;

    use super::*;

    fn prefix(prefix: &str, free: u32, assigned: u32, cooling: u32) -> PoolPrefix {
        PoolPrefix {
            prefix: prefix.to_owned(),
            free,
            assigned,
            cooling,
            ..PoolPrefix::default()
        }
    }

    fn address(address: &str, state: &str) -> PoolAddress {
        PoolAddress {
            address: address.to_owned(),
            state: state.to_owned(),
            ..PoolAddress::default()
        }
    }

    fn pool(prefixes: Vec<PoolPrefix>, addresses: Vec<PoolAddress>) -> PoolResponse {
        PoolResponse {
            interfaces: vec![PoolInterface {
                state: "attached".to_owned(),
                addresses,
                prefixes,
                ..PoolInterface::default()
            }],
            ..PoolResponse::default()
        }
    }

    #[test]
    fn single_addresses_and_those_in_prefixes_are_counted_together() {
        let addresses = vec![address("10.0.0.5", "free"), address("10.0.0.6", "assigned")];
        let pool = pool(vec![prefix("10.0.1.0/28", 15, 0, 1)], addresses);
        let levels = Levels::of(&pool.interfaces[0]);
        let Counts {
            free,
            assigned,
            cooling,
        } = levels.shown(true);
        assert_eq!((free, assigned, cooling), (16, 1, 1));
        assert_eq!(levels.free(true), "16");
    }

    #[test]
    fn with_both_families_ipv4_is_counted_and_a_prefix_of_ipv6_is_a_word() {
        let prefixes = vec![
            prefix("10.0.1.0/28", 13, 1, 2),
            prefix("fd00::1:0:0:0/80", 65_533, 1, 2),
        ];
        let mut pool = pool(prefixes, Vec::new());
        (pool.free, pool.total) = (13, 16);
        let levels = Levels::of(&pool.interfaces[0]);
        assert_eq!(levels.free(true), "13 + /80");
        let shown = levels.shown(true);
        assert_eq!((shown.assigned, shown.cooling), (1, 2));
        assert_eq!(levels.ipv6.free, 65_533);
        let of_pool = PoolLevels::of(&pool);
        assert!(of_pool.ipv4);
        assert_eq!(of_pool.free, "13 + /80");
        assert_eq!(of_pool.total, "16 + /80");
    }

    #[test]
    fn with_ipv6_alone_its_pods_are_counted_and_its_prefixes_are_words() {
        let prefixes = vec![
            prefix("fd00::1:0:0:0/80", 65_533, 1, 2),
            prefix("fd00::2:0:0:0/80", 65_536, 0, 0),
        ];
        let mut pool = pool(prefixes, Vec::new());
        (pool.free, pool.total) = (131_069, 131_072);
        let of_pool = PoolLevels::of(&pool);
        assert!(!of_pool.ipv4);
        assert_eq!(of_pool.free, "2 × /80");
        assert_eq!(of_pool.total, "2 × /80");
        assert_eq!(Levels::of(&pool.interfaces[0]).free(false), "2 × /80");
        assert_eq!(of_pool.levels.shown(false).assigned, 1);
    }

    #[test]
    fn an_empty_pool_has_nothing_free() {
        let of_pool = PoolLevels::of(&PoolResponse::default());
        assert_eq!((of_pool.free.as_str(), of_pool.total.as_str()), ("0", "0"));
    }
}
