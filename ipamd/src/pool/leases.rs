//! Which pod has which address, and which addresses rest after a pod had them.
//!
//! An address that was given back cools: others may still send to the pod that had it.
//! Ordered by address, so that a question about a range costs what is in the range.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::attachment::AttachmentKey;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) key: AttachmentKey,
    /// The pod (`namespace/name`) where one is known, else the attachment.
    pub(crate) pod: String,
}

/// Which addresses that cool an ADD may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cautious {
    /// None.
    Yes,
    /// Those that cool only because a reboot may have taken their pods: nothing else is
    /// left for an ADD that waits.
    No,
}

/// An address that nobody may have for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cooling {
    until: Instant,
    /// Only a caution after a reboot.
    caution: bool,
}

/// The node's addresses that are not simply free.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leased: BTreeMap<IpAddr, Holder>,
    cooling: BTreeMap<IpAddr, Cooling>,
}

impl Leases {
    /// An attachment has these addresses from now on.
    pub(super) fn give(&mut self, holder: &Holder, addresses: &[IpAddr]) {
        for address in addresses {
            self.cooling.remove(address);
            self.leased.insert(*address, holder.clone());
        }
    }

    /// Takes addresses back from an attachment; those of others stay theirs. They cool
    /// where a time is given. Tells which the attachment had.
    pub(super) fn take_back(
        &mut self,
        key: &AttachmentKey,
        addresses: &[IpAddr],
        cools_until: Option<Instant>,
    ) -> Vec<IpAddr> {
        let mut taken = Vec::with_capacity(addresses.len());
        for address in addresses {
            if self.leased.get(address).is_none_or(|one| one.key != *key) {
                continue;
            }
            self.leased.remove(address);
            if let Some(until) = cools_until {
                let caution = false;
                self.cooling.insert(*address, Cooling { until, caution });
            }
            taken.push(*address);
        }
        taken
    }

    /// As a caution after a reboot, an address that nobody has cools until then.
    pub(super) fn cool_as_a_caution(&mut self, address: IpAddr, until: Instant) {
        if !self.leased.contains_key(&address) {
            let caution = true;
            let cooling = Cooling { until, caution };
            self.cooling.entry(address).or_insert(cooling);
        }
    }

    /// Ends what has cooled long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        self.cooling.retain(|_, cooling| cooling.until > now);
    }

    /// Whether nobody has an address and it does not cool.
    pub(super) fn is_free(&self, address: IpAddr, now: Instant, cautious: Cautious) -> bool {
        let cools = self.cooling.get(&address).is_some_and(|cooling| {
            cooling.until > now && !(cooling.caution && cautious == Cautious::No)
        });
        !cools && !self.leased.contains_key(&address)
    }

    /// Whether an attachment has an address.
    pub(super) fn is_leased(&self, address: IpAddr) -> bool {
        self.leased.contains_key(&address)
    }

    /// Whether an attachment has an address, or it cools.
    pub(super) fn is_taken(&self, address: IpAddr) -> bool {
        self.is_leased(address) || self.cooling.contains_key(&address)
    }

    /// How many addresses of a range attachments have.
    pub(super) fn leased_in(&self, range: &IpNet) -> u32 {
        count(self.leased.range(range.network()..=range.broadcast()))
    }

    /// How many addresses of a range cool now.
    pub(super) fn cooling_in(&self, range: &IpNet, now: Instant) -> u32 {
        let inside = self.cooling.range(range.network()..=range.broadcast());
        count(inside.filter(|(_, cooling)| cooling.until > now))
    }

    /// Whether an attachment has an address of a range, or one cools.
    pub(super) fn uses(&self, range: &IpNet) -> bool {
        let inside = range.network()..=range.broadcast();
        let mut cooling = self.cooling.range(inside.clone());
        self.leased.range(inside).next().is_some() || cooling.next().is_some()
    }

    /// Who has the addresses of a range, in their order.
    pub(super) fn holders_in(&self, range: &IpNet) -> impl Iterator<Item = (&IpAddr, &Holder)> {
        self.leased.range(range.network()..=range.broadcast())
    }

    /// Addresses of a range that attachments have or that cool, in their order.
    pub(super) fn taken_in(&self, range: &IpNet) -> Vec<IpAddr> {
        let inside = range.network()..=range.broadcast();
        let leased = self
            .leased
            .range(inside.clone())
            .map(|(address, _)| address);
        let cooling = self.cooling.range(inside).map(|(address, _)| address);
        let taken: BTreeSet<&IpAddr> = leased.chain(cooling).collect();
        taken.into_iter().copied().collect()
    }

    /// Who has an address.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Holder> {
        self.leased.get(&address)
    }

    /// Until when an address cools.
    pub(super) fn cools_until(&self, address: IpAddr) -> Option<Instant> {
        self.cooling.get(&address).map(|cooling| cooling.until)
    }

    /// All addresses that attachments have, in their order, and who has them.
    pub(super) fn holders(&self) -> impl Iterator<Item = (IpAddr, &Holder)> {
        self.leased
            .iter()
            .map(|(address, holder)| (*address, holder))
    }

    /// All addresses that attachments have, in their order.
    pub(super) fn leased(&self) -> impl Iterator<Item = IpAddr> {
        self.leased.keys().copied()
    }

    /// The pods that have addresses, in words: once for each address.
    pub(super) fn pods(&self) -> impl Iterator<Item = &str> {
        self.leased.values().map(|holder| holder.pod.as_str())
    }

    /// When something will have cooled.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.cooling.values().map(|cooling| cooling.until).min()
    }

    /// How many attachments, those of `waiting` included, are more than one of their
    /// container: a pod with two interfaces needs two addresses and is one pod.
    pub(super) fn further_attachments<'a>(
        &'a self,
        waiting: impl Iterator<Item = &'a AttachmentKey>,
    ) -> u32 {
        let leased = self.leased.values().map(|holder| &holder.key);
        let all: Vec<&AttachmentKey> = leased.chain(waiting).collect();
        // A container has one first interface. This is asked after every ADD, and on most
        // nodes no pod has another.
        let beside = all.iter().filter(|key| !key.is_first_interface());
        let containers: BTreeSet<&str> = beside.map(|key| key.container_id.as_str()).collect();
        if containers.is_empty() {
            return 0;
        }
        let theirs = all.into_iter();
        let theirs: BTreeSet<&AttachmentKey> = theirs
            .filter(|key| containers.contains(key.container_id.as_str()))
            .collect();
        u32::try_from(theirs.len() - containers.len()).unwrap_or(u32::MAX)
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn holder(container: &str) -> Holder {
        Holder {
            key: AttachmentKey {
                network: "veni".to_owned(),
                container_id: container.to_owned(),
                interface_name: "eth0".to_owned(),
            },
            pod: container.to_owned(),
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_that_was_returned_cools_and_is_free_again() {
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        let mut leases = Leases::default();
        let (a, b) = (holder("a"), holder("b"));
        leases.give(&a, &[address(1), address(2)]);
        assert!(leases.take_back(&b.key, &[address(1)], None).is_empty());
        assert!(leases.is_leased(address(1)), "it is another's");
        let taken = leases.take_back(&a.key, &[address(1)], Some(until));
        assert_eq!(taken, [address(1)]);
        let range = "10.0.0.0/28".parse().expect("a range");
        assert_eq!(
            (leases.leased_in(&range), leases.cooling_in(&range, now)),
            (1, 1)
        );
        assert_eq!(leases.taken_in(&range), [address(1), address(2)]);
        assert!(!leases.is_free(address(1), now, Cautious::No));
        assert_eq!(leases.next_end(), Some(until));
        leases.expire(until);
        assert!(leases.is_free(address(1), until, Cautious::Yes));
    }

    #[test]
    fn what_cools_as_a_caution_is_for_those_who_wait() {
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        let mut leases = Leases::default();
        leases.give(&holder("a"), &[address(1)]);
        leases.cool_as_a_caution(address(1), until);
        leases.cool_as_a_caution(address(2), until);
        assert_eq!(leases.cools_until(address(1)), None, "a pod has it");
        assert!(!leases.is_free(address(2), now, Cautious::Yes));
        assert!(leases.is_free(address(2), now, Cautious::No));
    }
}
