//! What the plan never gives back: slots that others assigned or that the node itself
//! uses, and interfaces that others attached. What no pod may have of them is no
//! address of the pool.

use crate::build::{
    ADDRESS, HOUR_MS, Node, PREFIX, actions, assign, m5_large, node, release, warm_ip, warm_prefix,
};
use proptest::prelude::*;
use veni_pool::{Action, InterfaceId, InterfaceSnapshot, Plan, Slot, Snapshot, counts, plan};

/// Marks the last slots of an interface as never to be given back.
fn keep_last(interface: &mut InterfaceSnapshot, count: usize) {
    for slot in interface.slots.iter_mut().rev().take(count) {
        slot.kept = true;
    }
}

/// The same, and no pod may have them.
fn reserve_last(interface: &mut InterfaceSnapshot, count: usize) {
    keep_last(interface, count);
    for slot in interface.slots.iter_mut().rev().take(count) {
        slot.unavailable = slot.capacity();
    }
}

#[test]
fn a_kept_slot_serves_pods_and_stays_when_it_is_more_than_needed() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 0, 6)
        .last(|primary| keep_last(primary, 4))
        .excess_for(HOUR_MS, 3);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(
        actions(&made),
        [release("eni-0", &["10.0.1.5/32", "10.0.1.6/32"])]
    );
    let made = plan(&snapshot, &warm_ip(ADDRESS, 6, 0));
    assert_eq!(actions(&made), [], "its addresses count as free");
}

#[test]
fn what_no_pod_may_have_is_neither_free_nor_room() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 0, 5)
        .last(|primary| reserve_last(primary, 3));
    assert_eq!((counts(&snapshot).free, counts(&snapshot).total), (2, 3));
    let made = plan(&snapshot, &warm_ip(ADDRESS, 4, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 2)]);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 5, 0));
    assert_eq!(actions(&made), [assign("eni-0", ADDRESS, 3)]);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 6, 0));
    let elsewhere = matches!(&actions(&made)[..], [_, Action::Attach { count: 1, .. }]);
    assert!(
        elsewhere,
        "three of nine slots are full and six have room for three: {made}"
    );
}

#[test]
fn one_address_that_the_node_carries_leaves_the_others_of_its_prefix_to_pods() {
    let snapshot = node(3, 9, 110)
        .interface("eni-0")
        .prefix(0, 0)
        .last(|primary| {
            primary.slots[0].unavailable = 1;
            primary.slots[0].kept = true;
        });
    assert_eq!(counts(&snapshot).free, 15);
    let made = plan(&snapshot, &warm_ip(PREFIX, 15, 0));
    assert_eq!(actions(&made), []);
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(
        actions(&made),
        [assign("eni-0", PREFIX, 1)],
        "no warm prefix"
    );
}

#[test]
fn a_kept_interface_stays_attached_and_its_other_slots_go() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(1, 0, 4)
        .interface("eni-1")
        .singles(0, 0, 3)
        .last(|second| {
            second.kept = true;
            keep_last(second, 1);
        })
        .excess_for(HOUR_MS, 3);
    let made = plan(&snapshot, &warm_ip(ADDRESS, 2, 0));
    let others = release("eni-1", &["10.0.2.4/32", "10.0.2.5/32"]);
    assert!(actions(&made).contains(&others), "{made}");
    assert_eq!(given_away(&snapshot, &made), Vec::<String>::new());
    let drains = snapshot.with(|node| node.interfaces[1].for_pods = false);
    let made = plan(&drains, &warm_ip(ADDRESS, 4, 0));
    assert_eq!(actions(&made), [others]);
}

#[test]
fn kept_addresses_are_not_moved_to_a_fuller_interface() {
    let snapshot = m5_large()
        .interface("eni-0")
        .singles(6, 0, 0)
        .interface("eni-1")
        .singles(0, 0, 2)
        .last(|second| {
            second.kept = true;
            keep_last(second, 2);
        });
    let made = plan(&snapshot, &warm_ip(ADDRESS, 2, 0));
    assert_eq!(actions(&made), []);
}

#[test]
fn kept_single_addresses_make_no_room_for_prefixes() {
    let snapshot = node(1, 4, 110)
        .interface("eni-0")
        .singles(0, 0, 4)
        .last(|primary| keep_last(primary, 4));
    let made = plan(&snapshot, &warm_prefix(1));
    assert_eq!(actions(&made), []);
}

fn slots() -> impl Strategy<Value = Vec<(bool, u32, bool, bool)>> {
    prop::collection::vec(
        (any::<bool>(), 0_u32..3, any::<bool>(), any::<bool>()),
        0..9,
    )
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let interface = (slots(), any::<bool>(), any::<bool>());
    let interfaces = prop::collection::vec(interface, 1..4);
    (interfaces, 0_u32..12).prop_map(|(interfaces, waiting)| {
        let mut snapshot = node(3, 9, 110);
        for (place, (slots, for_pods, kept)) in interfaces.into_iter().enumerate() {
            snapshot = snapshot.interface(&format!("eni-{place}"));
            for (prefix, assigned, kept, reserved) in slots {
                snapshot = match prefix {
                    true => snapshot.prefix(assigned, 0),
                    false => snapshot.singles(assigned.min(1), 0, u32::from(assigned == 0)),
                };
                snapshot = snapshot.last(|interface| {
                    let last = interface.slots.last_mut().expect("a slot");
                    last.kept = kept || reserved;
                    last.unavailable = u32::from(reserved && last.assigned == 0);
                });
            }
            snapshot = snapshot.last(|interface| {
                interface.for_pods = for_pods;
                interface.kept = kept || interface.slots.iter().any(|slot| slot.kept);
            });
        }
        snapshot.demand(waiting, 0).excess_for(HOUR_MS, 0)
    })
}

/// What the plan gives back although it is kept.
fn given_away(snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
    let interface = |id: &InterfaceId| snapshot.interfaces.iter().find(|one| one.id == *id);
    let slot = |id: &InterfaceId, cidr: &ipnet::IpNet| -> Option<Slot> {
        let slots = &interface(id)?.slots;
        slots.iter().find(|slot| slot.cidr == *cidr).cloned()
    };
    let mut away = Vec::new();
    for planned in &plan.actions {
        match &planned.action {
            Action::Release { interface, cidrs } => {
                let kept = cidrs
                    .iter()
                    .filter(|cidr| slot(interface, cidr).is_none_or(|slot| slot.kept));
                away.extend(kept.map(ToString::to_string));
            }
            Action::Detach { interface: id } if interface(id).is_none_or(|one| one.kept) => {
                away.push(id.to_string());
            }
            _ => {}
        }
    }
    away
}

proptest! {
    #[test]
    fn nothing_kept_is_ever_released(snapshot in snapshot(), warm in 0_u32..5, prefixes in any::<bool>()) {
        let targets = match prefixes {
            true => warm_prefix(warm.min(2)),
            false => warm_ip(ADDRESS, warm, 0),
        };
        let made = plan(&snapshot, &targets);
        prop_assert_eq!(given_away(&snapshot, &made), Vec::<String>::new());
    }
}
