//! What inventories lack although the node holds it: left alone while it is in
//! doubt, dropped when two inventories agree and no pod has it, and said.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::plan::slot_name;
use veni_provider::{Interface, InterfaceId};

use super::merge::{Merge, index_of_rules};
use super::pick::count_in;
use super::presence::{Lack, Patience, Presence};
use super::state::{Held, Holder, PoolState};
use super::task::PoolTask;
use crate::endpoints::Record;
use crate::events::EventKind;

/// A pod's address that the cloud does not give the node any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) address: IpAddr,
    pub(crate) pod: String,
    pub(crate) interface: InterfaceId,
}

impl PoolState {
    /// How long inventories take to be believed.
    fn patience(&self) -> Patience {
        let settle = self.capabilities.settle_time;
        Patience {
            settle,
            distance: self.doubt_time.max(2 * settle),
        }
    }

    /// Whether anything is in doubt: what a refusal means is not known then.
    pub(super) fn has_doubts(&self) -> bool {
        let mut interfaces = self.interfaces.values();
        !self.unlisted.is_empty()
            || interfaces.any(|one| {
                let mut held = one.held.values();
                one.presence.is_in_doubt() || held.any(|held| held.presence.is_in_doubt())
            })
    }

    /// The cloud has given these to an interface, so no other has them any more.
    pub(super) fn moved_to(&mut self, id: &InterfaceId, cidrs: &[IpNet]) {
        let others = self.interfaces.iter_mut().filter(|(other, _)| *other != id);
        for (_, other) in others {
            other.held.retain(|cidr, _| !cidrs.contains(cidr));
        }
    }

    fn pods_in(&self, cidr: &IpNet) -> impl Iterator<Item = (&IpAddr, &Holder)> {
        self.leases.range(cidr.network()..=cidr.broadcast())
    }

    /// Judges the ranges of an interface by what an inventory describes of it.
    pub(super) fn judge_held(
        &mut self,
        id: &InterfaceId,
        described: &[IpNet],
        began: Instant,
        merge: &mut Merge,
    ) {
        let patience = self.patience();
        let Some(interface) = self.interfaces.get_mut(id) else {
            return;
        };
        let (mut doubted, mut back, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        interface.held.retain(|cidr, held| {
            if described.contains(cidr) {
                back.extend(held.presence.listed().map(|_| *cidr));
                return true;
            }
            if described.iter().any(|other| other.contains(cidr)) {
                // A pod's address whose prefix was not known.
                return false;
            }
            if held.releasing && began >= held.since + patience.settle {
                return false;
            }
            match held.presence.lacked(held.since, began, patience) {
                Lack::TooYoung(tells) => merge.doubt(tells),
                Lack::InDoubt { news, look_again } => {
                    merge.doubt(look_again);
                    doubted.extend(news.then_some(*cidr));
                }
                Lack::Gone { news } => gone.extend(news.then_some(*cidr)),
            }
            true
        });
        if let Some(what) = several(&doubted) {
            merge
                .doubted
                .push(in_doubt(&format!("{what} of {id}"), patience));
        }
        if let Some(what) = several(&back) {
            merge.listed_again.push(again(&format!("{what} of {id}")));
        }
        for cidr in gone {
            self.note_lost(id, &cidr, merge);
        }
    }

    /// Judges the interfaces that an inventory does not describe.
    pub(super) fn judge_interfaces(
        &mut self,
        described: &[Interface],
        began: Instant,
        merge: &mut Merge,
    ) {
        let patience = self.patience();
        let mut gone = Vec::new();
        for (id, interface) in &mut self.interfaces {
            if described.iter().any(|other| other.id == *id) {
                if interface.presence.listed().is_some() {
                    merge.listed_again.push(again(&format!("interface {id}")));
                }
                continue;
            }
            if interface.detaching {
                continue;
            }
            match interface.presence.lacked(interface.since, began, patience) {
                Lack::TooYoung(tells) => merge.doubt(tells),
                Lack::InDoubt { news, look_again } => {
                    merge.doubt(look_again);
                    let text = in_doubt(&format!("interface {id}"), patience);
                    merge.doubted.extend(news.then_some(text));
                }
                Lack::Gone { news } => gone.extend(news.then(|| id.clone())),
            }
        }
        for id in gone {
            let held = self.interfaces.get(&id).map(|one| &one.held);
            let cidrs: Vec<IpNet> = held.into_iter().flatten().map(|(cidr, _)| *cidr).collect();
            for cidr in cidrs {
                self.note_lost(&id, &cidr, merge);
            }
        }
    }

    fn note_lost(&self, id: &InterfaceId, cidr: &IpNet, merge: &mut Merge) {
        let lost = self.pods_in(cidr).map(|(address, holder)| Lost {
            address: *address,
            pod: holder.pod.clone(),
            interface: id.clone(),
        });
        merge.lost.extend(lost);
    }

    /// Drops what two inventories lack, but for what pods have: their rules stand
    /// until they end, or until another interface is described with what they have.
    pub(super) fn drop_gone(&mut self, listed: &BTreeSet<IpNet>) -> Dropped {
        let mut dropped = Dropped::default();
        let leases = &self.leases;
        let used = |cidr: &IpNet| count_in(leases, cidr, |_| true) > 0 && !listed.contains(cidr);
        self.interfaces.retain(|id, interface| {
            let departs = interface.presence.is_gone();
            interface.held.retain(|cidr, held| {
                let keep = !(held.presence.is_gone() || departs) || used(cidr);
                if !keep && !departs {
                    dropped.changes.push(format!("{cidr} on {id} is gone"));
                }
                keep
            });
            if departs && interface.held.is_empty() {
                dropped.changes.push(format!("interface {id} is gone"));
                dropped.unplugged.extend(index_of_rules(&interface.cloud));
                return false;
            }
            true
        });
        dropped
    }

    /// Notes where a pod's first address is that no interface is known to hold.
    pub(super) fn note_unlisted(&mut self, record: &Record) {
        let Some(address) = record.addresses().first().copied() else {
            return;
        };
        if !record.cloud_interface.is_empty() {
            let interface = InterfaceId::new(record.cloud_interface.clone());
            self.unlisted.insert(address, interface);
        }
    }

    /// Has the interfaces hold what pods have of them although no inventory has
    /// listed it yet, so that a rule stands for it.
    pub(super) fn place_unlisted(&mut self, now: Instant) {
        let interfaces = &mut self.interfaces;
        self.unlisted.retain(|address, id| {
            let held = interfaces.values().flat_map(|one| one.held.keys());
            if held.into_iter().any(|cidr| cidr.contains(address)) {
                return false;
            }
            let Some(interface) = interfaces.get_mut(id) else {
                return true;
            };
            let held = Held {
                presence: Presence::in_doubt_since(now),
                ..Held::new(now)
            };
            interface.held.insert(IpNet::from(*address), held);
            false
        });
    }

    /// What is in doubt or gone, in words for operators.
    pub(super) fn missing(&self, now: Instant) -> Vec<String> {
        let mut texts = Vec::new();
        let verdict = |presence: &Presence| match presence.is_gone() {
            true => "two inventories lack it",
            false => "in doubt, and not given to pods, until a second inventory tells",
        };
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        for (id, interface) in &self.interfaces {
            if let Some(since) = interface.presence.lacking_since() {
                let (for_s, verdict) = (seconds(since), verdict(&interface.presence));
                let text = format!("the cloud does not list interface {id}, since {for_s} s");
                texts.push(format!("{text}: {verdict}"));
                continue;
            }
            let lacking = interface.held.iter().filter_map(|(cidr, held)| {
                Some((cidr, held.presence, held.presence.lacking_since()?))
            });
            for (cidr, presence, since) in lacking {
                let (for_s, verdict) = (seconds(since), verdict(&presence));
                let mut text = format!(
                    "the cloud does not list {} on {id}, since {for_s} s: {verdict}",
                    slot_name(cidr)
                );
                let pods: Vec<&str> = self
                    .pods_in(cidr)
                    .map(|(_, pod)| pod.pod.as_str())
                    .collect();
                if !pods.is_empty() {
                    text = format!("{text}; in use by {}", pods.join(", "));
                }
                texts.push(text);
            }
        }
        for (address, id) in &self.unlisted {
            let text = format!(
                "the cloud does not list interface {id}, by which {address} of a pod leaves"
            );
            texts.push(text);
        }
        texts
    }
}

/// What was dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// In words.
    pub(super) changes: Vec<String>,
    /// Device indexes of interfaces of the default network card that went: their rules
    /// must go too.
    pub(super) unplugged: Vec<u32>,
}

impl PoolTask {
    /// Drops what two inventories lack and pods have had until now.
    pub(super) fn drop_gone(&mut self) {
        let dropped = self.state.drop_gone(&BTreeSet::new());
        self.tell_dropped(&dropped);
    }

    pub(super) fn tell_dropped(&mut self, dropped: &Dropped) {
        for device_index in &dropped.unplugged {
            self.unwire(*device_index);
        }
        let Some(first) = dropped.changes.first() else {
            return;
        };
        for change in &dropped.changes {
            tracing::info!(change, "dropped: two inventories lack it");
        }
        let count = dropped.changes.len();
        let text = format!("inventory: {count} dropped ({first})");
        self.tell(EventKind::Cloud, text);
    }

    /// Tells what an inventory has put in doubt, and what it has settled.
    pub(super) fn tell_doubts(&mut self, merge: &Merge) {
        for text in &merge.doubted {
            tracing::warn!("{text}");
            self.tell(EventKind::Cloud, text.clone());
        }
        for text in &merge.listed_again {
            tracing::info!("{text}");
            self.tell(EventKind::Cloud, text.clone());
        }
        for Lost {
            address,
            pod,
            interface,
        } in &merge.lost
        {
            tracing::error!(%address, pod, %interface, "a pod uses an address that the cloud no longer gives this node");
            self.metrics.address_lost();
            let text = format!(
                "{address} on {interface} is in use by {pod}, but the cloud took it away: two inventories lack it; \
                 its rule stays until the pod has gone, so replace the pod"
            );
            self.tell(EventKind::Repair, text);
        }
    }
}

/// What an interface has whatever a description lacks: instance metadata may not
/// list it for a moment.
pub(super) fn keep_what_an_interface_always_has(described: &mut Interface, known: &Interface) {
    let v4 = |addresses: &[IpAddr]| addresses.iter().any(IpAddr::is_ipv4);
    let v6 = |addresses: &[IpAddr]| addresses.iter().any(IpAddr::is_ipv6);
    for has in [v4 as fn(&[IpAddr]) -> bool, v6] {
        if has(&known.own_addresses) && !has(&described.own_addresses) {
            let kept = known.own_addresses.iter().filter(|one| has(&[**one]));
            described.own_addresses.extend(kept);
        }
        if has(&known.gateways) && !has(&described.gateways) {
            let kept = known.gateways.iter().filter(|one| has(&[**one]));
            described.gateways.extend(kept);
        }
    }
    if described.subnet_cidrs.is_empty() {
        described.subnet_cidrs.clone_from(&known.subnet_cidrs);
    }
}

fn in_doubt(what: &str, patience: Patience) -> String {
    let seconds = patience.distance.as_secs();
    format!(
        "inventory: {what}: not listed; in doubt until a second one tells in {seconds} s: it keeps its rules \
         and its place, and no other pod gets it"
    )
}

fn again(what: &str) -> String {
    format!("inventory: {what}: listed again, in doubt no more")
}

/// The first of some ranges, and how many more there are.
fn several(cidrs: &[IpNet]) -> Option<String> {
    let first = slot_name(cidrs.first()?);
    Some(match cidrs.len() {
        1 => first,
        count => format!("{first} and {} more", count - 1),
    })
}
