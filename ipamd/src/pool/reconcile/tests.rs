//! What an inventory means for a pool of one interface with 10.0.0.9.

use std::collections::BTreeMap;

use tempfile::TempDir;
use veni_nouns::{Family, SubnetId};
use veni_provider::AddressSlots;

use super::*;
use crate::journal::Journal;
use crate::pool::testing::{SETTLE, holdings, interface};

const SECOND: Duration = Duration::from_secs(1);

struct Pool {
    _folder: TempDir,
    holdings: Holdings,
    releases: Releases,
    start: Instant,
}

fn pool() -> Pool {
    let folder = tempfile::tempdir().expect("temp folder");
    let journal = Journal::new(folder.path(), "boot-1");
    Pool {
        _folder: folder,
        holdings: holdings(),
        releases: Releases::resume(journal, BTreeMap::new()),
        start: Instant::now(),
    }
}

impl Pool {
    /// What an inventory means that began and came some seconds after the start.
    fn after(&self, seconds: u32, interfaces: Vec<Interface>) -> Findings {
        let at = self.start + seconds * SECOND;
        let inventory = Inventory {
            interfaces,
            subnets: Vec::new(),
        };
        reconcile(&self.holdings, &self.releases, &inventory, (at, at))
    }
}

fn range(text: &str) -> IpNet {
    text.parse().expect("a range")
}

fn with(addresses: &[&str]) -> Interface {
    let addresses = addresses.iter().map(|text| text.parse());
    Interface {
        addresses: addresses.map(|one| one.expect("an address")).collect(),
        ..interface()
    }
}

fn second(addresses: &[&str]) -> Interface {
    Interface {
        id: InterfaceId::new("eni-2"),
        device_index: 1,
        primary: false,
        subnet: SubnetId::new("subnet-b"),
        ..with(addresses)
    }
}

fn described(interface: Interface) -> Finding {
    Finding::InterfaceDescribed(without_ranges(interface))
}

#[test]
fn what_is_known_leads_to_nothing_but_a_new_description() {
    let pool = pool();
    let findings = pool.after(600, vec![with(&["10.0.0.9"])]);
    assert_eq!(findings.list, [described(interface())]);
    assert_eq!(findings.look_again, None);
    assert_eq!(findings.listed, BTreeSet::from([range("10.0.0.9/32")]));
}

#[test]
fn new_interfaces_and_ranges_are_found_in_the_order_of_the_inventory() {
    let pool = pool();
    let both = vec![with(&["10.0.0.9", "10.0.0.10"]), second(&["10.0.0.20"])];
    let found = |id: &str, text| Finding::RangeFound {
        id: InterfaceId::new(id),
        range: range(text),
        releasing: false,
    };
    let expected = [
        described(interface()),
        found("eni-1", "10.0.0.10/32"),
        Finding::InterfaceFound {
            interface: without_ranges(second(&[])),
            detaching: false,
        },
        found("eni-2", "10.0.0.20/32"),
    ];
    assert_eq!(pool.after(600, both).list, expected);
}

#[test]
fn what_an_inventory_lacks_is_in_doubt_or_too_young_and_never_ended() {
    let pool = pool();
    let young = pool.after(60, vec![with(&[])]);
    let lack = |findings: &Findings| match &findings.list[..] {
        [_, Finding::RangeLacking { lack, .. }] => *lack,
        other => panic!("{other:?}"),
    };
    assert!(matches!(lack(&young), Lack::TooYoung(_)));
    let late = pool.after(600, vec![with(&[])]);
    assert!(matches!(lack(&late), Lack::InDoubt { news: true, .. }));
    let at = pool.start + 720 * SECOND;
    assert_eq!(late.look_again, Some(at), "two minutes later");
}

#[test]
fn an_interface_that_is_not_listed_is_judged_whole() {
    let pool = pool();
    let findings = pool.after(600, Vec::new());
    assert!(
        matches!(
            &findings.list[..],
            [Finding::InterfaceLacking {
                lack: Lack::InDoubt { .. },
                ..
            }]
        ),
        "{findings:?}"
    );
}

#[test]
fn a_range_that_another_interface_holds_is_not_taken_from_it() {
    let pool = pool();
    // The range has moved, or the inventory is from in between.
    let findings = pool.after(600, vec![with(&["10.0.0.9"]), second(&["10.0.0.9"])]);
    let found = |one: &&Finding| matches!(one, Finding::RangeFound { .. });
    assert_eq!(findings.list.iter().filter(found).count(), 0);
    let soon = pool.start + 600 * SECOND + SETTLE;
    assert_eq!(findings.look_again, Some(soon));
}

#[test]
fn what_was_released_stays_away_while_an_older_inventory_lists_it() {
    let mut pool = pool();
    let released = [range("10.0.0.9/32")];
    pool.releases.begin(&released, None).expect("writes");
    pool.releases.done(&released, None, pool.start);
    pool.holdings.remove_ranges(&interface().id, &released);
    let findings = pool.after(299, vec![with(&["10.0.0.9"])]);
    assert_eq!(findings.list, [described(interface())]);
    assert!(findings.still_held.is_empty(), "the cloud has answered");
    assert!(findings.look_again.is_some());
}

#[test]
fn a_release_without_an_answer_is_to_be_repeated_whether_it_is_listed_or_not() {
    let mut pool = pool();
    let released = [range("10.0.0.9/32")];
    pool.releases.begin(&released, None).expect("writes");
    pool.holdings
        .set_releasing(&interface().id, &released, true);
    pool.releases.lost(&released, None, pool.start);
    let listed = pool.after(10, vec![with(&["10.0.0.9"])]);
    let still_held = BTreeMap::from([(interface().id, released.to_vec())]);
    assert_eq!(listed.still_held, still_held);
    let unlisted = pool.after(10, vec![with(&[])]);
    assert_eq!(
        unlisted.still_held, still_held,
        "it may be from before the grant"
    );
    assert_eq!(
        unlisted.list,
        [described(interface())],
        "it keeps its place"
    );
}

/// A range that was given back, and that inventories list as long as any may lag.
fn listed_for_long(pool: &mut Pool) -> Findings {
    let released = [range("10.0.0.9/32")];
    pool.releases.begin(&released, None).expect("writes");
    pool.releases.done(&released, None, pool.start);
    pool.holdings.remove_ranges(&interface().id, &released);
    let first = pool.after(10, vec![with(&["10.0.0.9"])]);
    pool.releases.judged(&first.releases);
    pool.after(300, vec![with(&["10.0.0.9"])])
}

#[test]
fn what_was_given_back_and_is_listed_for_long_is_somebody_elses() {
    let mut pool = pool();
    let findings = listed_for_long(&mut pool);
    let found = Finding::RangeFound {
        id: interface().id,
        range: range("10.0.0.9/32"),
        releasing: false,
    };
    assert_eq!(findings.list, [described(interface()), found]);
    let assigned_since = [(interface().id, range("10.0.0.9/32"))];
    assert_eq!(findings.assigned_since, assigned_since);
}

#[test]
fn what_an_unanswered_call_has_brought_again_is_given_back_once_more() {
    let mut pool = pool();
    let slots = AddressSlots::Addresses {
        family: Family::V4,
        count: 1,
    };
    let origins = &mut pool.holdings.origins;
    origins.assigning(&interface().id, slots);
    origins.lost(&interface().id, slots, pool.start);
    let findings = listed_for_long(&mut pool);
    let found = Finding::RangeFound {
        id: interface().id,
        range: range("10.0.0.9/32"),
        releasing: true,
    };
    assert_eq!(findings.list, [described(interface()), found]);
    let came_again = [(interface().id, range("10.0.0.9/32"))];
    assert_eq!(findings.came_again, came_again);
    let still_held = BTreeMap::from([(interface().id, vec![range("10.0.0.9/32")])]);
    assert_eq!(findings.still_held, still_held);
}

#[test]
fn what_metadata_lacks_for_a_moment_stays_as_it_was() {
    let mut pool = pool();
    let known = pool.holdings.interfaces.values_mut().next();
    let known = known.expect("one interface");
    known.cloud.gateways = vec!["10.0.0.1".parse().expect("an address")];
    known.cloud.subnet_cidrs = vec![range("10.0.0.0/24")];
    let expected = known.cloud.clone();
    let mut told = with(&["10.0.0.9"]);
    told.own_addresses.clear();
    let findings = pool.after(600, vec![told]);
    assert_eq!(findings.list, [Finding::InterfaceDescribed(expected)]);
}
