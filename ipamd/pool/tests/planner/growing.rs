//! Getting more: who is counted, where it goes, and what the subnets allow.

use crate::build::{
    ADDRESS, NOW_MS, Node, PREFIX, actions, assign, attach, m5_large, node, release, subnet,
    warm_ip, warm_prefix,
};
use veni_pool::{Action, InterfaceState, plan};

#[test]
fn waiting_and_expected_pods_count_before_they_have_an_address() {
    let snapshot = m5_large().interface("eni-0").singles(1, 0, 1).demand(2, 1);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 4)]);
    let reason = "need 4 more: 1 waiting, 1 expected, 2 to restore WARM_IP_TARGET=2";
    assert_eq!(made.actions[0].reason.to_string(), reason);
}

#[test]
fn the_target_that_asks_for_more_is_named_and_of_equals_the_warm_one() {
    let snapshot = m5_large().interface("eni-0").singles(4, 0, 3);
    for (minimum, named) in [
        (5, "6 usable needed (WARM_IP_TARGET=2)"),
        (6, "6 usable needed (WARM_IP_TARGET=2)"),
        (7, "7 usable needed (MINIMUM_IP_TARGET=7)"),
    ] {
        let made = plan(&snapshot, &warm_ip(ADDRESS, 2, minimum));
        assert!(
            made.notes[0].to_string().contains(named),
            "{:?}",
            made.notes
        );
    }
}

#[test]
fn several_interfaces_are_filled_at_once_the_fullest_first_in_batches() {
    let snapshot = node(4, 9, 100)
        .interface("eni-0")
        .singles(2, 0, 0)
        .interface("eni-1")
        .singles(3, 0, 0)
        .demand(12, 0)
        .with(|node| node.abilities.batch = 5);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(
        actions(&made),
        [assign("eni-1", ADDRESS, 5), assign("eni-0", ADDRESS, 5)]
    );
}

#[test]
fn an_interface_with_an_action_under_way_gets_no_second_one() {
    let snapshot = m5_large()
        .interface("eni-0")
        .demand(5, 0)
        .under_way(assign("eni-0", ADDRESS, 2))
        .with(|node| node.abilities.batch = 2);
    assert_eq!(actions(&plan(&snapshot, &warm_ip(ADDRESS, 1, 0))), []);
}

#[test]
fn a_large_need_attaches_several_interfaces_with_addresses_from_the_start() {
    let snapshot = node(4, 9, 100)
        .interface("eni-0")
        .singles(9, 0, 0)
        .demand(20, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(
        actions(&made),
        [attach(ADDRESS, 9), attach(ADDRESS, 9), attach(ADDRESS, 3)]
    );
}

/// A p5.48xlarge takes 2 interfaces on its default card, and comes with one for EFA on
/// each of its 31 others.
#[test]
fn only_the_network_card_that_pods_use_counts_against_its_limit() {
    for (on_default_card, attached) in [(1, Some(attach(ADDRESS, 12))), (2, None)] {
        let mut snapshot = node(2, 49, 100).interface("eni-0").singles(49, 0, 0);
        for _ in 1..on_default_card {
            snapshot = snapshot.interface("eni-1").singles(49, 0, 0);
        }
        for card in 1..32 {
            let efa = format!("efa-{card}");
            snapshot = snapshot.interface(&efa).last(|one| {
                one.network_card = card;
                one.managed = false;
            });
        }
        let made = plan(&snapshot.demand(10, 0), &warm_ip(ADDRESS, 2, 0));
        assert_eq!(actions(&made), Vec::from_iter(attached.clone()));
        let full = made.to_string().contains("all 2 interfaces it may have");
        assert_eq!(full, attached.is_none(), "{made}");
    }
}

#[test]
fn an_interface_on_its_way_is_counted_once_listed_or_not() {
    let targets = warm_ip(ADDRESS, 1, 0);
    let unlisted = m5_large()
        .interface("eni-0")
        .singles(9, 0, 0)
        .demand(4, 0)
        .under_way(attach(ADDRESS, 2));
    assert_eq!(
        actions(&plan(&unlisted, &targets)),
        [],
        "its room takes the rest"
    );
    let listed = unlisted
        .interface("eni-1")
        .last(|interface| interface.state = InterfaceState::Attaching);
    assert_eq!(actions(&plan(&listed, &targets)), []);
    let more = listed.demand(12, 0);
    assert_eq!(actions(&plan(&more, &targets)), [attach(ADDRESS, 4)]);
}

#[test]
fn the_pool_stops_at_the_pods_the_node_may_run() {
    let snapshot = m5_large()
        .with(|node| node.limits.max_pods = 6)
        .interface("eni-0");
    let made = plan(&snapshot.clone().singles(2, 1, 1), &warm_ip(ADDRESS, 9, 0));
    assert_eq!(
        actions(&made),
        [assign("eni-0", ADDRESS, 2)],
        "cooling ones are there too"
    );
    let made = plan(&snapshot.prefix(0, 0), &warm_prefix(2));
    assert_eq!(actions(&made), [], "one prefix is more than six");
}

#[test]
fn unmanaged_interfaces_take_a_place_and_nothing_else() {
    let snapshot = node(2, 9, 29)
        .interface("eni-0")
        .singles(9, 0, 0)
        .interface("eni-theirs")
        .last(|interface| interface.managed = false)
        .demand(1, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), []);
    let reason = made.hopeless.expect("nothing can come").to_string();
    assert!(reason.contains("all 2 interfaces"), "{reason}");
}

#[test]
fn an_exhausted_subnet_is_left_alone_and_another_one_used() {
    let snapshot = m5_large()
        .with(|node| {
            node.subnets[0].no_addresses_until_ms = Some(NOW_MS + 90_000);
            node.subnets.push(subnet("subnet-b", 7));
        })
        .interface("eni-0")
        .singles(2, 0, 0)
        .demand(9, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    let subnet = Some("subnet-b".into());
    let expected = Action::Attach {
        subnet,
        kind: ADDRESS,
        count: 6,
    };
    assert_eq!(actions(&made), [expected]);
    assert_eq!(made.next_look_ms, Some(NOW_MS + 90_000));
}

#[test]
fn no_more_is_asked_of_a_subnet_than_it_has_free() {
    let snapshot = m5_large()
        .with(|node| node.subnets[0].free_addresses = 3)
        .interface("eni-0")
        .demand(5, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(made.actions[0].action, assign("eni-0", ADDRESS, 3));
}

#[test]
fn an_expired_exhaustion_is_asked_again() {
    let snapshot = m5_large()
        .with(|node| node.subnets[0].no_addresses_until_ms = Some(NOW_MS))
        .interface("eni-0")
        .demand(1, 0);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
}

#[test]
fn single_addresses_stand_in_for_prefixes_and_leave_a_slot_open() {
    let fragmented = m5_large()
        .with(|node| node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000))
        .interface("eni-0");
    let made = plan(&fragmented.clone().demand(2, 0), &warm_prefix(1));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 8)]);
    let made = plan(&fragmented.demand(9, 0), &warm_prefix(1));
    assert_eq!(
        actions(&made),
        [assign("eni-0", ADDRESS, 9)],
        "pods come before the return"
    );
}

#[test]
fn prefixes_come_back_as_soon_as_the_subnet_may_have_them() {
    let snapshot = node(3, 9, 110).interface("eni-0").singles(3, 0, 5);
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(actions(&made), [assign("eni-0", PREFIX, 1)]);
    let covered = snapshot.prefix(0, 0).excess_for(60_000, 19);
    let singles = [
        "10.0.1.7/32",
        "10.0.1.8/32",
        "10.0.1.9/32",
        "10.0.1.10/32",
        "10.0.1.11/32",
    ];
    assert_eq!(
        actions(&plan(&covered, &warm_prefix(1))),
        [release("eni-0", &singles)]
    );
}
