//! Giving back: what may go, when, and from where.

use crate::build::{
    ADDRESS, HOUR_MS, NOW_MS, Node, PREFIX, actions, assign, detach, m5_large, node, notes,
    release, warm_eni, warm_ip, warm_prefix,
};
use veni_pool::{Action, Slot, Snapshot, plan};

#[test]
fn cooling_addresses_are_neither_available_nor_released() {
    let snapshot = m5_large().interface("eni-0").singles(1, 2, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
    let later = m5_large()
        .interface("eni-0")
        .singles(0, 5, 2)
        .excess_for(HOUR_MS, 0);
    let made = plan(&later, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), [release("eni-0", &["10.0.1.10/32"])]);
    let later = m5_large()
        .interface("eni-0")
        .singles(0, 1, 4)
        .excess_for(HOUR_MS, 2);
    let made = plan(&later, &warm_ip(ADDRESS, 1, 0));
    let cidrs = ["10.0.1.6/32", "10.0.1.7/32", "10.0.1.8/32"];
    assert_eq!(actions(&made), [release("eni-0", &cidrs)]);
}

#[test]
fn half_of_the_spare_may_cool_before_more_is_bought() {
    let cooling = |count| {
        let snapshot = m5_large().interface("eni-0").singles(1, count, 4 - count);
        actions(&plan(&snapshot, &warm_ip(ADDRESS, 4, 0)))
    };
    for few in 0..=2 {
        assert_eq!(cooling(few), [], "{few} come back soon");
    }
    let all = [assign("eni-0", ADDRESS, 3)];
    assert_eq!(cooling(3), all, "once there is a call, it brings all");
    let waits = m5_large().interface("eni-0").singles(1, 1, 0).demand(1, 0);
    assert_eq!(actions(&plan(&waits, &warm_ip(ADDRESS, 2, 0))), all);
}

#[test]
fn excess_goes_back_only_after_it_has_lasted() {
    let targets = warm_ip(ADDRESS, 1, 0);
    let snapshot = m5_large().interface("eni-0").singles(1, 0, 3);
    let first = plan(&snapshot, &targets);
    assert_eq!(actions(&first), []);
    assert_eq!(
        (first.excess_since_ms, first.recent_peak),
        (Some(NOW_MS), 2)
    );
    assert_eq!(first.next_look_ms, Some(NOW_MS + 60_000));
    let early = plan(&snapshot.clone().excess_for(59_999, 2), &targets);
    assert_eq!(actions(&early), []);
    let due = plan(&snapshot.excess_for(60_000, 2), &targets);
    assert_eq!(
        actions(&due),
        [release("eni-0", &["10.0.1.6/32", "10.0.1.7/32"])]
    );
}

#[test]
fn what_was_needed_lately_stays() {
    let snapshot = m5_large().interface("eni-0").singles(1, 0, 3);
    let targets = warm_ip(ADDRESS, 1, 0);
    let made = plan(&snapshot.clone().excess_for(60_000, 3), &targets);
    assert_eq!(actions(&made), [release("eni-0", &["10.0.1.7/32"])]);
    let made = plan(&snapshot.excess_for(60_000, 4), &targets);
    assert_eq!(actions(&made), []);
    assert_eq!(
        made.excess_since_ms,
        Some(NOW_MS),
        "another such time is watched for"
    );
}

#[test]
fn a_time_that_needed_everything_is_followed_by_another_look() {
    // Two of the six usable or cooling are not needed now; five were.
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 1, 3)
        .excess_for(60_000, 5);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), []);
    let memory = (made.excess_since_ms, made.recent_peak);
    assert_eq!(memory, (Some(NOW_MS), 3), "cooling ones are needed too");
    assert_eq!(made.next_look_ms, Some(NOW_MS + 60_000));
    let note = "5 addresses were needed lately: nothing goes back yet";
    assert!(notes(&made).contains(&note.to_owned()), "{:?}", made.notes);
}

#[test]
fn nothing_counts_as_excess_while_something_comes() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 0, 5)
        .interface("eni-1")
        .singles(1, 0, 0);
    let targets = warm_ip(ADDRESS, 1, 0);
    let still = plan(&snapshot, &targets);
    assert_eq!(still.excess_since_ms, Some(NOW_MS));
    let comes = snapshot.under_way(assign("eni-1", ADDRESS, 1));
    assert_eq!(plan(&comes, &targets).excess_since_ms, None);
}

#[test]
fn single_addresses_stay_until_the_prefix_that_replaces_them_is_there() {
    let empty = || node(3, 30, 110).interface("eni-0");
    let targets = warm_prefix(1);
    let short = empty().singles(3, 0, 20).excess_for(HOUR_MS, 19);
    let made = plan(&short, &targets);
    assert_eq!(actions(&made), [assign("eni-0", PREFIX, 1)]);
    let covered = empty().prefix(0, 0).singles(3, 0, 20);
    let covered = covered.excess_for(HOUR_MS, 19);
    let released = actions(&plan(&covered, &targets));
    assert!(
        matches!(&released[..], [Action::Release { cidrs, .. }] if cidrs.len() == 20),
        "{released:?}"
    );
}

#[test]
fn warm_interfaces_go_back_whole_or_not_at_all() {
    let targets = warm_eni(ADDRESS, 1);
    let full = m5_large()
        .interface("eni-0")
        .singles(0, 0, 9)
        .interface("eni-1")
        .singles(0, 0, 9);
    let made = plan(&full.clone().excess_for(HOUR_MS, 9), &targets);
    assert_eq!(actions(&made), [detach("eni-1")]);
    let used = full.last(|interface| interface.slots[0].assigned = 1);
    assert_eq!(actions(&plan(&used.excess_for(HOUR_MS, 9), &targets)), []);
}

#[test]
fn young_primary_used_and_cooling_interfaces_stay() {
    let spare = || {
        m5_large()
            .interface("eni-0")
            .singles(3, 0, 2)
            .interface("eni-1")
    };
    let targets = warm_ip(ADDRESS, 2, 0);
    let detached = |snapshot: Snapshot| {
        let made = plan(&snapshot.excess_for(HOUR_MS, 5), &targets);
        actions(&made).contains(&detach("eni-1"))
    };
    assert!(detached(spare()));
    assert!(!detached(
        spare().last(|interface| interface.age_ms = 59_000)
    ));
    assert!(!detached(
        spare().last(|interface| interface.primary = true)
    ));
    assert!(!detached(
        spare().last(|interface| interface.managed = false)
    ));
    assert!(!detached(spare().singles(1, 0, 0)));
    assert!(!detached(spare().singles(0, 1, 0)));
    assert!(!detached(
        spare().with(|node| node.abilities.release = false)
    ));
}

#[test]
fn releases_come_from_the_interface_with_fewest_pods() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(2, 0, 2)
        .interface("eni-1")
        .singles(4, 0, 2)
        .excess_for(HOUR_MS, 8);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(
        actions(&made),
        [release("eni-0", &["10.0.1.6/32", "10.0.1.7/32"])]
    );
}

#[test]
fn free_addresses_move_off_an_interface_without_pods() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(4, 0, 0)
        .interface("eni-1")
        .singles(0, 0, 2);
    let targets = warm_ip(ADDRESS, 2, 0);
    let made = plan(&snapshot, &targets);
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
    let mut moved = snapshot.excess_for(HOUR_MS, 6);
    let single = |number: u32| Slot {
        cidr: format!("10.0.9.{number}/32").parse().expect("a CIDR"),
        assigned: 0,
        cooling: 0,
        unavailable: 0,
        kept: false,
        releasing: false,
        in_doubt: false,
    };
    moved.interfaces[0].slots.extend([single(1), single(2)]);
    assert_eq!(actions(&plan(&moved, &targets)), [detach("eni-1")]);
}

#[test]
fn a_free_prefix_stays_for_warm_prefix_target_whatever_else_is_free() {
    let snapshot = node(3, 9, 110)
        .interface("eni-0")
        .prefix(8, 0)
        .prefix(8, 0)
        .prefix(0, 0);
    let made = plan(&snapshot.clone().excess_for(HOUR_MS, 32), &warm_prefix(1));
    assert_eq!(actions(&made), []);
    let made = plan(
        &snapshot.prefix(0, 0).excess_for(HOUR_MS, 32),
        &warm_prefix(1),
    );
    assert_eq!(actions(&made), [release("eni-0", &["10.1.1.48/28"])]);
}

#[test]
fn interfaces_that_serve_no_pods_drain() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 1, 2)
        .last(|interface| interface.for_pods = false)
        .interface("eni-1")
        .singles(0, 0, 2);
    let targets = warm_ip(ADDRESS, 2, 0);
    let made = plan(&snapshot.clone().excess_for(HOUR_MS, 4), &targets);
    assert_eq!(
        actions(&made),
        [release("eni-0", &["10.0.1.6/32", "10.0.1.7/32"])]
    );
    let made = plan(&snapshot.demand(3, 0), &targets);
    assert_eq!(
        actions(&made),
        [assign("eni-1", ADDRESS, 3)],
        "nothing is added to it"
    );
}

#[test]
fn a_drained_interface_gives_its_place_up_at_once_when_pods_wait_for_it() {
    let snapshot = node(2, 4, 20)
        .interface("eni-0")
        .singles(4, 0, 0)
        .interface("eni-1")
        .last(|interface| interface.for_pods = false)
        .demand(1, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), [detach("eni-1")]);
    assert_eq!(made.hopeless, None);
}
