//! Nodes that start and end, with all their interfaces.

use veni_provider::{AddressSlots, DEFAULT_NETWORK_CARD, Family, Interface};

use crate::allocator::Lease;
use crate::change::Change;
use crate::config::{DEFAULT_SECURITY_GROUP, ExistingInterface, NodeConfig};
use crate::instances;
use crate::node::NodeState;
use crate::refusal::Refusal;
use crate::state::State;

pub(crate) fn make_node(state: &mut State, config: &NodeConfig) -> Result<Interface, Refusal> {
    let instance = config.instance_id.as_str();
    if state.nodes.contains_key(instance) {
        // Said before anything is made, so undoing must not touch the other one.
        return Err(Refusal::invalid("its id is taken"));
    }
    let limits = config
        .limits
        .or_else(|| instances::limits(&config.instance_type))
        .ok_or_else(|| {
            let known: Vec<_> = instances::known().collect();
            Refusal::invalid(format!(
                "limits of type {} are not known; give them, or use one of {}",
                config.instance_type,
                known.join(", ")
            ))
        })?;
    let zone = state.subnet_mut(&config.subnet)?.config.zone.clone();
    let security_groups = if config.security_groups.is_empty() {
        vec![DEFAULT_SECURITY_GROUP.to_owned()]
    } else {
        config.security_groups.clone()
    };
    let known = |group: &String| state.config.security_groups.iter().any(|g| g.id == *group);
    if let Some(group) = security_groups.iter().find(|group| !known(group)) {
        return Err(Refusal::invalid(format!(
            "there is no security group {group} (InvalidGroup.NotFound)"
        )));
    }
    let node = NodeState::new(config, zone, limits, security_groups);
    state.nodes.insert(instance.to_owned(), node);
    state.publish(Change::NodeAdded {
        instance: instance.to_owned(),
        instance_type: config.instance_type.clone(),
    });
    let primary = make_primary(state, config)?;
    for existing in &config.interfaces {
        make_existing(state, instance, existing)?;
    }
    // A new node's inventory shows all of it from the start.
    let now = state.now();
    if let Some(node) = state.nodes.get_mut(instance) {
        node.show_at(now);
    }
    Ok(primary)
}

fn make_primary(state: &mut State, config: &NodeConfig) -> Result<Interface, Refusal> {
    let mut primary =
        state.make_interface(&config.instance_id, &config.subnet, DEFAULT_NETWORK_CARD)?;
    if let Some(mac) = config.primary_mac {
        primary.mac = mac;
    }
    if let Some(wanted) = config.primary_address {
        let drawn = primary
            .own_addresses
            .iter_mut()
            .find(|own| Family::of(**own) == Family::of(wanted));
        let subnet = state.subnet_mut(&config.subnet)?;
        if let Some(own) = drawn
            && *own != wanted
        {
            if !subnet.take_this(wanted) {
                state.free(&primary);
                return Err(Refusal::invalid(format!(
                    "{wanted} is not free in {}",
                    config.subnet
                )));
            }
            subnet.free(Lease::Address(*own));
            *own = wanted;
        }
    }
    state.plug(&config.instance_id, primary.clone())?;
    Ok(primary)
}

fn make_existing(
    state: &mut State,
    instance: &str,
    existing: &ExistingInterface,
) -> Result<(), Refusal> {
    let family = Family::V4;
    let mut interface = state.make_interface(instance, &existing.subnet, existing.network_card)?;
    interface.managed &= existing.managed;
    interface.made_for_pods = interface.managed && !existing.by_hand;
    interface.mac = existing.mac.unwrap_or(interface.mac);
    let addresses = AddressSlots::Addresses {
        family,
        count: existing.addresses,
    };
    let prefixes = AddressSlots::Prefixes {
        family,
        count: existing.prefixes,
    };
    for (slots, count) in [
        (addresses, existing.addresses),
        (prefixes, existing.prefixes),
    ] {
        if count > 0
            && let Err(refusal) = state.take_slots(instance, &mut interface, slots, None)
        {
            state.free(&interface);
            return Err(refusal);
        }
    }
    state.plug(instance, interface)
}

/// Removes a node with all its interfaces; `false` when there was none. With
/// `whole` unset only one that was made halfway is removed.
pub(crate) fn remove_node(state: &mut State, instance: &str, whole: bool) -> bool {
    let unfinished = |node: &NodeState| !node.complete;
    if !whole && !state.nodes.get(instance).is_some_and(unfinished) {
        return false;
    }
    let Some(node) = state.nodes.remove(instance) else {
        return false;
    };
    for interface in &node.interfaces {
        state.free(interface);
        state.publish(Change::InterfaceDetached {
            instance: instance.to_owned(),
            interface: interface.id.clone(),
            mac: interface.mac,
        });
    }
    state.publish(Change::NodeRemoved {
        instance: instance.to_owned(),
    });
    true
}
