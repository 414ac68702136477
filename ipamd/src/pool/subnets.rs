//! The subnets that the node may take addresses from, and which of them the cloud has
//! called full.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use veni_nouns::{Family, SlotKind, SubnetId};
use veni_provider::{Scarcity, Subnet};

/// A subnet that had nothing to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exhaustion {
    /// When the cloud last said so.
    since: Instant,
    /// With fewer free addresses than this the same would be refused again.
    least: u32,
    /// Until then it is not asked for addresses.
    pub(super) addresses_until: Option<Instant>,
    /// Until then it is not asked for prefixes.
    pub(super) prefixes_until: Option<Instant>,
    /// The cloud's own words.
    pub(super) reason: String,
}

/// What a refusal was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) subnet: SubnetId,
    pub(super) family: Family,
    pub(super) scarcity: Scarcity,
    /// With fewer free addresses than this the same would be refused again.
    pub(super) least: u32,
    /// The cloud's own words.
    pub(super) reason: String,
}

/// The subnets as the cloud last told of them.
#[derive(Debug, Default)]
pub(crate) struct Subnets {
    list: Vec<Subnet>,
    /// When the inventory began that told of them.
    as_of: Option<Instant>,
    exhausted: BTreeMap<(SubnetId, Family), Exhaustion>,
}

impl Subnets {
    /// Takes in what an inventory tells that began at a time.
    pub(super) fn set(&mut self, list: Vec<Subnet>, began: Instant) {
        self.list = list;
        self.as_of = Some(began);
    }

    /// The subnets, best first.
    pub(super) fn list(&self) -> &[Subnet] {
        &self.list
    }

    /// When the inventory began that told of them.
    pub(super) fn as_of(&self) -> Option<Instant> {
        self.as_of
    }

    /// Whether an inventory has told of a subnet.
    pub(super) fn knows(&self, id: &SubnetId) -> bool {
        self.list.iter().any(|known| known.id == *id)
    }

    /// What is known of a subnet's lack.
    pub(super) fn exhaustion(&self, id: &SubnetId, family: Family) -> Option<&Exhaustion> {
        self.exhausted.get(&(id.clone(), family))
    }

    /// The cloud refused the smallest request that there is: the subnet is left alone
    /// until then.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Instant, until: Instant) {
        let key = (refusal.subnet, refusal.family);
        let entry = self.exhausted.entry(key).or_insert_with(|| Exhaustion {
            since: now,
            least: 0,
            addresses_until: None,
            prefixes_until: None,
            reason: String::new(),
        });
        entry.since = now;
        entry.least = refusal.least;
        entry.reason = refusal.reason;
        match refusal.scarcity {
            Scarcity::Addresses => entry.addresses_until = Some(until),
            Scarcity::Prefixes => entry.prefixes_until = Some(until),
        }
    }

    /// The cloud gives all or nothing, and refused a request for several: what it last
    /// told of free addresses was old, and the next plan asks for one.
    pub(super) fn has_less(&mut self, id: &SubnetId, scarcity: Scarcity) {
        let at_most = match scarcity {
            Scarcity::Addresses => 0,
            Scarcity::Prefixes => SlotKind::Prefix.capacity(Family::V4),
        };
        for known in self.list.iter_mut().filter(|known| known.id == *id) {
            known.free_ipv4 = known.free_ipv4.min(at_most);
        }
    }

    /// Ends the lack of subnets that an inventory shows with enough free addresses, if it
    /// began late enough to know of the refusal.
    pub(super) fn find_room(&mut self, began: Instant, settle: Duration) {
        for ((id, family), exhaustion) in &mut self.exhausted {
            let mut subnets = self.list.iter();
            let roomy =
                subnets.any(|subnet| subnet.id == *id && subnet.free_ipv4 >= exhaustion.least);
            if roomy && *family == Family::V4 && began >= exhaustion.since + settle {
                exhaustion.addresses_until = None;
            }
        }
    }

    /// Ends what is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let over = |until: Option<Instant>| until.filter(|until| *until > now);
        self.exhausted.retain(|_, exhaustion| {
            exhaustion.addresses_until = over(exhaustion.addresses_until);
            exhaustion.prefixes_until = over(exhaustion.prefixes_until);
            exhaustion.addresses_until.is_some() || exhaustion.prefixes_until.is_some()
        });
    }

    /// Why subnets are left alone, in the cloud's own words.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.exhausted.values().map(|one| one.reason.as_str())
    }

    /// When the cloud last refused addresses of a subnet that is still left alone.
    pub(super) fn last_refusal(&self) -> Option<Instant> {
        let full = self.exhausted.values();
        let full = full.filter(|one| one.addresses_until.is_some());
        full.map(|one| one.since).max()
    }

    /// When the first of them is asked again.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let all = self.exhausted.values();
        all.flat_map(|one| [one.addresses_until, one.prefixes_until])
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn subnets(free: u32, began: Instant) -> Subnets {
        let mut subnets = Subnets::default();
        subnets.set(told(free), began);
        subnets
    }

    fn told(free_ipv4: u32) -> Vec<Subnet> {
        vec![Subnet {
            id: SubnetId::new("subnet-a"),
            cidrs: Vec::new(),
            free_ipv4,
            usable: true,
        }]
    }

    fn refusal(family: Family, scarcity: Scarcity) -> Refusal {
        Refusal {
            subnet: SubnetId::new("subnet-a"),
            family,
            scarcity,
            least: 2,
            reason: "full".to_owned(),
        }
    }

    #[test]
    fn a_full_subnet_is_left_alone_until_its_time_is_over() {
        let now = Instant::now();
        let mut subnets = subnets(9, now);
        let until = now + 60 * SECOND;
        subnets.refused(refusal(Family::V4, Scarcity::Addresses), now, until);
        assert_eq!(subnets.next_end(), Some(until));
        assert_eq!(subnets.last_refusal(), Some(now));
        assert_eq!(subnets.reasons().collect::<Vec<_>>(), ["full"]);
        subnets.expire(until - SECOND);
        assert!(
            subnets
                .exhaustion(&SubnetId::new("subnet-a"), Family::V4)
                .is_some()
        );
        subnets.expire(until);
        assert!(
            subnets
                .exhaustion(&SubnetId::new("subnet-a"), Family::V4)
                .is_none()
        );
        assert_eq!(subnets.last_refusal(), None);
    }

    #[test]
    fn room_is_found_only_by_an_inventory_that_can_know_of_the_refusal() {
        let now = Instant::now();
        let mut subnets = subnets(0, now);
        let until = now + 600 * SECOND;
        subnets.refused(refusal(Family::V4, Scarcity::Addresses), now, until);
        subnets.refused(refusal(Family::V6, Scarcity::Addresses), now, until);
        let early = now + 4 * SECOND;
        subnets.set(told(2), early);
        subnets.find_room(early, 5 * SECOND);
        assert_eq!(subnets.last_refusal(), Some(now), "too early to know");
        let late = now + 5 * SECOND;
        subnets.set(told(1), late);
        subnets.find_room(late, 5 * SECOND);
        subnets.expire(late);
        assert!(
            subnets
                .exhaustion(&SubnetId::new("subnet-a"), Family::V4)
                .is_some()
        );
        subnets.set(told(2), late);
        subnets.find_room(late, 5 * SECOND);
        subnets.expire(late);
        assert!(
            subnets
                .exhaustion(&SubnetId::new("subnet-a"), Family::V4)
                .is_none()
        );
        let v6 = subnets.exhaustion(&SubnetId::new("subnet-a"), Family::V6);
        assert!(v6.is_some(), "free IPv4 addresses tell nothing of IPv6");
    }

    #[test]
    fn after_a_refusal_of_several_the_subnet_counts_as_having_at_most_one() {
        let now = Instant::now();
        let mut subnets = subnets(100, now);
        subnets.has_less(&SubnetId::new("subnet-a"), Scarcity::Prefixes);
        assert_eq!(subnets.list()[0].free_ipv4, 16);
        subnets.has_less(&SubnetId::new("subnet-a"), Scarcity::Addresses);
        assert_eq!(subnets.list()[0].free_ipv4, 0);
    }
}
