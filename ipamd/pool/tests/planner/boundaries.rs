//! What stops everything, what is hopeless, and what other clouds and modes change.

use crate::build::{
    ADDRESS, HOUR_MS, NOW_MS, Node, PREFIX, actions, assign, attach, azure, hold, m5_large, node,
    notes, release, warm_ip, warm_prefix,
};
use crate::cloud::World;
use veni_pool::{
    Action, Family, InterfaceState, NodeLimits, Plan, Scheme, Slot, Targets, counts, plan,
};

#[test]
fn without_provisioning_nothing_changes_and_adds_fail_at_once() {
    let mut targets = warm_ip(ADDRESS, 2, 0);
    targets.provisioning = false;
    let made = plan(&m5_large().interface("eni-0").demand(1, 0), &targets);
    assert_eq!(actions(&made), []);
    let reason = made.hopeless.expect("nothing can come").to_string();
    assert!(
        reason.contains("DISABLE_NETWORK_RESOURCE_PROVISIONING"),
        "{reason}"
    );
}

#[test]
fn without_provisioning_the_plan_says_so_and_remembers_what_it_knew() {
    let mut targets = warm_ip(ADDRESS, 2, 0);
    targets.provisioning = false;
    let idle = m5_large()
        .interface("eni-0")
        .singles(2, 0, 3)
        .excess_for(HOUR_MS, 4);
    let made = plan(&idle, &targets);
    let text = "DISABLE_NETWORK_RESOURCE_PROVISIONING is set: the pool is not changed";
    assert_eq!(notes(&made), [text]);
    assert_eq!((actions(&made), made.hopeless), (Vec::new(), None));
    let memory = (made.excess_since_ms, made.recent_peak);
    assert_eq!(memory, (Some(NOW_MS - HOUR_MS), 4));
    assert_eq!(made.next_look_ms, None, "no time changes it");
    let cooling = m5_large().interface("eni-0").singles(0, 1, 0).demand(1, 0);
    assert_eq!(plan(&cooling, &targets).hopeless, None);
}

#[test]
fn a_pause_is_waited_for_and_a_refusal_is_not() {
    let held = m5_large()
        .interface("eni-0")
        .demand(1, 0)
        .with(|node| node.holds.assign = hold(None));
    let targets = warm_ip(ADDRESS, 2, 0);
    let pause = plan(&held, &targets);
    assert_eq!((actions(&pause), pause.hopeless), (Vec::new(), None));
    assert_eq!(pause.next_look_ms, Some(NOW_MS + 5_000));
    let refused = held.with(|node| node.holds.assign = hold(Some("UnauthorizedOperation")));
    let refusal = plan(&refused, &targets)
        .hopeless
        .expect("a refusal")
        .to_string();
    assert!(refusal.contains("UnauthorizedOperation"), "{refusal}");
    let cooling = refused.singles(0, 1, 0);
    assert_eq!(
        plan(&cooling, &targets).hopeless,
        None,
        "an address is cooling"
    );
    let over = cooling.with(|node| node.now_ms += 5_000);
    assert!(
        !plan(&over, &targets).actions.is_empty(),
        "asked again afterwards"
    );
}

#[test]
fn where_no_interface_may_be_attached_those_attached_are_filled() {
    let snapshot = m5_large().interface("eni-0").singles(7, 0, 0).demand(5, 0);
    let targets = warm_ip(ADDRESS, 1, 0);
    for refusal in [None, Some("UnauthorizedOperation")] {
        let held = snapshot
            .clone()
            .with(|node| node.holds.attach = hold(refusal));
        let made = plan(&held, &targets);
        assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
        assert_eq!(made.next_look_ms, Some(NOW_MS + 5_000));
    }
}

#[test]
fn a_refused_interface_makes_pods_hopeless_and_a_paused_one_does_not() {
    let snapshot = m5_large().interface("eni-0").singles(9, 0, 0).demand(1, 0);
    let targets = warm_ip(ADDRESS, 1, 0);
    let paused = snapshot.clone().with(|node| node.holds.attach = hold(None));
    let made = plan(&paused, &targets);
    assert_eq!((actions(&made), made.hopeless), (Vec::new(), None));
    let refused = snapshot.with(|node| node.holds.attach = hold(Some("Unauthorized")));
    let reason = plan(&refused, &targets)
        .hopeless
        .expect("a refusal")
        .to_string();
    assert!(reason.contains("Unauthorized"), "{reason}");
}

#[test]
fn where_no_address_is_assigned_no_interface_takes_its_place() {
    let snapshot = m5_large().interface("eni-0").singles(2, 0, 0).demand(3, 0);
    for refusal in [None, Some("UnauthorizedOperation")] {
        let held = snapshot
            .clone()
            .with(|node| node.holds.assign = hold(refusal));
        assert_eq!(actions(&plan(&held, &warm_ip(ADDRESS, 1, 0))), []);
    }
}

#[test]
fn what_may_not_go_back_does_not_keep_the_pool_from_growing() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(2, 0, 0)
        .demand(3, 0)
        .with(|node| {
            node.holds.release = hold(Some("UnauthorizedOperation"));
            node.holds.detach = hold(None);
        });
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 4)]);
}

#[test]
fn excess_waits_for_its_hold_and_goes_at_once_when_that_is_over() {
    let snapshot = m5_large().interface("eni-0").singles(2, 0, 3).with(|node| {
        node.excess_since_ms = Some(NOW_MS - HOUR_MS);
        node.holds.release = hold(None);
    });
    let targets = warm_ip(ADDRESS, 1, 0);
    let waits = plan(&snapshot, &targets);
    assert_eq!(actions(&waits), []);
    assert_eq!(waits.next_look_ms, Some(NOW_MS + 5_000));
    assert_eq!(waits.excess_since_ms, Some(NOW_MS - HOUR_MS));
    let note = "waits 5 s: release 10.0.1.7, 10.0.1.8 of eni-0";
    assert!(
        notes(&waits).contains(&note.to_owned()),
        "{:?}",
        waits.notes
    );
    let over = snapshot.with(|node| node.now_ms += 5_000);
    assert_eq!(actions(&plan(&over, &targets)).len(), 1);
}

#[test]
fn an_interface_that_may_not_go_gives_its_slots_back() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(2, 0, 3)
        .interface("eni-1")
        .singles(0, 0, 2)
        .with(|node| node.excess_since_ms = Some(NOW_MS - HOUR_MS));
    let targets = warm_ip(ADDRESS, 1, 0);
    let detach = |made: &Plan| {
        actions(made)
            .iter()
            .any(|action| matches!(action, Action::Detach { .. }))
    };
    assert!(detach(&plan(&snapshot, &targets)));
    let refused = snapshot
        .clone()
        .with(|node| node.holds.detach = hold(Some("UnauthorizedOperation")));
    let made = plan(&refused, &targets);
    assert!(!detach(&made));
    assert!(
        actions(&made).iter().any(
            |action| matches!(action, Action::Release { interface, .. } if interface.as_str() == "eni-1")
        )
    );
}

#[test]
fn nothing_goes_back_while_nothing_is_given() {
    let snapshot = m5_large().interface("eni-0").singles(2, 0, 3).with(|node| {
        node.excess_since_ms = Some(NOW_MS - HOUR_MS);
        node.holds.attach = hold(Some("UnauthorizedOperation"));
    });
    let made = plan(&snapshot, &warm_ip(ADDRESS, 1, 0));
    assert_eq!(actions(&made), []);
    assert_eq!(made.excess_since_ms, Some(NOW_MS - HOUR_MS));
}

#[test]
fn an_unusable_interface_takes_its_place_counts_its_pods_and_is_left_alone() {
    let targets = warm_ip(ADDRESS, 2, 0);
    let node = node(3, 3, 20).interface("eni-0").singles(3, 0, 0);
    let unusable = |pods, free| {
        let node = node.clone().interface("eni-1").singles(pods, 0, free);
        node.last(|interface| interface.in_service = false)
    };
    let made = plan(&unusable(1, 2), &targets);
    let [bought] = &actions(&made)[..] else {
        panic!("what is free there does not count: {made}");
    };
    assert!(matches!(bought, Action::Attach { count: 2, .. }), "{made}");
    assert_eq!(counts(&unusable(1, 2)).assigned, 4);
    assert_eq!(counts(&unusable(1, 2)).free, 0);
    let full = unusable(0, 2).interface("eni-2").singles(0, 0, 3);
    let idle = full.with(|node| node.excess_since_ms = Some(0));
    assert_eq!(actions(&plan(&idle, &warm_ip(ADDRESS, 3, 0))), []);
}

#[test]
fn hopeless_is_only_what_nothing_on_its_way_can_help() {
    let full = node(1, 2, 20)
        .interface("eni-0")
        .singles(2, 0, 0)
        .demand(1, 0);
    let targets = warm_ip(ADDRESS, 1, 0);
    assert!(plan(&full, &targets).hopeless.is_some());
    let one_free = node(1, 2, 20)
        .interface("eni-0")
        .singles(1, 0, 1)
        .demand(3, 0);
    let reason = plan(&one_free, &targets)
        .hopeless
        .expect("two too many")
        .to_string();
    assert!(reason.contains("for 2 waiting"), "{reason}");
    let nobody = full.clone().demand(0, 3);
    assert_eq!(plan(&nobody, &targets).hopeless, None, "nobody waits");
    let leaving = full
        .clone()
        .interface("eni-1")
        .last(|interface| interface.state = InterfaceState::Detaching);
    assert_eq!(
        plan(&leaving, &targets).hopeless,
        None,
        "a place becomes free"
    );
    let cooling = node(1, 2, 20)
        .interface("eni-0")
        .singles(1, 1, 0)
        .demand(1, 0);
    assert_eq!(
        plan(&cooling, &targets).hopeless,
        None,
        "an address is cooling"
    );
    let dry = full.with(|node| {
        node.limits.interfaces = 3;
        node.subnets[0].no_addresses_until_ms = Some(NOW_MS + 30_000);
    });
    let reason = plan(&dry, &targets)
        .hopeless
        .expect("the subnet is full")
        .to_string();
    assert!(reason.contains("subnet-a has no free address"), "{reason}");
}

#[test]
fn azure_pools_grow_in_whole_batches_with_a_share_free() {
    for (pods, total) in [
        (0, 16),
        (8, 16),
        (9, 32),
        (24, 32),
        (25, 48),
        (40, 48),
        (41, 64),
    ] {
        let (snapshot, targets) = azure(ADDRESS);
        let made = plan(&snapshot.singles(pods, 0, 0), &targets);
        assert_eq!(
            actions(&made),
            [assign("nic-0", ADDRESS, total - pods)],
            "{pods} pods"
        );
    }
}

#[test]
fn azure_pools_shrink_only_beyond_the_release_threshold_and_a_margin() {
    for (pods, free, kept) in [
        (24, 24, 48),
        (17, 31, 48),
        (16, 32, 32),
        (0, 32, 16),
        (0, 16, 16),
    ] {
        let (snapshot, targets) = azure(ADDRESS);
        let made = plan(
            &snapshot.singles(pods, 0, free).excess_for(HOUR_MS, 0),
            &targets,
        );
        let released = match actions(&made).as_slice() {
            [] => 0,
            [Action::Release { cidrs, .. }] => cidrs.len() as u32,
            other => panic!("{other:?}"),
        };
        assert_eq!(pods + free - released, kept, "{pods} pods, {free} free");
    }
}

#[test]
fn azure_slots_hold_prefixes_too_and_their_end_is_hopeless() {
    let (snapshot, targets) = azure(PREFIX);
    let made = plan(&snapshot.demand(20, 0), &targets);
    assert_eq!(actions(&made), [assign("nic-0", PREFIX, 2)]);
    let (snapshot, targets) = azure(ADDRESS);
    let full = snapshot
        .with(|node| node.limits.slots_per_interface = 16)
        .singles(16, 0, 0);
    let made = plan(&full.demand(1, 0), &targets);
    assert_eq!(actions(&made), []);
    let reason = made.hopeless.expect("no slot is left").to_string();
    assert!(reason.contains("all 16 slots"), "{reason}");
}

#[test]
fn one_prefix_on_the_primary_interface_is_enough_for_ipv6() {
    let snapshot = node(3, 9, 110)
        .with(|node| node.family = Family::V6)
        .interface("eni-0")
        .interface("eni-1");
    let targets = warm_prefix(1);
    let made = plan(&snapshot.clone().demand(40, 0), &targets);
    assert_eq!(actions(&made), [assign("eni-0", PREFIX, 1)]);
    let mut held = snapshot.excess_for(HOUR_MS, 0);
    let slot = |cidr: &str| Slot {
        cidr: cidr.parse().expect("a CIDR"),
        assigned: 0,
        cooling: 0,
        unavailable: 0,
        kept: false,
        releasing: false,
        in_doubt: false,
    };
    held.interfaces[0].slots.push(slot("fd00:0:0:0:1::/80"));
    held.interfaces[0].slots[0].assigned = 90;
    held.interfaces[1].slots.push(slot("fd00:0:0:0:2::/80"));
    held.interfaces[1].age_ms = 0;
    let made = plan(&held, &targets);
    assert_eq!(actions(&made), [release("eni-1", &["fd00:0:0:0:2::/80"])]);
}

#[test]
fn no_single_address_of_ipv6_stands_in_for_a_prefix() {
    let snapshot = node(3, 9, 110)
        .with(|node| {
            node.family = Family::V6;
            node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 60_000);
        })
        .interface("eni-0")
        .demand(1, 0);
    assert_eq!(actions(&plan(&snapshot, &warm_prefix(1))), []);
}

#[test]
fn a_cloud_without_prefixes_gets_single_addresses() {
    let snapshot = m5_large()
        .with(|node| node.abilities.prefixes = false)
        .interface("eni-0");
    let made = plan(&snapshot, &warm_ip(PREFIX, 3, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 3)]);
}

#[test]
fn unused_slots_of_the_other_mode_make_room_when_every_slot_is_taken() {
    let snapshot = node(1, 3, 110).interface("eni-0").singles(1, 0, 2);
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(actions(&made), [release("eni-0", &["10.0.1.5/32"])]);
    let busy = node(1, 3, 110)
        .interface("eni-0")
        .singles(1, 0, 2)
        .demand(2, 0);
    assert_eq!(
        actions(&plan(&busy, &warm_prefix(1))),
        [],
        "pods that wait need them"
    );
}

#[test]
fn custom_networking_serves_pods_from_other_interfaces_only() {
    let limits = NodeLimits {
        interfaces: 3,
        slots_per_interface: 9,
        max_pods: 20,
    };
    let mut world = World::instant(limits, warm_ip(ADDRESS, 2, 0));
    world.drain_primary();
    world.waiting = 20;
    world.settle();
    world.settle();
    assert_eq!((world.pods(), world.waiting), (18, 2));
    assert_eq!(world.pods_by_interface(), [0, 9, 9]);
    assert!(world.last_plan.hopeless.is_some());
}

#[test]
fn counts_tell_free_from_cooling_coming_and_draining() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 1, 3)
        .last(|interface| interface.for_pods = false)
        .interface("eni-1")
        .singles(2, 1, 4)
        .prefix(5, 1)
        .last(|interface| interface.slots[6].releasing = true)
        .under_way(assign("eni-1", ADDRESS, 2))
        .under_way(attach(PREFIX, 1));
    let held = counts(&snapshot);
    assert_eq!((held.assigned, held.cooling, held.free), (8, 3, 13));
    assert_eq!(held.total, 24);
    assert_eq!((held.coming, held.draining), (18, 3));
    assert_eq!((held.prefixes, held.interfaces), (1, 2));
}

#[test]
fn what_is_not_ours_or_not_here_is_no_part_of_the_counts() {
    let ours = || m5_large().interface("eni-0").singles(1, 0, 2).prefix(0, 0);
    let alone = counts(&ours());
    assert_eq!((alone.total, alone.free, alone.draining), (19, 18, 0));
    assert_eq!((alone.prefixes, alone.interfaces), (1, 1));
    let theirs = ours()
        .interface("eni-theirs")
        .prefix(0, 0)
        .singles(0, 0, 2)
        .last(|interface| interface.managed = false);
    assert_eq!(counts(&theirs), alone);
    let leaving = ours()
        .interface("eni-1")
        .prefix(0, 0)
        .singles(0, 0, 2)
        .last(|interface| interface.state = InterfaceState::Detaching);
    assert_eq!(counts(&leaving), alone);
    let drains = leaving.last(|interface| {
        interface.state = InterfaceState::Attached;
        interface.for_pods = false;
    });
    let drains = counts(&drains);
    assert_eq!((drains.total, drains.draining), (19, 18));
    assert_eq!((drains.prefixes, drains.interfaces), (2, 2));
    let coming = ours()
        .interface("eni-1")
        .singles(0, 0, 2)
        .last(|interface| interface.state = InterfaceState::Attaching);
    let coming = counts(&coming);
    assert_eq!((coming.free, coming.coming, coming.interfaces), (18, 2, 1));
}

#[test]
fn address_targets_win_over_prefix_targets_over_interface_targets() {
    let scheme = |warm_ip, warm_prefix| {
        Targets::with(
            PREFIX,
            Scheme::Aws {
                warm_eni: 2,
                warm_ip,
                minimum_ip: None,
                warm_prefix,
            },
        )
    };
    let snapshot = node(3, 9, 400).interface("eni-0");
    let wanted = |targets: Targets| actions(&plan(&snapshot, &targets));
    assert_eq!(
        wanted(scheme(Some(5), Some(3))),
        [assign("eni-0", PREFIX, 1)]
    );
    assert_eq!(wanted(scheme(None, Some(3))), [assign("eni-0", PREFIX, 3)]);
    assert_eq!(
        wanted(scheme(Some(0), Some(3))),
        [assign("eni-0", PREFIX, 3)]
    );
    assert_eq!(wanted(scheme(None, None)), [assign("eni-0", PREFIX, 1)]);
    let single = Targets {
        mode: ADDRESS,
        ..scheme(None, Some(3))
    };
    assert_eq!(
        wanted(single),
        [assign("eni-0", ADDRESS, 9), attach(ADDRESS, 9)]
    );
}

#[test]
fn an_interface_that_the_cloud_updates_serves_pods_and_takes_no_further_change() {
    let targets = warm_ip(ADDRESS, 3, 0);
    let updating = || {
        let node = m5_large().interface("eni-0").singles(1, 0, 2);
        node.last(|interface| interface.state = InterfaceState::Updating)
    };
    assert_eq!(counts(&updating()).free, 2, "pods get what it holds");
    let made = plan(&updating(), &targets);
    assert_eq!(actions(&made), [], "{made}");
    let ready = updating().last(|interface| interface.state = InterfaceState::Attached);
    let made = plan(&ready, &targets);
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 1)]);
    let wanted = updating().demand(5, 0);
    assert_eq!(
        plan(&wanted, &targets).hopeless,
        None,
        "a change is under way"
    );
    let crowded = updating().singles(0, 0, 6).excess_for(HOUR_MS, 0);
    assert_eq!(
        actions(&plan(&crowded, &targets)),
        [],
        "nothing goes back meanwhile"
    );
}
