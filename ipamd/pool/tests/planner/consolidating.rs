//! Packing: free addresses move from emptier interfaces to fuller ones that have
//! room, and only where that ends.

use crate::build::{
    ADDRESS, HOUR_MS, NOW_MS, Node, PREFIX, actions, assign, detach, hold, m5_large, node, subnet,
    warm_eni, warm_ip, warm_prefix,
};
use veni_pool::{Action, InterfaceState, Snapshot, plan};

/// Four pods on the primary interface, two free addresses on another one: they
/// move, unless what a test adds stands in the way.
fn two_to_move() -> Snapshot {
    m5_large()
        .interface("eni-0")
        .singles(4, 0, 0)
        .interface("eni-1")
        .singles(0, 0, 2)
}

/// What a plan that wants two free addresses does.
fn moves(snapshot: &Snapshot) -> Vec<Action> {
    actions(&plan(snapshot, &warm_ip(ADDRESS, 2, 0)))
}

#[test]
fn nothing_moves_where_what_is_left_behind_would_stay() {
    let two = || assign("eni-0", ADDRESS, 2);
    assert_eq!(moves(&two_to_move()), [two()]);
    let no_detach = two_to_move().with(|node| node.abilities.attach = false);
    assert_eq!(moves(&no_detach), [], "the interface itself could not go");
    let no_release = two_to_move().with(|node| node.abilities.release = false);
    assert_eq!(moves(&no_release), [], "its addresses could not go");
    for refusal in [None, Some("UnauthorizedOperation")] {
        let held = two_to_move().with(|node| node.holds.release = hold(refusal));
        assert_eq!(moves(&held), [], "its addresses could not go now");
        let over = held.with(|node| node.now_ms += 5_000);
        assert_eq!(moves(&over), [two()]);
    }
}

#[test]
fn whole_interfaces_stay_as_they_are() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(4, 0, 0)
        .interface("eni-1")
        .singles(0, 0, 9);
    assert_eq!(actions(&plan(&snapshot, &warm_eni(ADDRESS, 0))), []);
}

#[test]
fn nothing_moves_while_something_is_under_way() {
    let elsewhere = || two_to_move().interface("eni-2").singles(9, 0, 0);
    assert_eq!(moves(&elsewhere()), [assign("eni-0", ADDRESS, 2)]);
    let leaving = elsewhere().last(|interface| interface.state = InterfaceState::Detaching);
    assert_eq!(moves(&leaving), []);
    let coming = elsewhere().last(|interface| interface.state = InterfaceState::Attaching);
    assert_eq!(moves(&coming), []);
    assert_eq!(moves(&elsewhere().under_way(detach("eni-2"))), []);
    let going = elsewhere()
        .singles(0, 0, 1)
        .last(|interface| interface.slots[9].releasing = true);
    assert_eq!(moves(&going), []);
}

#[test]
fn no_more_moves_than_the_limit_of_pods_leaves_room_for() {
    for (limit, moved) in [(6, 0), (7, 1), (8, 2), (9, 2)] {
        let snapshot = two_to_move().with(|node| node.limits.max_pods = limit);
        let expected: Vec<_> = (moved > 0)
            .then(|| assign("eni-0", ADDRESS, moved))
            .into_iter()
            .collect();
        assert_eq!(moves(&snapshot), expected, "at most {limit} pods");
    }
    let prefixes = |limit| {
        let snapshot = node(3, 9, limit)
            .interface("eni-0")
            .prefix(16, 0)
            .interface("eni-1")
            .prefix(0, 0);
        actions(&plan(&snapshot, &warm_prefix(1)))
    };
    assert_eq!(prefixes(47), [], "a prefix does not fit into 15 addresses");
    assert_eq!(prefixes(48), [assign("eni-0", PREFIX, 1)]);
}

#[test]
fn only_a_clearly_fuller_interface_takes_what_is_free_elsewhere() {
    // Pods there; pods and cooling addresses here, beside two free ones.
    for (fuller, (pods, cooling), moved) in [
        (3, (1, 0), true),
        (2, (1, 0), false),
        (3, (0, 1), true),
        (2, (0, 1), false),
        (6, (1, 1), true),
        (5, (1, 1), false),
        (1, (0, 0), true),
    ] {
        let snapshot = m5_large()
            .interface("eni-0")
            .singles(fuller, 0, 0)
            .interface("eni-1")
            .singles(pods, cooling, 2);
        let expected: Vec<_> = moved
            .then(|| assign("eni-0", ADDRESS, 2))
            .into_iter()
            .collect();
        let case = format!("{fuller} pods beside {pods} and {cooling} cooling");
        assert_eq!(moves(&snapshot), expected, "{case}");
    }
}

#[test]
fn an_empty_interface_takes_nothing_unless_it_is_the_primary_one() {
    let empty_primary = m5_large()
        .interface("eni-0")
        .interface("eni-1")
        .singles(0, 0, 2);
    assert_eq!(moves(&empty_primary), [assign("eni-0", ADDRESS, 2)]);
    let empty_secondary = node(3, 4, 29)
        .interface("eni-0")
        .singles(4, 0, 0)
        .interface("eni-1")
        .singles(0, 1, 0)
        .interface("eni-2")
        .singles(0, 0, 2);
    assert_eq!(moves(&empty_secondary), []);
}

#[test]
fn nothing_moves_off_the_primary_interface() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(0, 0, 2)
        .interface("eni-1")
        .singles(4, 0, 0);
    assert_eq!(moves(&snapshot), []);
}

#[test]
fn an_interface_that_serves_no_pods_takes_and_gives_nothing() {
    let unmanaged = two_to_move().last(|interface| interface.managed = false);
    assert_eq!(moves(&unmanaged), [assign("eni-0", ADDRESS, 2)], "bought");
    let drains = m5_large()
        .interface("eni-0")
        .singles(4, 0, 0)
        .last(|interface| interface.for_pods = false)
        .interface("eni-1")
        .singles(0, 0, 2);
    assert_eq!(moves(&drains), []);
}

#[test]
fn where_the_emptiest_has_no_place_to_go_the_next_one_is_tried() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(4, 0, 0)
        .interface("eni-1")
        .singles(1, 0, 2)
        .interface("eni-2")
        .singles(0, 3, 2);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 4, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
    assert!(made.actions[0].reason.to_string().contains("free on eni-1"));
}

#[test]
fn several_fuller_interfaces_share_what_moves_each_up_to_its_room_and_a_batch() {
    let three_to_move = || {
        node(4, 5, 50)
            .interface("eni-0")
            .singles(4, 0, 0)
            .interface("eni-1")
            .singles(3, 0, 0)
            .interface("eni-2")
            .singles(3, 0, 0)
            .interface("eni-3")
            .singles(0, 0, 4)
    };
    let made = |snapshot: &Snapshot| actions(&plan(snapshot, &warm_ip(ADDRESS, 4, 0)));
    let shared = [
        assign("eni-0", ADDRESS, 1),
        assign("eni-1", ADDRESS, 2),
        assign("eni-2", ADDRESS, 1),
    ];
    assert_eq!(made(&three_to_move()), shared);
    let small = three_to_move().with(|node| node.abilities.batch = 1);
    let one = |interface| assign(interface, ADDRESS, 1);
    assert_eq!(made(&small), [one("eni-0"), one("eni-1"), one("eni-2")]);
    let scarce = three_to_move().with(|node| node.subnets[0].free_addresses = 2);
    assert_eq!(made(&scarce), [one("eni-0"), one("eni-1")]);
}

#[test]
fn an_exhausted_subnet_takes_nothing_in() {
    let snapshot = two_to_move()
        .with(|node| {
            node.subnets[0].no_addresses_until_ms = Some(NOW_MS + 90_000);
            node.subnets.push(subnet("subnet-b", 100));
            node.interfaces[1].subnet = "subnet-b".into();
        })
        .interface("eni-2")
        .singles(2, 0, 0)
        .last(|interface| interface.subnet = "subnet-b".into());
    assert_eq!(moves(&snapshot), [assign("eni-2", ADDRESS, 2)]);
}

#[test]
fn what_was_replaced_goes_back_and_the_interface_with_it() {
    let replaced = m5_large()
        .interface("eni-0")
        .singles(4, 0, 2)
        .interface("eni-1")
        .singles(0, 0, 2);
    let waits = plan(&replaced, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(actions(&waits), []);
    assert_eq!(waits.excess_since_ms, Some(NOW_MS));
    assert_eq!(moves(&replaced.excess_for(HOUR_MS, 6)), [detach("eni-1")]);
}
