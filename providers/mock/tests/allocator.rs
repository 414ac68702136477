//! The allocator over random histories: nothing is given out twice, prefixes
//! are aligned, and everything that is freed comes back.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use veni_provider_mock::allocator::{Allocator, Lease};
use veni_provider_mock::config::AllocationOrder;

#[derive(Debug, Clone)]
enum Step {
    Address,
    Prefix,
    Free(prop::sample::Index),
    Fill(u8),
    Fragment,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Address),
        3 => Just(Step::Prefix),
        5 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => any::<u8>().prop_map(Step::Fill),
        1 => Just(Step::Fragment),
    ]
}

fn range() -> impl Strategy<Value = IpNet> {
    prop::sample::select(vec![
        "10.0.0.0/29",
        "10.0.0.0/24",
        "10.0.0.64/26",
        "fd00::/72",
    ])
    .prop_map(|text| text.parse().expect("a range"))
}

fn order() -> impl Strategy<Value = AllocationOrder> {
    prop::sample::select(vec![AllocationOrder::Random, AllocationOrder::LowestFirst])
}

fn as_range(lease: &Lease) -> IpNet {
    match lease {
        Lease::Address(address) => IpNet::from(*address),
        Lease::Prefix(prefix) => *prefix,
    }
}

fn size(lease: &Lease) -> u128 {
    let range = as_range(lease);
    1 << (range.max_prefix_len() - range.prefix_len())
}

proptest! {
    #[test]
    fn nothing_is_given_out_twice_and_everything_comes_back(
        range in range(),
        order in order(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut allocator = Allocator::new(range, order);
        let (addresses, prefixes) = (allocator.free_addresses(), allocator.free_prefixes());
        let mut held: Vec<Lease> = Vec::new();
        for step in steps {
            let mut new = Vec::new();
            match step {
                Step::Address => new.extend(allocator.take_address(&mut rng).map(Lease::Address)),
                Step::Prefix => {
                    let left = allocator.free_prefixes();
                    let prefix = allocator.take_prefix(&mut rng);
                    prop_assert_eq!(prefix.is_some(), left > 0);
                    new.extend(prefix.map(Lease::Prefix));
                }
                Step::Free(which) if !held.is_empty() => {
                    let lease = held.swap_remove(which.index(held.len()));
                    prop_assert!(allocator.free(lease));
                    prop_assert!(!allocator.free(lease), "nobody gives back twice");
                }
                Step::Free(_) => {}
                Step::Fill(leave) => {
                    let taken = allocator.fill(u128::from(leave), &mut rng);
                    new.extend(taken.into_iter().map(Lease::Address));
                }
                Step::Fragment => {
                    let taken = allocator.fragment(&mut rng);
                    new.extend(taken.into_iter().map(Lease::Address));
                    prop_assert_eq!(allocator.free_prefixes(), 0);
                }
            }
            for lease in new {
                let taken = as_range(&lease);
                prop_assert!(range.contains(&taken), "{taken} outside of {range}");
                prop_assert_eq!(taken.trunc(), taken, "not aligned");
                for other in held.iter().map(as_range) {
                    prop_assert!(!other.contains(&taken) && !taken.contains(&other),
                        "{} and {} overlap", taken, other);
                }
                held.push(lease);
            }
            let used: u128 = held.iter().map(size).sum();
            prop_assert_eq!(allocator.free_addresses(), addresses - used);
        }
        for lease in held {
            prop_assert!(allocator.free(lease));
        }
        prop_assert_eq!(allocator.free_addresses(), addresses);
        prop_assert_eq!(allocator.free_prefixes(), prefixes);
    }
}

fn allocator(range: &str) -> (Allocator, StdRng) {
    let range = range.parse().expect("a range");
    (
        Allocator::new(range, AllocationOrder::Random),
        StdRng::seed_from_u64(7),
    )
}

#[test]
fn a_subnet_keeps_its_first_four_addresses_and_its_last() {
    let (mut allocator, mut rng) = allocator("10.0.0.0/28");
    let mut all: Vec<IpAddr> = std::iter::from_fn(|| allocator.take_address(&mut rng)).collect();
    all.sort();
    let wanted: Vec<IpAddr> = (4..15).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    assert_eq!(all, wanted);
    let reserved = Lease::Address(IpAddr::from([10, 0, 0, 1]));
    assert!(!allocator.free(reserved), "nobody can free the gateway");
}

#[test]
fn a_released_address_rests_while_others_are_free() {
    let (mut allocator, mut rng) = allocator("10.0.0.0/27");
    let first = allocator.take_address(&mut rng).expect("is free");
    assert!(allocator.free(Lease::Address(first)));
    let others = allocator.free_addresses() - 1;
    for _ in 0..others {
        let next = allocator.take_address(&mut rng).expect("is free");
        assert_ne!(next, first);
    }
    assert_eq!(
        allocator.take_address(&mut rng),
        Some(first),
        "now it is the last"
    );
}

#[test]
fn a_released_prefix_rests_while_others_are_free() {
    let (mut allocator, mut rng) = allocator("10.0.0.0/25");
    let first = allocator.take_prefix(&mut rng).expect("is free");
    assert!(allocator.free(Lease::Prefix(first)));
    let others = allocator.free_prefixes() - 1;
    for _ in 0..others {
        let next = allocator.take_prefix(&mut rng).expect("is free");
        assert_ne!(next, first);
    }
    assert_eq!(allocator.take_prefix(&mut rng), Some(first));
}

#[test]
fn forty_free_addresses_can_hold_no_free_block() {
    let (mut allocator, mut rng) = allocator("10.0.0.0/24");
    allocator.fragment(&mut rng);
    allocator.fill(40, &mut rng);
    assert_eq!(allocator.free_addresses(), 40);
    assert_eq!(allocator.take_prefix(&mut rng), None);
    assert!(allocator.take_address(&mut rng).is_some());
}

#[test]
fn the_same_seed_gives_the_same_addresses() {
    let drawn = || {
        let (mut allocator, mut rng) = allocator("10.0.0.0/20");
        std::iter::from_fn(move || allocator.take_address(&mut rng))
            .take(50)
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(), drawn());
}

#[test]
fn lowest_first_is_lowest_first() {
    let range = "10.0.0.0/24".parse().expect("a range");
    let mut allocator = Allocator::new(range, AllocationOrder::LowestFirst);
    let mut rng = StdRng::seed_from_u64(1);
    let next = allocator.take_address(&mut rng);
    assert_eq!(next, Some(IpAddr::from([10, 0, 0, 4])));
}
