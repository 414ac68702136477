//! What a fresh node shows.

use std::net::IpAddr;

use super::{Fixture, Outcome, TestNode, Verdict, ensure, primary};
use crate::InterfaceState;

pub(super) async fn the_primary_interface_shows_with_its_own_address(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let inventory = node.provider.inventory().await?;
    let primary = primary(&inventory)?;
    let seen = || format!("{primary:?}");
    ensure(primary.device_index == 0, seen)?;
    ensure(primary.managed, seen)?;
    ensure(primary.state == InterfaceState::Attached, seen)?;
    ensure(primary.subnet == node.subnet, seen)?;
    ensure(!primary.own_addresses.is_empty(), seen)?;
    ensure(
        primary.addresses.is_empty() && primary.prefixes.is_empty(),
        seen,
    )?;
    let inside = |address: &IpAddr| primary.subnet_cidrs.iter().any(|c| c.contains(address));
    ensure(primary.own_addresses.iter().all(inside), seen)?;
    ensure(primary.gateways.len() == primary.subnet_cidrs.len(), seen)?;
    Ok(Verdict::Shown)
}

pub(super) async fn the_subnet_of_the_primary_interface_is_among_the_subnets(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let inventory = node.provider.inventory().await?;
    let primary = primary(&inventory)?;
    let found = inventory.subnets.iter().find(|s| s.id == node.subnet);
    ensure(
        found.is_some_and(|s| s.cidrs == primary.subnet_cidrs && s.free_ipv4 > 0),
        || {
            format!(
                "subnets are {:?}, the interface is {primary:?}",
                inventory.subnets
            )
        },
    )?;
    Ok(Verdict::Shown)
}

pub(super) async fn the_node_has_limits_and_its_network(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let told = node.provider.node().await?;
    let inventory = node.provider.inventory().await?;
    let primary = primary(&inventory)?;
    let seen = || format!("{told:?}");
    ensure(!told.instance_id.is_empty(), seen)?;
    ensure(told.limits.interfaces >= 1, seen)?;
    ensure(told.limits.ipv4_per_interface >= 1, seen)?;
    let in_network = |address: &IpAddr| told.network_cidrs.iter().any(|c| c.contains(address));
    ensure(primary.own_addresses.iter().all(in_network), seen)?;
    Ok(Verdict::Shown)
}
