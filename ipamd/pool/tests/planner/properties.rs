//! What must hold whatever happens: random histories of demand, faults, delays
//! and settings on the simulated cloud, which itself asserts that no limit is
//! passed, nothing in use or cooling goes, and no second plan buys again.
//!
//! The seed is fixed, so a run is repeatable; `VENI_POOL_SEED` and
//! `PROPTEST_CASES` widen the search.

use crate::build::{warm_eni, warm_ip, warm_prefix};
use crate::cloud::{RETRY_MS, Weather, World};
use crate::vpc::Subnet;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use veni_pool::{Action, NodeLimits, Scheme, SlotKind, Targets};

fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("VENI_POOL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let widened = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: widened.unwrap_or(cases),
        rng_seed: RngSeed::Fixed(seed.unwrap_or(20_261)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[derive(Debug, Clone)]
enum Event {
    Add(u32),
    Remove(usize),
    Restart(usize),
    Wait(u64),
    Expect(u32),
    Weather(Weather),
    Toggle,
    /// The subnet at this place is left with so little.
    Shrink(usize, u32, u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u32..9).prop_map(Event::Add),
        6 => any::<usize>().prop_map(Event::Remove),
        4 => any::<usize>().prop_map(Event::Restart),
        8 => (200_u64..70_000).prop_map(Event::Wait),
        2 => (0_u32..5).prop_map(Event::Expect),
        1 => Just(Event::Weather(Weather::Fair)),
        1 => Just(Event::Weather(Weather::Failing)),
        1 => (2_u64..40).prop_map(|times| Event::Weather(Weather::Slow(times))),
        1 => Just(Event::Toggle),
        1 => (0_usize..2, 0_u32..30, 0_u32..3).prop_map(|(place, scattered, blocks)| {
            Event::Shrink(place, scattered, blocks)
        }),
    ]
}

fn aws_targets() -> impl Strategy<Value = Targets> {
    let mode = || prop_oneof![Just(SlotKind::Address), Just(SlotKind::Prefix)];
    prop_oneof![
        (mode(), 0_u32..3).prop_map(|(mode, warm)| warm_eni(mode, warm)),
        (mode(), 0_u32..8, 0_u32..20).prop_map(|(mode, warm, least)| warm_ip(mode, warm, least)),
        (0_u32..3).prop_map(warm_prefix),
    ]
}

fn warm(targets: &Targets) -> bool {
    let Scheme::Aws {
        warm_ip,
        minimum_ip,
        ..
    } = targets.scheme
    else {
        return false;
    };
    warm_ip != Some(0) || minimum_ip == Some(0)
}

fn azure_targets() -> impl Strategy<Value = Targets> {
    let mode = prop_oneof![Just(SlotKind::Address), Just(SlotKind::Prefix)];
    (mode, 1_u32..20, 1_u32..=100, 100_u32..=200).prop_map(|(mode, batch, request, more)| {
        let release_percent = request + more;
        Targets::with(
            mode,
            Scheme::Azure {
                batch,
                request_percent: request,
                release_percent,
            },
        )
    })
}

fn world() -> impl Strategy<Value = World> {
    let aws = (
        aws_targets(),
        1_u32..5,
        1_u32..12,
        1_u32..90,
        1_u32..20,
        any::<bool>(),
    );
    let aws = aws.prop_map(|(targets, interfaces, slots, max_pods, batch, custom)| {
        let limits = NodeLimits {
            interfaces,
            slots_per_interface: slots,
            max_pods,
        };
        let mut world = World::new(limits, targets);
        world.abilities.batch = batch;
        world.subnets.push(Subnet::new(4096, 4096));
        if custom {
            world.drain_primary();
        }
        world
    });
    let azure = (azure_targets(), 20_u32..80).prop_map(|(targets, max_pods)| {
        let limits = NodeLimits {
            interfaces: 1,
            slots_per_interface: 255,
            max_pods,
        };
        let mut world = World::new(limits, targets);
        world.abilities.attach = false;
        world
    });
    prop_oneof![3 => aws, 1 => azure]
}

fn live(world: &mut World, event: Event) {
    match event {
        Event::Add(pods) => {
            let room = world
                .limits
                .max_pods
                .saturating_sub(world.pods() + world.waiting);
            world.waiting += pods.min(room);
            world.expected = world.expected.saturating_sub(pods);
        }
        Event::Remove(place) => world.remove(place),
        Event::Restart(place) if world.pods() > 0 => {
            world.remove(place);
            world.waiting += 1;
        }
        Event::Restart(_) => {}
        Event::Wait(span) => world.run(span, 2_000),
        Event::Expect(pods) => world.expected = pods,
        Event::Weather(weather) => world.weather = weather,
        Event::Toggle => {
            world.targets.mode = match world.targets.mode {
                SlotKind::Address => SlotKind::Prefix,
                SlotKind::Prefix => SlotKind::Address,
            };
        }
        Event::Shrink(place, scattered, blocks) => {
            let place = place % world.subnets.len();
            let subnet = &mut world.subnets[place];
            subnet.scattered = subnet.scattered.min(scattered);
            subnet.blocks = subnet.blocks.min(blocks);
        }
    }
    world.tick();
}

fn heal(world: &mut World) {
    world.weather = Weather::Fair;
    world.expected = 0;
    for subnet in &mut world.subnets {
        subnet.scattered = 4096;
        subnet.blocks = 4096;
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn any_history_keeps_the_rules_converges_and_then_stays_quiet(
        mut world in world(),
        events in prop::collection::vec(event(), 1..50),
    ) {
        world.tick();
        for event in events {
            live(&mut world, event);
        }
        heal(&mut world);
        world.run(1_800_000, 10_000);
        prop_assert!(
            world.waiting == 0 || world.last_plan.hopeless.is_some(),
            "{} wait for what does not come:\n{}", world.waiting, world.last_plan
        );
        let calls = world.calls.len();
        world.run(900_000, 10_000);
        prop_assert_eq!(calls, world.calls.len(), "not quiet: {:?}", world.calls.last());
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn demand_that_swings_faster_than_the_release_delay_causes_no_call(
        targets in prop_oneof![aws_targets(), azure_targets()],
        base in 0_u32..20,
        swing in 1_u32..8,
        half_period_s in 2_u64..25,
        first in any::<usize>(),
    ) {
        let limits = NodeLimits { interfaces: 6, slots_per_interface: 14, max_pods: 1000 };
        let mut world = World::new(limits, targets);
        world.waiting = base;
        let mut calls = 0;
        let mut place = first;
        let settled = 600 / half_period_s;
        for turn in 0..2 * settled {
            if turn == settled {
                calls = world.calls.len();
            }
            for _ in 0..swing {
                if turn % 2 == 0 {
                    world.waiting += 1;
                } else {
                    world.remove(place);
                    place = place.wrapping_mul(31).wrapping_add(7);
                }
            }
            world.tick();
            world.run(half_period_s * 1000, 1000);
        }
        let late: Vec<_> = world.calls[calls..].iter().collect();
        prop_assert!(late.is_empty(), "{late:?}\n{}", world.last_plan);
    }

    // With a warm address at least: without one, a pod gets whatever has just
    // cooled, wherever that is.
    #[test]
    fn churn_never_leaves_two_interfaces_half_empty_for_ever(
        targets in aws_targets().prop_filter("a warm address", warm),
        pods in 2_u32..10,
        first in any::<usize>(),
    ) {
        let limits = NodeLimits { interfaces: 5, slots_per_interface: 22, max_pods: 1000 };
        let mut world = World::new(limits, targets);
        world.waiting = 22 * 5;
        world.run(60_000, 1000);
        let mut place = first;
        let mut next = || {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            place >> 33
        };
        while world.pods() > pods {
            world.remove(next());
        }
        for _ in 0..400 {
            world.remove(next());
            world.run(5_000, 5_000);
            world.waiting += 1;
            world.run(10_000, 5_000);
        }
        world.run(300_000, 10_000);
        let used = world.pods_by_interface().iter().filter(|pods| **pods > 0).count();
        prop_assert_eq!(used, 1, "{:?}", world.pods_by_interface());
    }
}

#[test]
fn a_subnet_that_stays_fragmented_is_asked_for_a_prefix_once_per_retry() {
    let limits = NodeLimits {
        interfaces: 3,
        slots_per_interface: 9,
        max_pods: 110,
    };
    let mut world = World::new(limits, warm_prefix(1));
    world.subnets = vec![Subnet::new(40, 0)];
    world.waiting = 3;
    world.run(60_000, 1_000);
    assert_eq!((world.pods(), world.waiting), (3, 0), "{}", world.last_plan);
    let calls = world.calls.len();
    world.run(10 * RETRY_MS, 1_000);
    let later = &world.calls[calls..];
    assert!(later.len() <= 10, "{later:?}");
    let prefixes = |(_, action): &(u64, Action)| {
        matches!(
            action,
            Action::Assign {
                kind: SlotKind::Prefix,
                ..
            }
        )
    };
    assert!(!later.is_empty() && later.iter().all(prefixes), "{later:?}");
}

#[test]
fn a_subnet_that_has_prefixes_again_gets_its_single_addresses_back() {
    let limits = NodeLimits {
        interfaces: 3,
        slots_per_interface: 9,
        max_pods: 110,
    };
    let mut world = World::new(limits, warm_prefix(1));
    world.subnets = vec![Subnet::new(40, 0)];
    world.waiting = 3;
    world.run(60_000, 1_000);
    assert!(world.slots(SlotKind::Address) > 3, "{}", world.last_plan);
    world.subnets[0].blocks = 100;
    world.run(600_000, 1_000);
    assert_eq!(world.slots(SlotKind::Address), 3, "only those of pods stay");
    for _ in 0..3 {
        world.remove(0);
        world.waiting += 1;
        world.run(120_000, 1_000);
    }
    assert_eq!(world.pods(), 3);
    assert_eq!(world.slots(SlotKind::Address), 0, "{}", world.last_plan);
    assert_eq!(world.slots(SlotKind::Prefix), 2);
}

#[test]
fn the_mode_can_change_both_ways_without_touching_a_pod() {
    let limits = NodeLimits {
        interfaces: 3,
        slots_per_interface: 3,
        max_pods: 110,
    };
    let mut world = World::new(limits, warm_eni(SlotKind::Address, 1));
    world.waiting = 4;
    world.run(60_000, 1_000);
    assert_eq!(
        (world.pods(), world.slots(SlotKind::Address)),
        (4, 9),
        "every slot is taken"
    );

    world.targets = warm_prefix(1);
    world.run(600_000, 1_000);
    assert_eq!(
        (world.pods(), world.slots(SlotKind::Address)),
        (4, 4),
        "{}",
        world.last_plan
    );
    assert_eq!(world.slots(SlotKind::Prefix), 1);
    world.waiting = 6;
    world.run(10_000, 1_000);
    assert_eq!((world.pods(), world.waiting), (10, 0));

    world.targets = warm_ip(SlotKind::Address, 2, 0);
    world.run(600_000, 1_000);
    assert_eq!(
        world.slots(SlotKind::Prefix),
        1,
        "pods have addresses of it"
    );
    assert_eq!(world.slots(SlotKind::Address), 6, "{}", world.last_plan);
    let calls = world.calls.len();
    world.run(600_000, 1_000);
    assert_eq!(world.calls.len(), calls);
}
