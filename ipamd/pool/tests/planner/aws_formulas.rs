//! The AWS plugin's arithmetic, written down a second time and plainly, against
//! what the planner settles at when pods come and go one by one.

use crate::build::{ADDRESS, PREFIX, warm_eni, warm_ip, warm_prefix};
use crate::cloud::World;
use veni_pool::{NodeLimits, Scheme, SlotKind, Targets};

struct Type {
    interfaces: u32,
    addresses: u32,
}

const T3_SMALL: Type = Type {
    interfaces: 3,
    addresses: 4,
};
const M5_LARGE: Type = Type {
    interfaces: 3,
    addresses: 10,
};
const M5_16XLARGE: Type = Type {
    interfaces: 15,
    addresses: 50,
};
const P3DN_24XLARGE: Type = Type {
    interfaces: 15,
    addresses: 50,
};

/// What the plugin's loop arrives at with `pods` pods packed into the lowest
/// units: prefixes in prefix mode, else addresses.
fn settled_units(machine: &Type, max_pods: u32, targets: &Targets, pods: u32) -> u32 {
    let Scheme::Aws {
        warm_eni,
        warm_ip,
        minimum_ip,
        warm_prefix,
    } = targets.scheme
    else {
        panic!("not AWS targets");
    };
    let (warm_ip, minimum_ip) = (warm_ip.unwrap_or(0), minimum_ip.unwrap_or(0));
    let prefixes = targets.mode == SlotKind::Prefix;
    let unit = if prefixes { 16 } else { 1 };
    let per_interface = machine.addresses - 1;
    let mut units = 0_u32;
    loop {
        let total = units * unit;
        if total >= max_pods || units == machine.interfaces * per_interface {
            return units;
        }
        // An ADD needs an address; the plugin fails it where Veni waits.
        let available = i64::from(total) - i64::from(pods);
        let free_units = i64::from(units) - i64::from(pods.div_ceil(unit));
        if warm_ip > 0 || minimum_ip > 0 {
            let short = (i64::from(warm_ip) - available)
                .max(0)
                .max(i64::from(minimum_ip) - i64::from(total));
            if short <= 0 {
                return units;
            }
            units += 1;
        } else if prefixes {
            let warm = i64::from(warm_prefix.expect("a target"));
            if available >= warm * 16 {
                return units;
            }
            units += u32::try_from((warm - free_units).max(1)).expect("not negative");
        } else {
            if available >= i64::from(warm_eni) * i64::from(per_interface) {
                return units;
            }
            units += per_interface;
        }
        units = units
            .min(machine.interfaces * per_interface)
            .min(max_pods.div_ceil(unit));
    }
}

/// Pods come one by one up to what the node can have, and go again in the
/// opposite order; after each `step` the planner's pool is compared.
fn compare(machine: &Type, max_pods: u32, targets: &Targets, step: u32) {
    let slots = machine.addresses - 1;
    let limits = NodeLimits {
        interfaces: machine.interfaces,
        slots_per_interface: slots,
        max_pods,
    };
    let mut world = World::instant(limits, *targets);
    let size = if targets.mode == SlotKind::Prefix {
        16
    } else {
        1
    };
    let most = (machine.interfaces * slots * size).min(max_pods);
    let check = |world: &World, way: &str| {
        let pods = world.pods();
        let expected = settled_units(machine, max_pods, targets, pods);
        assert_eq!(
            world.slots(targets.mode),
            expected,
            "{way}, {pods} pods, {:?}\n{}",
            targets.scheme,
            world.last_plan
        );
        assert!(
            world.interfaces() as u32 <= expected.div_ceil(slots).max(1),
            "{way}, {pods} pods"
        );
    };
    world.settle();
    check(&world, "growing");
    while world.pods() < most {
        world.waiting = step.min(most - world.pods());
        world.settle();
        world.settle();
        check(&world, "growing");
    }
    while world.pods() > 0 {
        for _ in 0..step {
            world.remove_last();
        }
        world.tick();
        for _ in 0..3 {
            world.now_ms += targets.release_delay_ms.max(targets.detach_age_ms);
            world.settle();
        }
        check(&world, "shrinking");
    }
}

#[test]
fn single_addresses_settle_at_the_formulas_on_small_nodes() {
    for machine in [T3_SMALL, M5_LARGE] {
        let max_pods = machine.interfaces * (machine.addresses - 1) + 2;
        for warm in [1, 2] {
            compare(&machine, max_pods, &warm_eni(ADDRESS, warm), 1);
        }
        for (warm, minimum) in [
            (1, 0),
            (2, 0),
            (5, 0),
            (2, 8),
            (1, 1),
            (5, 10),
            (7, 20),
            (30, 1),
        ] {
            compare(&machine, max_pods, &warm_ip(ADDRESS, warm, minimum), 1);
        }
    }
}

#[test]
fn prefixes_settle_at_the_formulas_on_small_nodes() {
    for (machine, max_pods) in [(T3_SMALL, 110), (T3_SMALL, 146), (M5_LARGE, 110)] {
        for warm in [1, 2, 3] {
            compare(&machine, max_pods, &warm_prefix(warm), 1);
        }
        for (warm, minimum) in [(1, 0), (5, 0), (16, 0), (17, 0), (2, 20), (7, 20), (20, 64)] {
            compare(&machine, max_pods, &warm_ip(PREFIX, warm, minimum), 1);
        }
    }
}

#[test]
fn single_addresses_settle_at_the_formulas_on_large_nodes() {
    for machine in [M5_16XLARGE, P3DN_24XLARGE] {
        let max_pods = machine.interfaces * (machine.addresses - 1) + 2;
        compare(&machine, max_pods, &warm_eni(ADDRESS, 1), 7);
        compare(&machine, max_pods, &warm_ip(ADDRESS, 5, 100), 13);
    }
}

#[test]
fn prefixes_settle_at_the_formulas_on_large_nodes() {
    for machine in [M5_16XLARGE, P3DN_24XLARGE] {
        for targets in [warm_prefix(1), warm_prefix(4), warm_ip(PREFIX, 10, 50)] {
            compare(&machine, 250, &targets, 1);
            compare(&machine, 737, &targets, 5);
        }
    }
}

#[test]
fn a_minimum_alone_grows_with_the_pods_beyond_it() {
    let limits = NodeLimits {
        interfaces: 3,
        slots_per_interface: 9,
        max_pods: 29,
    };
    let mut world = World::instant(limits, warm_ip(ADDRESS, 0, 5));
    for pods in 0..=27 {
        world.settle();
        assert_eq!((world.pods(), world.slots(ADDRESS)), (pods, pods.max(5)));
        world.waiting += u32::from(pods < 27);
        world.settle();
    }
}

#[test]
fn a_target_of_zero_still_keeps_one_address_free_and_does_not_flap() {
    let limits = NodeLimits {
        interfaces: 3,
        slots_per_interface: 9,
        max_pods: 29,
    };
    for (targets, unit, slots) in [(warm_eni(ADDRESS, 0), 9, 9), (warm_prefix(0), 16, 1)] {
        let mut world = World::instant(limits, targets);
        world.waiting = unit;
        world.settle();
        world.settle();
        assert_eq!(world.slots(targets.mode), 2 * slots);
        let calls = world.calls.len();
        world.run(600_000, 5_000);
        assert_eq!(world.calls.len(), calls, "{}", world.last_plan);
    }
}
