//! What is counted, and how often: limits that are reached exactly, slots that come and
//! go, and what is left over when one step has been taken.

use crate::build::{
    ADDRESS, HOUR_MS, NOW_MS, Node, PREFIX, actions, assign, attach, detach, hold, m5_large, node,
    notes, release, subnet, warm_ip, warm_prefix,
};
use veni_pool::{Action, InterfaceState, Snapshot, counts, plan};

#[test]
fn a_full_node_that_has_enough_is_not_told_of_its_limit() {
    let full = node(3, 9, 9).interface("eni-0").singles(9, 0, 0);
    let made = plan(&full, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(actions(&made), []);
    assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
    assert!(
        made.notes[0].to_string().starts_with("enough"),
        "{:?}",
        made.notes
    );
}

#[test]
fn whole_prefixes_are_kept_free_though_scattered_addresses_would_do() {
    // 30 addresses are free in three begun prefixes: two short of two whole ones.
    let begun = node(3, 9, 400)
        .interface("eni-0")
        .prefix(6, 0)
        .prefix(6, 0)
        .prefix(6, 0);
    let made = plan(&begun, &warm_prefix(2));
    assert_eq!(actions(&made), [assign("eni-0", PREFIX, 2)]);
}

#[test]
fn while_single_addresses_serve_what_comes_now_counts_and_no_interface_is_attached() {
    let snapshot = node(2, 18, 200).interface("eni-0").singles(0, 0, 17);
    let made = plan(&snapshot, &warm_prefix(2));
    assert_eq!(actions(&made), [assign("eni-0", PREFIX, 1)]);
}

#[test]
fn what_makes_room_no_longer_serves_and_an_interface_takes_its_place() {
    let snapshot = node(2, 32, 400)
        .interface("eni-0")
        .singles(0, 0, 32)
        .with(|node| node.abilities.batch = 1);
    let made = plan(&snapshot, &warm_prefix(2));
    assert_eq!(
        actions(&made),
        [release("eni-0", &["10.0.1.4/32"]), attach(PREFIX, 1)]
    );
}

#[test]
fn single_addresses_do_not_stand_in_where_room_is_made_for_prefixes() {
    let snapshot = node(2, 4, 200)
        .with(|node| {
            node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000);
            node.subnets.push(subnet("subnet-b", 1000));
        })
        .interface("eni-0")
        .singles(1, 0, 0)
        .interface("eni-1")
        .last(|interface| interface.subnet = "subnet-b".into())
        .singles(0, 0, 4);
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(actions(&made), [release("eni-1", &["10.0.2.4/32"])]);
}

#[test]
fn no_more_single_addresses_stand_in_than_are_lacking() {
    let fragmented = |snapshot: Snapshot| {
        snapshot
            .with(|node| node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000))
            .interface("eni-0")
    };
    let few = fragmented(node(1, 30, 110)).singles(1, 0, 14);
    let made = plan(&few, &warm_prefix(1));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
    // An interface elsewhere brings 20 of the 21 prefixes.
    let elsewhere = fragmented(node(2, 20, 400));
    let elsewhere = elsewhere.with(|node| node.subnets.push(subnet("subnet-b", 1000)));
    let brings = Action::Attach {
        subnet: Some("subnet-b".into()),
        kind: PREFIX,
        count: 20,
    };
    let made = plan(&elsewhere, &warm_prefix(21));
    assert_eq!(actions(&made), [brings, assign("eni-0", ADDRESS, 16)]);
}

#[test]
fn prefixes_and_single_addresses_share_what_the_limit_of_pods_leaves() {
    // 10 in use and 8 cooling leave 22 of 40: a prefix, and six single addresses.
    let snapshot = node(2, 19, 40)
        .with(|node| {
            node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000);
            node.subnets.push(subnet("subnet-b", 1000));
        })
        .interface("eni-0")
        .singles(10, 8, 0)
        .last(|interface| interface.subnet = "subnet-b".into())
        .interface("eni-1");
    let made = plan(&snapshot, &warm_prefix(2));
    assert_eq!(
        actions(&made),
        [assign("eni-0", PREFIX, 1), assign("eni-1", ADDRESS, 6)]
    );
}

#[test]
fn an_interface_that_is_attached_takes_its_part_of_what_the_limit_of_pods_leaves() {
    // 162 of 178 are left: ten prefixes on a new interface, and two single addresses.
    let snapshot = node(2, 10, 178)
        .with(|node| {
            node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000);
            node.subnets.push(subnet("subnet-b", 1000));
        })
        .interface("eni-0")
        .prefix(10, 6);
    let brings = Action::Attach {
        subnet: Some("subnet-b".into()),
        kind: PREFIX,
        count: 10,
    };
    let made = plan(&snapshot, &warm_prefix(11));
    assert_eq!(actions(&made), [brings, assign("eni-0", ADDRESS, 2)]);
}

#[test]
fn the_limit_of_pods_is_reached_to_the_last_address() {
    let snapshot = node(2, 4, 6).interface("eni-0").interface("eni-1");
    let made = plan(&snapshot, &warm_ip(ADDRESS, 9, 0));
    assert_eq!(
        actions(&made),
        [assign("eni-0", ADDRESS, 4), assign("eni-1", ADDRESS, 2)]
    );
}

#[test]
fn a_subnet_that_is_used_up_is_asked_for_nothing_more() {
    let two = |free| {
        m5_large()
            .with(|node| node.subnets[0].free_addresses = free)
            .interface("eni-0")
            .interface("eni-1")
            .demand(5, 0)
    };
    let scarce = plan(&two(3), &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&scarce), [assign("eni-0", ADDRESS, 3)]);
    let told = |notes: &[String]| notes.iter().any(|note| note.contains("few free addresses"));
    assert!(told(&notes(&scarce)), "{:?}", scarce.notes);
    let exact = plan(&two(6), &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&exact), [assign("eni-0", ADDRESS, 6)]);
    assert!(!told(&notes(&exact)), "{:?}", exact.notes);
}

#[test]
fn what_is_being_released_counts_as_gone_whether_it_is_marked_or_not() {
    let snapshot = || m5_large().interface("eni-0").singles(1, 0, 3);
    let under_way = snapshot().under_way(release("eni-0", &["10.0.1.7/32"]));
    let marked = snapshot().last(|interface| interface.slots[3].releasing = true);
    let free = |snapshot: &Snapshot| counts(snapshot).free;
    assert_eq!(
        (free(&snapshot()), free(&under_way), free(&marked)),
        (3, 2, 2)
    );
}

#[test]
fn what_has_not_gone_yet_counts_towards_the_limit_of_pods() {
    let full = node(3, 9, 4).interface("eni-0").singles(1, 0, 3);
    let going = full.last(|interface| interface.slots[3].releasing = true);
    assert_eq!(actions(&plan(&going, &warm_ip(ADDRESS, 3, 0))), []);
    let gone = going.last(|interface| interface.slots.truncate(3));
    let made = plan(&gone, &warm_ip(ADDRESS, 3, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 1)]);
}

#[test]
fn a_prefix_that_comes_counts_as_one() {
    let snapshot = node(2, 1, 110)
        .interface("eni-0")
        .under_way(assign("eni-0", PREFIX, 1));
    assert_eq!(actions(&plan(&snapshot, &warm_prefix(1))), []);
    let single = node(2, 1, 110)
        .interface("eni-0")
        .under_way(assign("eni-0", ADDRESS, 1));
    let made = plan(&single, &warm_prefix(1));
    assert_eq!(actions(&made), [attach(PREFIX, 1)], "an address is none");
}

#[test]
fn what_goes_back_does_not_keep_excess_from_being_seen() {
    let excess = || {
        m5_large()
            .interface("eni-0")
            .singles(1, 0, 5)
            .interface("eni-1")
            .singles(1, 0, 1)
    };
    let targets = warm_ip(ADDRESS, 1, 0);
    let releasing = excess().under_way(release("eni-1", &["10.0.2.5/32"]));
    assert_eq!(plan(&releasing, &targets).excess_since_ms, Some(NOW_MS));
    let leaving = excess().interface("eni-2").under_way(detach("eni-2"));
    assert_eq!(plan(&leaving, &targets).excess_since_ms, Some(NOW_MS));
    let due = releasing.excess_for(HOUR_MS, 0);
    assert!(!actions(&plan(&due, &targets)).is_empty());
}

#[test]
fn what_drains_takes_its_time_while_cooling_addresses_will_do() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 1, 2)
        .interface("eni-1")
        .last(|interface| interface.for_pods = false);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 3, 0));
    assert_eq!(actions(&made), []);
    assert_eq!(made.next_look_ms, Some(NOW_MS + 60_000));
}

#[test]
fn what_an_interface_on_its_way_out_holds_counts_once_towards_the_limit_of_pods() {
    // 16 of 20: three in use, two cooling, and eleven that are not gone yet.
    let snapshot = node(3, 9, 20)
        .interface("eni-0")
        .interface("eni-1")
        .prefix(3, 2)
        .last(|interface| interface.state = InterfaceState::Detaching);
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(actions(&made), [assign("eni-0", PREFIX, 1)]);
}

#[test]
fn single_addresses_that_stand_in_go_only_beyond_what_is_needed() {
    let stand_in = |free| {
        let snapshot = node(3, 30, 110)
            .with(|node| node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000))
            .interface("eni-0")
            .singles(3, 0, free)
            .excess_for(HOUR_MS, 19);
        actions(&plan(&snapshot, &warm_prefix(1)))
    };
    assert_eq!(stand_in(16), []);
    assert_eq!(stand_in(17), [release("eni-0", &["10.0.1.23/32"])]);
}

#[test]
fn an_interface_that_is_not_needed_is_told_with_what_it_holds_and_when_it_is_old_enough() {
    let spare = |age_ms| {
        m5_large()
            .interface("eni-0")
            .singles(3, 0, 2)
            .interface("eni-1")
            .singles(0, 0, 2)
            .last(|interface| interface.age_ms = age_ms)
    };
    let targets = warm_ip(ADDRESS, 2, 0);
    let made = plan(&spare(HOUR_MS), &targets);
    let note = "2 addresses more than needed go back in 60 s unless demand returns";
    assert!(notes(&made).contains(&note.to_owned()), "{:?}", made.notes);
    let young = plan(&spare(59_000).excess_for(HOUR_MS, 5), &targets);
    assert_eq!(young.next_look_ms, Some(NOW_MS + 1_000));
}

#[test]
fn no_room_is_made_while_slots_may_not_go_or_none_may_come() {
    let full = || node(1, 3, 110).interface("eni-0").singles(1, 0, 2);
    let targets = warm_prefix(1);
    assert_eq!(actions(&plan(&full(), &targets)).len(), 1);
    let kept = full().with(|node| node.holds.release = hold(None));
    assert_eq!(actions(&plan(&kept, &targets)), []);
    let refused = full().with(|node| node.holds.assign = hold(None));
    assert_eq!(actions(&plan(&refused, &targets)), []);
}

#[test]
fn room_is_made_but_for_the_next_pod_and_for_those_that_wait() {
    let made = |slots: u32, used: u32, waiting: u32, warm: u32| {
        let snapshot = node(1, slots, 400)
            .interface("eni-0")
            .singles(used, 0, slots - used)
            .demand(waiting, 0);
        actions(&plan(&snapshot, &warm_prefix(warm)))
    };
    let gone = |cidrs: &[&str]| [release("eni-0", cidrs)];
    assert_eq!(made(2, 0, 0, 2), gone(&["10.0.1.4/32"]), "one stays");
    assert_eq!(made(2, 1, 0, 1), gone(&["10.0.1.5/32"]), "the last one");
    let two_wait = ["10.0.1.4/32", "10.0.1.5/32"];
    assert_eq!(made(4, 0, 2, 3), gone(&two_wait));
}

#[test]
fn interfaces_share_what_single_addresses_stand_in_for() {
    let snapshot = node(2, 10, 110)
        .with(|node| node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000))
        .interface("eni-0")
        .singles(1, 0, 0)
        .interface("eni-1");
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(
        actions(&made),
        [assign("eni-0", ADDRESS, 8), assign("eni-1", ADDRESS, 8)]
    );
}

#[test]
fn an_interface_may_come_with_nothing_for_pods_and_the_plan_says_so() {
    let empty = attach(ADDRESS, 0).to_string();
    assert_eq!(
        empty,
        "attach an interface in subnet-a without addresses for pods"
    );
    let filled = attach(PREFIX, 2).to_string();
    assert_eq!(filled, "attach an interface in subnet-a with 2 prefixes");
    let coming = m5_large()
        .interface("eni-0")
        .interface("eni-1")
        .last(|interface| interface.state = InterfaceState::Attaching);
    assert_eq!(counts(&coming).interfaces, 1);
}

#[test]
fn prefixes_that_are_free_in_part_count_as_free_while_that_is_enough() {
    let two = node(2, 9, 110).interface("eni-0").prefix(1, 0).prefix(1, 0);
    assert_eq!(actions(&plan(&two, &warm_prefix(1))), []);
    let full = two.prefix(16, 0).prefix(16, 0);
    let made = plan(&full, &warm_prefix(1));
    assert_eq!(actions(&made), [], "thirty are free all the same");
    let short = node(2, 9, 110)
        .interface("eni-0")
        .prefix(1, 0)
        .prefix(16, 0);
    let made = plan(&short, &warm_prefix(1));
    assert_eq!(
        actions(&made),
        [assign("eni-0", PREFIX, 1)],
        "fifteen are not"
    );
}

#[test]
fn a_place_that_comes_free_where_pods_get_nothing_is_not_waited_for() {
    let full = || node(3, 2, 110).interface("eni-0").singles(2, 0, 0);
    let targets = warm_ip(ADDRESS, 1, 0);
    let going = |for_pods| {
        let beside = full().interface("eni-1").singles(1, 0, 1);
        beside.last(|interface| {
            interface.for_pods = for_pods;
            interface.slots[1].releasing = true;
        })
    };
    assert_eq!(
        actions(&plan(&going(true), &targets)),
        [],
        "it is soon there"
    );
    assert_eq!(
        actions(&plan(&going(false), &targets)),
        [attach(ADDRESS, 1)]
    );
}

#[test]
fn what_has_not_gone_yet_counts_without_what_pods_have_of_it() {
    // 16 addresses are on their way out, 2 of them in use.
    let going = node(2, 9, 20)
        .interface("eni-0")
        .prefix(14, 0)
        .prefix(2, 0)
        .last(|interface| interface.slots[1].releasing = true);
    let made = plan(&going, &warm_ip(PREFIX, 3, 0));
    // 14 and 2 in use, 2 free and 14 that go.
    assert!(
        notes(&made).iter().any(|note| note.contains("32")),
        "{:?}",
        notes(&made)
    );
}

#[test]
fn an_interface_that_an_earlier_daemon_attaches_is_waited_for() {
    let coming = node(2, 2, 110)
        .interface("eni-0")
        .singles(2, 0, 0)
        .demand(1, 0)
        .interface("eni-1")
        .last(|interface| interface.state = InterfaceState::Attaching);
    let made = plan(&coming, &warm_ip(ADDRESS, 0, 0));
    assert_eq!((actions(&made), made.hopeless), (Vec::new(), None));
    let never = coming.with(|node| drop(node.interfaces.pop()));
    let never = never.with(|node| node.limits.interfaces = 1);
    assert!(plan(&never, &warm_ip(ADDRESS, 0, 0)).hopeless.is_some());
}

#[test]
fn a_whole_prefix_that_comes_is_one_of_those_that_stay_free() {
    let one_comes = node(3, 2, 110)
        .interface("eni-0")
        .prefix(16, 0)
        .under_way(assign("eni-0", PREFIX, 1));
    let made = plan(&one_comes, &warm_prefix(2));
    assert_eq!(actions(&made), [attach(PREFIX, 1)]);
}
