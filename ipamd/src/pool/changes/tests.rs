//! Changes of a pool of one interface, by answers that the tests give.

use std::collections::BTreeMap;

use tempfile::TempDir;
use veni_nouns::SlotKind;
use veni_provider::{Grant, Scarcity};

use super::*;
use crate::journal::{Folder, Journal, PendingRelease};
use crate::pool::refresh::Intervals;
use crate::pool::routing_tables::{FoundTables, RoutingTables};
use crate::pool::testing::{SETTLE, holdings, interface};

const SECOND: Duration = Duration::from_secs(1);

struct Bed {
    _folder: TempDir,
    journal: Journal,
    holdings: Holdings,
    refresh: InventoryRefresh,
    setup: InterfaceSetup,
    changes: Changes,
    now: Instant,
}

fn bed() -> Bed {
    let folder = tempfile::tempdir().expect("temp folder");
    let journal = Journal::new(folder.path(), "boot-1");
    let tables = RoutingTables::new(journal.clone(), FoundTables::default());
    let releases = Releases::resume(journal.clone(), BTreeMap::new());
    let retries = Retries {
        denied: 10 * SECOND,
        subnet: 60 * SECOND,
    };
    let intervals = Intervals {
        inventory: None,
        local_view: 30 * SECOND,
    };
    let now = Instant::now();
    Bed {
        _folder: folder,
        journal,
        holdings: holdings(),
        refresh: InventoryRefresh::new(intervals, (now, true), None),
        setup: InterfaceSetup::new(tables, 1500),
        changes: Changes::new(releases, retries),
        now,
    }
}

impl Bed {
    fn begin(&mut self, action: Action) -> Option<(Change, Call)> {
        let change = Change {
            family: Family::V4,
            action,
            cause: Cause::Repeated,
        };
        let call = self
            .changes
            .begin(&change, &mut self.holdings, &self.setup)?;
        Some((change, call))
    }

    fn answer(&mut self, change: &Change, answer: Answer) -> Vec<String> {
        let (holdings, refresh) = (&mut self.holdings, &mut self.refresh);
        self.changes
            .answered(change, answer, holdings, refresh, self.now)
    }

    fn written(&self) -> usize {
        let entries = self.journal.peek::<PendingRelease>(Folder::Releases);
        entries.expect("reads").len()
    }

    /// Makes the range Veni's own, so that it may go back.
    fn own(&mut self) {
        let record = self.holdings.origins.on(&interface().id)(&range());
        assert_eq!(record, crate::journal::Origin::Found);
        let slots = AddressSlots::new(Family::V4, SlotKind::Address, 1);
        let origins = &mut self.holdings.origins;
        origins.assigning(&interface().id, slots);
        origins.assigned(&interface().id, slots, &[range()]);
    }
}

fn range() -> IpNet {
    "10.0.0.9/32".parse().expect("a range")
}

fn assign() -> Action {
    Action::Assign {
        interface: interface().id,
        kind: SlotKind::Address,
        count: 1,
    }
}

fn release() -> Action {
    Action::Release {
        interface: interface().id,
        cidrs: vec![range()],
    }
}

fn error(class: ErrorClass) -> ProviderError {
    ProviderError::new(class, "call", "no")
}

fn assigned(result: Result<Grant, ProviderError>) -> Answer {
    Answer::Assigned {
        interface: interface().id,
        slots: AddressSlots::new(Family::V4, SlotKind::Address, 1),
        result,
    }
}

fn released(result: Result<(), ProviderError>) -> Answer {
    Answer::Released {
        interface: interface().id,
        ranges: vec![range()],
        result,
    }
}

#[test]
fn a_change_is_in_flight_until_it_is_answered_and_its_interface_takes_no_other() {
    let mut bed = bed();
    let (change, _) = bed.begin(assign()).expect("begins");
    assert_eq!(bed.changes.in_flight(Family::V4).len(), 1);
    assert!(bed.changes.in_flight(Family::V6).is_empty());
    assert!(bed.begin(assign()).is_none(), "one at a time");
    let grant = Grant {
        addresses: vec!["10.0.0.10".parse().expect("an address")],
        prefixes: Vec::new(),
    };
    let news = bed.answer(&change, assigned(Ok(grant)));
    assert_eq!(news, ["eni-1: 1 address assigned"]);
    assert!(bed.changes.in_flight(Family::V4).is_empty());
    assert_eq!(bed.holdings.ranges().len(), 2);
}

#[test]
fn a_change_without_an_answer_is_in_flight_until_a_young_inventory_tells() {
    let mut bed = bed();
    let (change, _) = bed.begin(assign()).expect("begins");
    bed.answer(&change, assigned(Err(error(ErrorClass::OutcomeUnknown))));
    assert_eq!(bed.changes.in_flight(Family::V4).len(), 1);
    let (holdings, refresh) = (&mut bed.holdings, &mut bed.refresh);
    bed.changes
        .inventory_came(bed.now + SECOND, holdings, refresh);
    assert_eq!(bed.changes.in_flight(Family::V4).len(), 1, "it is too old");
    bed.changes
        .inventory_came(bed.now + 60 * SECOND, holdings, refresh);
    assert!(bed.changes.in_flight(Family::V4).is_empty());
}

#[test]
fn a_release_is_written_down_before_the_call_and_taken_back_when_it_is_refused() {
    let mut bed = bed();
    assert!(
        bed.begin(release()).is_none(),
        "others may have assigned it"
    );
    bed.own();
    let (change, call) = bed.begin(release()).expect("begins");
    assert!(matches!(call, Call::Release { .. }));
    assert_eq!(bed.written(), 1);
    let held = |bed: &Bed| bed.holdings.interfaces[&interface().id].held[&range()];
    assert!(held(&bed).releasing);
    bed.answer(&change, released(Err(error(ErrorClass::Denied))));
    assert_eq!(bed.written(), 0);
    assert!(!held(&bed).releasing);
    assert!(bed.changes.error().is_some());
    assert!(bed.changes.next_end() > Some(bed.now));
}

#[test]
fn a_release_whose_answer_was_lost_is_made_again_when_the_cloud_shows_it_undone() {
    let mut bed = bed();
    bed.own();
    let (change, _) = bed.begin(release()).expect("begins");
    bed.answer(&change, released(Err(error(ErrorClass::OutcomeUnknown))));
    let findings = Findings {
        still_held: BTreeMap::from([(interface().id, vec![range()])]),
        ..Findings::default()
    };
    let repeated = |bed: &Bed| {
        let changes = bed.changes.to_repeat(&findings, &bed.holdings, bed.now);
        changes
            .into_iter()
            .map(|change| change.action)
            .collect::<Vec<_>>()
    };
    assert!(repeated(&bed).is_empty(), "no inventory has told");
    let (holdings, refresh) = (&mut bed.holdings, &mut bed.refresh);
    bed.changes
        .inventory_came(bed.now + 60 * SECOND, holdings, refresh);
    assert_eq!(repeated(&bed), [release()]);
}

#[test]
fn a_full_subnet_is_left_alone_and_an_inventory_comes_when_several_were_refused() {
    let mut bed = bed();
    let subnet = interface().subnet;
    let told = veni_provider::Subnet {
        id: subnet.clone(),
        cidrs: Vec::new(),
        free_ipv4: 100,
        usable: true,
    };
    bed.holdings.subnets.set(vec![told], bed.now);
    let full = || {
        error(ErrorClass::Exhausted {
            subnet: interface().subnet,
            scarcity: Scarcity::Addresses,
        })
    };
    let several = Action::Assign {
        interface: interface().id,
        kind: SlotKind::Address,
        count: 9,
    };
    let (change, _) = bed.begin(several).expect("begins");
    bed.answer(&change, assigned(Err(full())));
    assert_eq!(bed.holdings.subnets.list()[0].free_ipv4, 0);
    assert!(bed.refresh.begin_if_due(bed.now + SETTLE));
    let (change, _) = bed.begin(assign()).expect("begins");
    bed.answer(&change, assigned(Err(full())));
    let exhaustion = bed.holdings.subnets.exhaustion(&subnet, Family::V4);
    assert!(exhaustion.is_some_and(|one| one.addresses_until > Some(bed.now)));
}
