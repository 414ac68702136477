//! What the pool believes of the node, for who compares it with the kernel, with the
//! endpoints and with the cloud. Plain data; to ask for it changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_dataplane::InterfacePlan;
use veni_pool::Action;
use veni_provider::{InterfaceId, Inventory, Mac};

use super::changes::Changes;
use super::holdings::Holdings;
use super::interface::PoolInterface;
use super::interface_setup::InterfaceSetup;
use super::reconcile::{Finding, reconcile};
use super::releases::Releases;
use crate::attachment::AttachmentKey;

/// The link of an interface that was just attached takes one or two seconds to appear.
const LINK_APPEARS: Duration = Duration::from_secs(5);

/// What the pool believes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beliefs {
    /// The interfaces that Veni manages and that stay.
    pub(crate) interfaces: Vec<BelievedInterface>,
    /// Routing tables that belong to an interface, or that are being freed.
    pub(crate) tables: BTreeSet<u32>,
    /// Who has which address.
    pub(crate) leases: Vec<(IpAddr, AttachmentKey)>,
    /// What an operator should do about the pool's addresses on links of the node itself, a
    /// sentence for each link.
    pub(crate) carried: Vec<String>,
    /// Where the inventory that was asked about differs.
    pub(crate) cloud: Vec<CloudDifference>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BelievedInterface {
    pub(crate) id: InterfaceId,
    pub(crate) mac: Mac,
    /// What the data plane was told to make of it.
    pub(crate) plan: InterfacePlan,
    /// That was done, and nothing is being changed.
    pub(crate) settled: bool,
    /// Its link may not have appeared yet.
    pub(crate) young: bool,
}

/// One difference between the cloud's inventory and the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloudDifference {
    /// The cloud lists an interface that the pool does not know.
    UnknownInterface(InterfaceId),
    /// The cloud lacks an interface of the pool.
    LackingInterface(InterfaceId),
    /// The cloud lists an address or a prefix that the pool does not know.
    UnknownRange {
        interface: InterfaceId,
        range: IpNet,
    },
    /// The cloud lacks an address or a prefix that the pool holds.
    LackingRange {
        interface: InterfaceId,
        range: IpNet,
        /// Pods that have addresses of it.
        pods: Vec<String>,
    },
    /// The cloud describes the interface's own addresses or next hops otherwise.
    DescribedOtherwise(InterfaceId),
}

/// What the beliefs are made of.
pub(super) struct Sources<'a> {
    pub(super) holdings: &'a Holdings,
    pub(super) setup: &'a InterfaceSetup,
    pub(super) changes: &'a Changes,
}

/// What the pool believes `now`, beside an inventory that was asked for at its time.
pub(super) fn beliefs(
    sources: &Sources<'_>,
    inventory: Option<&(Instant, Inventory)>,
    now: Instant,
) -> Beliefs {
    let (holdings, setup) = (sources.holdings, sources.setup);
    let interfaces = holdings.interfaces.values();
    let believed = interfaces.filter_map(|interface| {
        let stays = interface.cloud.managed && !interface.detaching;
        let plan = setup.plan_of(interface, holdings).filter(|_| stays)?;
        Some(believed(interface, plan, setup, holdings, now))
    });
    let leases = holdings.leases.holders();
    Beliefs {
        interfaces: believed.collect(),
        tables: setup.tables(),
        leases: leases
            .map(|(address, holder)| (address, holder.key.clone()))
            .collect(),
        carried: holdings.node_addresses.warnings(),
        cloud: inventory.map_or_else(Vec::new, |(began, inventory)| {
            let releases = sources.changes.releases();
            let changing = Changing::of(sources.changes);
            differences(holdings, releases, &changing, inventory, (*began, now))
        }),
    }
}

fn believed(
    interface: &PoolInterface,
    plan: InterfacePlan,
    setup: &InterfaceSetup,
    holdings: &Holdings,
    now: Instant,
) -> BelievedInterface {
    let id = &interface.cloud.id;
    let sources = interface.sources(holdings.capabilities.source_routing);
    BelievedInterface {
        id: id.clone(),
        mac: interface.cloud.mac,
        plan,
        settled: interface.link.is_some() && interface.routed == sources && !setup.is_trying(id),
        young: now < interface.since + LINK_APPEARS,
    }
}

/// What changes of the cloud are under way: an inventory may show their half.
#[derive(Debug, Default)]
struct Changing {
    interfaces: BTreeSet<InterfaceId>,
    attaching: bool,
}

impl Changing {
    fn of(changes: &Changes) -> Self {
        let mut changing = Self::default();
        let running = changes.running().iter().map(|change| &change.action);
        let unanswered = changes.unanswered().iter().map(|one| &one.action);
        for action in running.chain(unanswered) {
            match action {
                Action::Assign { interface, .. }
                | Action::Release { interface, .. }
                | Action::Detach { interface } => {
                    changing.interfaces.insert(interface.clone());
                }
                Action::Attach { .. } => changing.attaching = true,
            }
        }
        changing
    }
}

/// What the pool would make of an inventory, as far as it is a difference that has lasted.
fn differences(
    holdings: &Holdings,
    releases: &Releases,
    changing: &Changing,
    inventory: &Inventory,
    (began, now): (Instant, Instant),
) -> Vec<CloudDifference> {
    let findings = reconcile(holdings, releases, inventory, (began, now));
    let settle = holdings.capabilities.settle_time;
    let old = |since: Instant| began >= since + settle;
    let known = |id: &InterfaceId| holdings.interfaces.get(id);
    let steady = findings
        .list
        .into_iter()
        .filter(|one| !changing.interfaces.contains(one.interface()));
    steady
        .filter_map(|finding| match finding {
            Finding::InterfaceFound {
                interface,
                detaching: false,
            } if !changing.attaching => Some(CloudDifference::UnknownInterface(interface.id)),
            Finding::InterfaceLacking { id, .. } => known(&id)
                .is_some_and(|known| old(known.since))
                .then_some(CloudDifference::LackingInterface(id)),
            Finding::InterfaceDescribed(described) => {
                let known = known(&described.id)?;
                let same = same_set(&known.cloud.own_addresses, &described.own_addresses)
                    && same_set(&known.cloud.gateways, &described.gateways);
                (!same).then_some(CloudDifference::DescribedOtherwise(described.id))
            }
            Finding::RangeFound {
                id,
                range,
                releasing: false,
            } => Some(CloudDifference::UnknownRange {
                interface: id,
                range,
            }),
            Finding::RangeLacking { id, range, .. } | Finding::RangeEnded { id, range } => {
                let held = known(&id)?.held.get(&range)?;
                let holders = holdings.leases.holders_in(&range);
                (old(held.since) && !held.releasing).then(|| CloudDifference::LackingRange {
                    interface: id,
                    range,
                    pods: holders.map(|(_, holder)| holder.pod.clone()).collect(),
                })
            }
            _ => None,
        })
        .collect()
}

fn same_set(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.iter().collect::<BTreeSet<_>>() == other.iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use veni_provider::Interface;

    use super::*;
    use crate::journal::Journal;
    use crate::pool::testing::{SETTLE, holdings, interface};

    /// What differs in an inventory of these interfaces, after so long.
    fn after(
        elapsed: Duration,
        changing: &Changing,
        interfaces: Vec<Interface>,
    ) -> Vec<CloudDifference> {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let releases = Releases::resume(journal, BTreeMap::new());
        let holdings = holdings();
        let at = Instant::now() + elapsed;
        let subnets = Vec::new();
        let inventory = Inventory {
            interfaces,
            subnets,
        };
        differences(&holdings, &releases, changing, &inventory, (at, at))
    }

    fn with(addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|text| text.parse());
        Interface {
            addresses: addresses.map(|one| one.expect("an address")).collect(),
            ..interface()
        }
    }

    fn nothing() -> Changing {
        Changing::default()
    }

    const LATER: Duration = SETTLE;

    #[test]
    fn an_inventory_that_agrees_is_no_difference() {
        assert_eq!(after(LATER, &nothing(), vec![interface()]), []);
    }

    #[test]
    fn what_either_side_lacks_is_a_difference() {
        let id = InterfaceId::new("eni-1");
        let range = |text: &str| text.parse::<IpNet>().expect("a range");
        let other = Interface {
            id: InterfaceId::new("eni-2"),
            primary: false,
            ..with(&[])
        };
        for (described, expected) in [
            (
                vec![with(&[])],
                CloudDifference::LackingRange {
                    interface: id.clone(),
                    range: range("10.0.0.9/32"),
                    pods: Vec::new(),
                },
            ),
            (
                vec![with(&["10.0.0.9", "10.0.0.8"])],
                CloudDifference::UnknownRange {
                    interface: id.clone(),
                    range: range("10.0.0.8/32"),
                },
            ),
            (vec![], CloudDifference::LackingInterface(id.clone())),
            (
                vec![interface(), other.clone()],
                CloudDifference::UnknownInterface(other.id.clone()),
            ),
            (
                vec![Interface {
                    own_addresses: vec!["10.0.0.5".parse().expect("an address")],
                    ..interface()
                }],
                CloudDifference::DescribedOtherwise(id.clone()),
            ),
        ] {
            assert_eq!(after(LATER, &nothing(), described), [expected]);
        }
    }

    #[test]
    fn what_is_too_young_or_being_changed_is_no_difference_yet() {
        assert_eq!(after(LATER / 2, &nothing(), vec![with(&[])]), []);
        let mut changing = nothing();
        changing.interfaces.insert(InterfaceId::new("eni-1"));
        assert_eq!(after(LATER, &changing, vec![with(&[])]), []);
        changing.interfaces.clear();
        changing.attaching = true;
        let other = Interface {
            id: InterfaceId::new("eni-2"),
            ..with(&[])
        };
        assert_eq!(after(LATER, &changing, vec![interface(), other]), []);
    }
}
