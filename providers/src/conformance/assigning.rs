//! Addresses and prefixes that come.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Fixture, NotShown, Outcome, TestNode, Verdict, ensure, ensure_class, primary, primary_now,
    refused, settle,
};
use crate::{AddressSlots, ErrorClass, Family, Grant, Interface, Limit, Scarcity};

pub(super) const fn addresses(count: u32) -> AddressSlots {
    AddressSlots::Addresses {
        family: Family::V4,
        count,
    }
}

pub(super) const fn prefixes(count: u32) -> AddressSlots {
    AddressSlots::Prefixes {
        family: Family::V4,
        count,
    }
}

/// Whether all of it may be given to pods: inside the subnet, and neither the
/// interface's own nor one that the cloud reserves.
pub(super) fn ensure_usable(interface: &Interface, grant: &Grant) -> Result<(), NotShown> {
    let reserved = |address: &IpAddr| {
        let subnet = interface.subnet_cidrs.iter().find(|c| c.contains(address));
        interface.gateways.contains(address)
            || subnet.is_some_and(|c| c.network() == *address || c.broadcast() == *address)
    };
    for address in &grant.addresses {
        let inside = interface.subnet_cidrs.iter().any(|c| c.contains(address));
        let own = interface.own_addresses.contains(address);
        ensure(inside && !own && !reserved(address), || {
            format!("{address} may not be given out on {interface:?}")
        })?;
    }
    for prefix in &grant.prefixes {
        let inside = interface.subnet_cidrs.iter().any(|c| c.contains(prefix));
        let length = Family::of(prefix.addr()).delegated_prefix_length();
        let own = interface.own_addresses.iter().any(|a| prefix.contains(a));
        let aligned = prefix.trunc() == *prefix && prefix.prefix_len() == length;
        ensure(inside && aligned && !own, || {
            format!("{prefix} may not be given out on {interface:?}")
        })?;
    }
    Ok(())
}

pub(super) fn ensure_disjoint<'a>(
    grants: impl IntoIterator<Item = &'a Grant>,
) -> Result<(), NotShown> {
    let mut seen = BTreeSet::new();
    let mut prefixes: Vec<IpNet> = Vec::new();
    for grant in grants {
        for address in &grant.addresses {
            let covered = prefixes.iter().any(|prefix| prefix.contains(address));
            ensure(seen.insert(*address) && !covered, || {
                format!("{address} was given out twice")
            })?;
        }
        for prefix in &grant.prefixes {
            let covers = seen.iter().any(|address| prefix.contains(address));
            ensure(!prefixes.contains(prefix) && !covers, || {
                format!("{prefix} overlaps what was given out before")
            })?;
            prefixes.push(*prefix);
        }
    }
    Ok(())
}

pub(super) async fn only_new_addresses_of_the_subnet_are_returned(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let first = node.provider.assign(&interface.id, addresses(3)).await?;
    let second = node.provider.assign(&interface.id, addresses(2)).await?;
    let counts = (first.addresses.len(), second.addresses.len());
    ensure(
        (1..=3).contains(&counts.0) && (1..=2).contains(&counts.1),
        || format!("3 and 2 were asked for, {counts:?} came"),
    )?;
    ensure(
        first.prefixes.is_empty() && second.prefixes.is_empty(),
        || "prefixes came where addresses were asked for".to_owned(),
    )?;
    ensure_usable(&interface, &first)?;
    ensure_usable(&interface, &second)?;
    ensure_disjoint([&first, &second])?;
    Ok(Verdict::Shown)
}

pub(super) async fn assigned_addresses_show_in_the_inventory(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let grant = node.provider.assign(&interface.id, addresses(3)).await?;
    let wanted: BTreeSet<IpAddr> = grant.addresses.iter().copied().collect();
    settle(
        &node,
        "all assigned addresses must show, and no other",
        |inventory| {
            let shown = primary(inventory).map(|i| i.addresses.iter().copied().collect());
            shown.is_ok_and(|shown: BTreeSet<IpAddr>| shown == wanted)
        },
    )
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn prefixes_are_aligned_and_do_not_overlap(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !node.provider.capabilities().ipv4_prefixes {
        return Ok(Verdict::NotApplicable("no IPv4 prefixes"));
    }
    let interface = primary_now(&node).await?;
    let single = node.provider.assign(&interface.id, addresses(1)).await?;
    let first = node.provider.assign(&interface.id, prefixes(1)).await?;
    let second = node.provider.assign(&interface.id, prefixes(2)).await?;
    ensure(
        first.prefixes.len() == 1 && first.addresses.is_empty(),
        || format!("one prefix was asked for, {first:?} came"),
    )?;
    ensure_usable(&interface, &first)?;
    ensure_usable(&interface, &second)?;
    ensure_disjoint([&single, &first, &second])?;
    settle(&node, "the prefix must show", |inventory| {
        primary(inventory).is_ok_and(|i| first.prefixes.iter().all(|p| i.prefixes.contains(p)))
    })
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn ipv6_addresses_and_prefixes_lie_in_the_ipv6_range(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let limits = node.provider.node().await?.limits;
    let family = Family::V6;
    let has_range = interface
        .subnet_cidrs
        .iter()
        .any(|cidr| Family::of(cidr.addr()) == family);
    if !has_range || limits.ipv6_per_interface < 4 {
        return Ok(Verdict::NotApplicable("no IPv6 on this node"));
    }
    let capabilities = node.provider.capabilities();
    let mut grants = Vec::new();
    if capabilities.ipv6_addresses {
        let slots = AddressSlots::Addresses { family, count: 2 };
        grants.push(node.provider.assign(&interface.id, slots).await?);
    }
    if capabilities.ipv6_prefixes {
        let slots = AddressSlots::Prefixes { family, count: 1 };
        grants.push(node.provider.assign(&interface.id, slots).await?);
    }
    for grant in &grants {
        ensure_usable(&interface, grant)?;
        let all_of_family = grant.addresses.iter().all(|a| Family::of(*a) == family)
            && grant
                .prefixes
                .iter()
                .all(|p| Family::of(p.addr()) == family);
        ensure(all_of_family && !grant.is_empty(), || {
            format!("IPv6 was asked for, {grant:?} came")
        })?;
    }
    ensure_disjoint(&grants)?;
    Ok(Verdict::Shown)
}

/// Fills all IPv4 slots of an interface.
async fn fill_slots(node: &TestNode, interface: &Interface) -> Result<u32, NotShown> {
    let limits = node.provider.node().await?.limits;
    let is_v4 = |address: &&IpAddr| Family::of(**address) == Family::V4;
    let own = interface.own_addresses.iter().filter(is_v4).count();
    let mut left = limits.ipv4_per_interface - u32::try_from(own).unwrap_or(u32::MAX);
    let batch = node.provider.capabilities().batch.max(1);
    let all = left;
    while left > 0 {
        let slots = addresses(left.min(batch));
        let grant = node.provider.assign(&interface.id, slots).await?;
        left = left.saturating_sub(u32::try_from(grant.addresses.len()).unwrap_or(u32::MAX));
    }
    Ok(all)
}

pub(super) async fn a_full_interface_has_reached_its_limit(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let held = fill_slots(&node, &interface).await?;
    let more = node.provider.assign(&interface.id, addresses(1)).await;
    ensure_class(
        &refused(more, "one more address")?,
        &ErrorClass::LimitReached {
            limit: Limit::Slots,
        },
    )?;
    settle(&node, "the interface must hold what fits", |inventory| {
        primary(inventory).is_ok_and(|i| i.addresses.len() == held as usize)
    })
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_prefix_takes_one_slot(_: &dyn Fixture, node: TestNode) -> Outcome {
    if !node.provider.capabilities().ipv4_prefixes {
        return Ok(Verdict::NotApplicable("no IPv4 prefixes"));
    }
    let interface = primary_now(&node).await?;
    fill_slots(&node, &interface).await?;
    let more = node.provider.assign(&interface.id, prefixes(1)).await;
    ensure_class(
        &refused(more, "one more prefix")?,
        &ErrorClass::LimitReached {
            limit: Limit::Slots,
        },
    )?;
    let full = settle(&node, "the addresses must show", |inventory| {
        primary(inventory).is_ok_and(|i| !i.addresses.is_empty())
    })
    .await?;
    let one = Grant {
        addresses: primary(&full)?.addresses[..1].to_vec(),
        prefixes: Vec::new(),
    };
    node.provider.release(&interface.id, &one).await?;
    let prefix = node.provider.assign(&interface.id, prefixes(1)).await?;
    ensure(prefix.prefixes.len() == 1, || format!("{prefix:?} came"))?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_full_subnet_is_exhausted_of_addresses(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    if !fixture.fill(&node.subnet, 0).await {
        return Ok(Verdict::NotApplicable("the fixture cannot fill a subnet"));
    }
    let more = node.provider.assign(&interface.id, addresses(1)).await;
    let wanted = ErrorClass::Exhausted {
        subnet: node.subnet.clone(),
        scarcity: Scarcity::Addresses,
    };
    ensure_class(&refused(more, "an address of a full subnet")?, &wanted)?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_fragmented_subnet_is_exhausted_of_prefixes_and_not_of_addresses(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !node.provider.capabilities().ipv4_prefixes {
        return Ok(Verdict::NotApplicable("no IPv4 prefixes"));
    }
    let interface = primary_now(&node).await?;
    if !fixture.fragment(&node.subnet).await {
        return Ok(Verdict::NotApplicable(
            "the fixture cannot fragment a subnet",
        ));
    }
    let prefix = node.provider.assign(&interface.id, prefixes(1)).await;
    let wanted = ErrorClass::Exhausted {
        subnet: node.subnet.clone(),
        scarcity: Scarcity::Prefixes,
    };
    ensure_class(
        &refused(prefix, "a prefix of a fragmented subnet")?,
        &wanted,
    )?;
    let single = node.provider.assign(&interface.id, addresses(1)).await?;
    ensure(single.addresses.len() == 1, || format!("{single:?} came"))?;
    Ok(Verdict::Shown)
}

pub(super) async fn an_unknown_interface_is_not_found(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let unknown = fixture.unknown_interface();
    let answer = node.provider.assign(&unknown, addresses(1)).await;
    let class = refused(answer, "assigning to an unknown interface")?;
    ensure_class(&class, &ErrorClass::NotFound)?;
    Ok(Verdict::Shown)
}

pub(super) async fn two_nodes_never_get_the_same_address(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let Some(other) = fixture.neighbour(&node).await else {
        return Ok(Verdict::NotApplicable("the fixture makes one node only"));
    };
    let (here, there) = (primary_now(&node).await?, primary_now(&other).await?);
    let (first, second) = tokio::join!(
        node.provider.assign(&here.id, addresses(4)),
        other.provider.assign(&there.id, addresses(4)),
    );
    let own = |interface: &Interface| Grant {
        addresses: interface.own_addresses.clone(),
        prefixes: Vec::new(),
    };
    ensure_disjoint([&first?, &second?, &own(&here), &own(&there)])?;
    fixture.finish(other).await;
    Ok(Verdict::Shown)
}
