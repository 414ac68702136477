//! What an inventory means for a pool of one interface with 10.0.0.9.

use std::collections::BTreeMap;

use tempfile::TempDir;
use veni_nouns::SubnetId;

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
    let findings = pool.after(600, vec![with(&["10.0.0.9"])]);
    assert_eq!(findings.list, [described(interface())]);
    assert!(findings.still_held.is_empty(), "the cloud has answered");
    assert!(findings.look_again.is_some());
}

#[test]
fn a_release_without_an_answer_is_to_be_repeated_while_it_is_listed() {
    let mut pool = pool();
    let released = [range("10.0.0.9/32")];
    pool.releases.begin(&released, None).expect("writes");
    pool.holdings
        .set_releasing(&interface().id, &released, true);
    pool.releases.lost(&released, None, pool.start);
    let listed = pool.after(10, vec![with(&["10.0.0.9"])]);
    let still_held = BTreeMap::from([(interface().id, released.to_vec())]);
    assert_eq!(listed.still_held, still_held);
    let gone = pool.after(10, vec![with(&[])]);
    assert!(gone.still_held.is_empty());
    assert_eq!(gone.releases.ranges[0].verdict, Verdict::Gone);
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
