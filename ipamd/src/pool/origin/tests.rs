//! Origins by a clock that the tests turn.

use veni_provider::{Mac, SubnetId};

use super::*;

const ONE: AddressSlots = AddressSlots::Addresses {
    family: Family::V4,
    count: 1,
};
const LATER: Duration = Duration::from_secs(3600);

fn range(text: &str) -> IpNet {
    text.parse().expect("a range")
}

fn single(last: u8) -> IpNet {
    range(&format!("10.0.0.{last}/32"))
}

fn id(text: &str) -> InterfaceId {
    InterfaceId::new(text)
}

/// The primary interface `eni-0`, or one that was made for pods.
fn interface(name: &str, held: &[IpNet]) -> Interface {
    let (addresses, prefixes): (Vec<IpNet>, Vec<IpNet>) =
        held.iter().partition(|cidr| cidr.prefix_len() == 32);
    Interface {
        id: id(name),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        device_index: u32::from(name != "eni-0"),
        network_card: 0,
        primary: name == "eni-0",
        managed: true,
        made_for_pods: name != "eni-0",
        for_pods: true,
        state: InterfaceState::Attached,
        subnet: SubnetId::new("subnet-a"),
        subnet_cidrs: Vec::new(),
        gateways: Vec::new(),
        own_addresses: Vec::new(),
        addresses: addresses.iter().map(IpNet::addr).collect(),
        prefixes,
    }
}

fn see(origins: &mut Origins, now: Instant, interfaces: &[Interface]) -> Vec<String> {
    let context = Context {
        now,
        provisioning: true,
        own_alone: false,
        released: &|_| false,
        held: &|_, _| false,
    };
    let told = origins.seen(interfaces, &context);
    origins.end_calls(now);
    told
}

/// A daemon that has known for long an empty primary interface and an empty one of
/// its own.
fn settled() -> (Origins, Instant) {
    let began = Instant::now();
    let mut origins = Origins::new("i-1", None, began);
    see(
        &mut origins,
        began,
        &[interface("eni-0", &[]), interface("eni-1", &[])],
    );
    (origins, began + LATER)
}

/// What the next daemon starts with.
fn restarted(origins: &mut Origins, now: Instant, this_boot: bool) -> Origins {
    origins.changed = true;
    let written = origins.take_changed().expect("it has changed");
    let record = match this_boot {
        true => written,
        false => written.settled(),
    };
    let text = serde_json::to_string(&record).expect("text");
    let record = serde_json::from_str(&text).expect("a record");
    Origins::new("i-1", Some(Recalled { record, this_boot }), now)
}

#[test]
fn without_a_record_the_primary_interfaces_ranges_are_kept_and_those_made_for_pods_are_ours() {
    let now = Instant::now();
    let mut origins = Origins::new("i-1", None, now);
    let found = [single(1), range("10.0.0.16/28")];
    let told = see(
        &mut origins,
        now,
        &[interface("eni-0", &found), interface("eni-1", &found)],
    );
    assert_eq!(told, Vec::<String>::new());
    for cidr in &found {
        assert_eq!(origins.of(&id("eni-0"), cidr), Origin::Found);
        assert_eq!(origins.of(&id("eni-1"), cidr), Origin::Veni);
    }
    assert!(origins.may_detach(&id("eni-1")));
    assert!(!origins.may_detach(&id("eni-0")));
    assert!(!origins.may_detach(&id("eni-9")), "nobody knows it");
}

#[test]
fn what_comes_without_a_call_of_ours_is_somebody_elses_for_good_and_told_once() {
    let (mut origins, now) = settled();
    let both = [
        interface("eni-0", &[single(1)]),
        interface("eni-1", &[single(2)]),
    ];
    let told = see(&mut origins, now, &both);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("10.0.0.1/32 on eni-0"), "{told:?}");
    assert_eq!(see(&mut origins, now, &both), Vec::<String>::new());
    for this_boot in [true, false] {
        let mut next = restarted(&mut origins, now, this_boot);
        see(&mut next, now, &both);
        assert_eq!(next.of(&id("eni-0"), &single(1)), Origin::Others);
        assert_eq!(next.of(&id("eni-1"), &single(2)), Origin::Others);
        assert!(!next.may_detach(&id("eni-1")));
    }
}

#[test]
fn what_we_assigned_is_ours_over_restarts_until_the_cloud_agrees_that_it_is_gone() {
    let (mut origins, now) = settled();
    let eni = id("eni-0");
    origins.assigning(&eni, ONE);
    origins.assigned(&eni, ONE, &[single(1)]);
    for this_boot in [true, false] {
        let mut next = restarted(&mut origins, now, this_boot);
        see(&mut next, now, &[interface("eni-0", &[single(1)])]);
        assert_eq!(next.of(&eni, &single(1)), Origin::Veni);
    }
    origins.released(&[single(1)]);
    see(&mut origins, now, &[interface("eni-0", &[single(1)])]);
    assert_eq!(origins.of(&eni, &single(1)), Origin::Others, "put back");
}

#[test]
fn what_a_lost_or_cut_call_brought_is_ours_as_much_as_it_asked_for() {
    for cut in [false, true] {
        let (mut origins, now) = settled();
        let eni = id("eni-0");
        origins.assigning(&eni, ONE);
        if cut {
            origins = restarted(&mut origins, now, true);
        } else {
            origins.lost(&eni, ONE, now);
        }
        see(&mut origins, now, &[interface("eni-0", &[])]);
        let one = [interface("eni-0", &[single(1)])];
        see(&mut origins, now + Duration::from_secs(90), &one);
        assert_eq!(origins.of(&eni, &single(1)), Origin::Veni, "cut: {cut}");
        let more = [interface("eni-0", &[single(1), single(2)])];
        see(&mut origins, now + Duration::from_secs(91), &more);
        assert_eq!(origins.of(&eni, &single(2)), Origin::Others, "cut: {cut}");
    }
}

#[test]
fn a_call_explains_no_other_kind_no_other_interface_and_nothing_long_after() {
    let (mut origins, now) = settled();
    let eni = id("eni-0");
    origins.assigning(&eni, ONE);
    origins.lost(&eni, ONE, now);
    let others = [
        interface("eni-0", &[range("10.0.0.16/28")]),
        interface("eni-1", &[single(1)]),
    ];
    assert_eq!(see(&mut origins, now, &others).len(), 2);
    let late = [interface("eni-0", &[range("10.0.0.16/28"), single(2)])];
    let shown = [interface("eni-0", &[range("10.0.0.16/28")])];
    assert_eq!(origins.next_end(), Some(now + SHOWS_WITHIN));
    assert_eq!(see(&mut origins, now + SHOWS_WITHIN, &shown).len(), 0);
    assert_eq!(origins.next_end(), None, "it would have shown by now");
    assert_eq!(see(&mut origins, now + SHOWS_WITHIN, &late).len(), 1);
}

#[test]
fn what_an_inventory_showed_before_the_answer_is_judged_by_the_answer() {
    let (mut origins, now) = settled();
    let eni = id("eni-0");
    origins.assigning(&eni, ONE);
    see(&mut origins, now, &[interface("eni-0", &[single(7)])]);
    assert_eq!(origins.of(&eni, &single(7)), Origin::Veni);
    origins.assigned(&eni, ONE, &[single(8)]);
    assert_eq!(origins.of(&eni, &single(7)), Origin::Others);
    assert_eq!(origins.of(&eni, &single(8)), Origin::Veni);
}

#[test]
fn where_more_has_come_than_a_call_asked_for_none_of_it_is_given_away() {
    let (mut origins, now) = settled();
    let eni = id("eni-0");
    origins.assigning(&eni, ONE);
    origins.lost(&eni, ONE, now);
    see(
        &mut origins,
        now,
        &[interface("eni-0", &[single(1), single(2)])],
    );
    for cidr in [single(1), single(2)] {
        assert_eq!(origins.of(&eni, &cidr), Origin::Others);
    }
}

#[test]
fn after_a_reboot_what_an_unknown_call_left_on_an_interface_of_ours_is_ours() {
    let (mut origins, now) = settled();
    let mut next = restarted(&mut origins, now, false);
    let both = [
        interface("eni-0", &[single(1)]),
        interface("eni-1", &[single(2)]),
    ];
    see(&mut next, now, &both);
    assert_eq!(next.of(&id("eni-0"), &single(1)), Origin::Others);
    assert_eq!(next.of(&id("eni-1"), &single(2)), Origin::Veni);
}

#[test]
fn an_interface_that_somebody_attaches_is_used_with_what_it_holds_and_kept() {
    let (mut origins, now) = settled();
    let mut by_hand = interface("eni-2", &[single(1)]);
    by_hand.made_for_pods = false;
    assert_eq!(see(&mut origins, now, &[by_hand]), Vec::<String>::new());
    assert_eq!(origins.of(&id("eni-2"), &single(1)), Origin::Found);
    assert!(!origins.may_detach(&id("eni-2")));
}

#[test]
fn an_interface_that_turns_out_to_be_ours_is_ours_with_what_was_found_on_it() {
    let now = Instant::now();
    let mut origins = Origins::new("i-1", None, now);
    let shown = interface("eni-1", &[single(1)]);
    let unclear = Interface {
        made_for_pods: false,
        ..shown.clone()
    };
    see(&mut origins, now, &[unclear]);
    assert!(!origins.may_detach(&id("eni-1")));
    see(&mut origins, now, &[shown]);
    assert!(origins.may_detach(&id("eni-1")));
}

/// A write that was accepted before a reboot, or that ran for longer than a call is noted.
#[test]
fn where_the_cloud_lists_veni_s_ranges_alone_they_are_veni_s_whenever_they_come() {
    let (mut origins, now) = settled();
    let mut next = restarted(&mut origins, now, false);
    let eni = id("eni-0");
    let context = Context {
        now: now + LATER,
        provisioning: true,
        own_alone: true,
        released: &|cidr| *cidr == single(2),
        held: &|_, _| false,
    };
    let held = interface("eni-0", &[single(1), single(2)]);
    let told = next.seen(&[held, interface("eni-2", &[single(3)])], &context);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(next.of(&eni, &single(1)), Origin::Veni);
    assert_eq!(next.of(&id("eni-2"), &single(3)), Origin::Veni);
    // What was given back is not taken for a new one.
    assert_eq!(next.of(&eni, &single(2)), Origin::Others);
}

#[test]
fn without_provisioning_whatever_comes_is_for_pods() {
    let (mut origins, now) = settled();
    let context = Context {
        now,
        provisioning: false,
        own_alone: false,
        released: &|_| false,
        held: &|_, _| false,
    };
    origins.seen(&[interface("eni-0", &[single(1)])], &context);
    assert_eq!(origins.of(&id("eni-0"), &single(1)), Origin::Found);
}

#[test]
fn a_range_that_inventories_lack_is_forgotten_late_and_not_while_the_pool_has_it() {
    let (mut origins, now) = settled();
    let eni = id("eni-0");
    origins.assigning(&eni, ONE);
    origins.assigned(&eni, ONE, &[single(1)]);
    let (without, with) = (
        [interface("eni-0", &[])],
        [interface("eni-0", &[single(1)])],
    );
    see(&mut origins, now, &without);
    see(&mut origins, now + FORGOTTEN_AFTER / 2, &with);
    assert_eq!(origins.of(&eni, &single(1)), Origin::Veni, "it lagged");
    see(&mut origins, now + FORGOTTEN_AFTER, &without);
    let held = Context {
        now: now + 2 * FORGOTTEN_AFTER,
        provisioning: true,
        own_alone: false,
        released: &|_| false,
        held: &|_, _| true,
    };
    origins.seen(&without, &held);
    see(&mut origins, now + 3 * FORGOTTEN_AFTER, &without);
    see(&mut origins, now + 4 * FORGOTTEN_AFTER, &without);
    let again = now + 5 * FORGOTTEN_AFTER;
    assert_eq!(see(&mut origins, again, &with).len(), 1);
    assert_eq!(origins.of(&eni, &single(1)), Origin::Others);
}

#[test]
fn the_record_is_handed_out_once_for_each_change() {
    let (mut origins, now) = settled();
    assert!(origins.take_changed().is_some());
    see(&mut origins, now, &[interface("eni-0", &[])]);
    see(&mut origins, now, &[interface("eni-0", &[])]);
    assert!(origins.take_changed().is_none(), "nothing has changed");
    origins.assigning(&id("eni-0"), ONE);
    let record = origins.take_changed().expect("a call has begun");
    assert_ne!(record, record.settled());
}
