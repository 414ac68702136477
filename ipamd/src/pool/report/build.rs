//! Makes the reports from the owner task's parts.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_nouns::SlotKind;
use veni_nouns::range::capacity;
use veni_pool::reasons::Hopeless;
use veni_pool::{Action, Plan};
use veni_provider::{Family, Subnet};

use super::{
    ActionReport, AddressReport, AddressState, ExhaustionReport, InterfaceReport, InterfaceState,
    LevelCounts, LevelLimits, PlanReport, PoolReport, PrefixReport, Remark, SubnetReport, UnderWay,
    Why,
};
use crate::journal::Origin;
use crate::pool::changes::Changes;
use crate::pool::held_back::HeldBack;
use crate::pool::holdings::Holdings;
use crate::pool::interface::{Held, PoolInterface, family_of};
use crate::pool::interface_setup::InterfaceSetup;
use crate::pool::settings::PoolSettings;

/// What a report of the pool is made of.
pub(in crate::pool) struct Sources<'a> {
    pub(in crate::pool) holdings: &'a Holdings,
    pub(in crate::pool) settings: &'a PoolSettings,
    pub(in crate::pool) setup: &'a InterfaceSetup,
    pub(in crate::pool) provider: &'static str,
    /// How many ADDs wait.
    pub(in crate::pool) waiting: u32,
    /// Why the last call failed, should it have.
    pub(in crate::pool) cloud_error: Option<&'a str>,
}

/// The pool as it is at `now`.
pub(in crate::pool) fn pool_report(sources: &Sources<'_>, now: Instant) -> PoolReport {
    let (holdings, settings) = (sources.holdings, sources.settings);
    let ordered = holdings.ordered().into_iter();
    let subnets = holdings.subnets.list().iter();
    PoolReport {
        node: holdings.node.instance_id.clone(),
        provider: sources.provider,
        instance_type: holdings.node.instance_type.clone(),
        max_pods: settings.max_pods,
        max_interfaces: holdings.limits().interfaces,
        interfaces: ordered
            .map(|interface| InterfaceReport {
                table: sources.setup.table_of(&interface.cloud.id),
                ..interface_report(holdings, interface, now)
            })
            .collect(),
        subnets: subnets
            .map(|subnet| subnet_report(holdings, subnet, now))
            .collect(),
        counts: levels(holdings, now),
        waiting: sources.waiting,
        cloud_error: sources.cloud_error.map(str::to_owned),
        node_warnings: holdings.node_addresses.warnings(),
    }
}

/// What is under way, what the plans of all families say, and what holds them back.
pub(in crate::pool) fn plan_report<'a>(
    changes: &Changes,
    plans: impl Iterator<Item = &'a Plan>,
    held_back: Vec<HeldBack>,
    one_more: Option<Hopeless>,
) -> PlanReport {
    let running = changes.running().iter().map(|change| ActionReport {
        action: change.action.clone(),
        why: Why::Wanted(change.cause.clone()),
    });
    let unanswered = changes.unanswered().iter().map(|one| ActionReport {
        action: one.action.clone(),
        why: Why::OutcomeUnknown,
    });
    let notes = plans.flat_map(|plan| {
        let notes = plan.notes.iter().cloned().map(Remark::Note);
        notes.chain(plan.hopeless.clone().map(Remark::Hopeless))
    });
    PlanReport {
        actions: running.chain(unanswered).collect(),
        notes: notes.collect(),
        held_back,
        one_more,
    }
}

/// Counts what pods have and could have at once.
pub(in crate::pool) fn levels(holdings: &Holdings, now: Instant) -> LevelCounts {
    let Some(family) = holdings.families.first().copied() else {
        return LevelCounts::default();
    };
    let mut counts = LevelCounts::default();
    for interface in holdings.interfaces.values() {
        let managed = interface.cloud.managed;
        let of_card = u32::from(interface.cloud.on_default_card());
        counts.interfaces += if managed { of_card } else { 0 };
        counts.unmanaged += if managed { 0 } else { of_card };
        let origin_of = holdings.origins.on(&interface.cloud.id);
        for (cidr, held) in &interface.held {
            if family_of(cidr) != family {
                continue;
            }
            let cooling = holdings.leases.cooling_in(cidr, now);
            counts.cooling += cooling;
            if held.releasing {
                continue;
            }
            let capacity = capacity(cidr);
            let capacity = capacity.saturating_sub(holdings.unavailable(origin_of(cidr), cidr));
            counts.total += capacity;
            counts.prefixes += u32::from(!is_single(cidr));
            if interface.serves() && held.serves() {
                let taken = cooling + holdings.leases.leased_in(cidr);
                counts.free += capacity.saturating_sub(taken);
            }
        }
    }
    let of_family = |address: &IpAddr| Family::of(*address) == family;
    let assigned = holdings.leases.leased().filter(of_family).count();
    counts.assigned = u32::try_from(assigned).unwrap_or(u32::MAX);
    counts
}

/// What the pool may grow to beside these interfaces.
pub(in crate::pool) fn limits(
    holdings: &Holdings,
    counts: &LevelCounts,
    settings: &PoolSettings,
) -> LevelLimits {
    let limits = holdings.limits();
    let most = settings.max_interfaces.unwrap_or(limits.interfaces);
    let interfaces = most.min(limits.interfaces).saturating_sub(counts.unmanaged);
    let slots = limits.ipv4_per_interface.saturating_sub(1) * interfaces;
    let addresses = match settings.targets.mode {
        // A /28.
        SlotKind::Prefix => slots * 16,
        SlotKind::Address => slots,
    };
    // A /80 alone holds more than any node may have.
    let counted = holdings.families.first() == Some(&Family::V4);
    LevelLimits {
        interfaces,
        addresses: match counted {
            true => addresses.min(settings.max_pods),
            false => settings.max_pods,
        },
    }
}

/// How many calls are under way; inventories are told of by who asks for them.
pub(in crate::pool) fn under_way(changes: &Changes, inventories: usize) -> UnderWay {
    let running = changes.running();
    let grows = |action: &Action| matches!(action, Action::Assign { .. } | Action::Attach { .. });
    let growing = running.iter().filter(|one| grows(&one.action)).count();
    UnderWay {
        growing,
        shrinking: running.len() - growing,
        inventories,
    }
}

fn interface_report(
    holdings: &Holdings,
    interface: &PoolInterface,
    now: Instant,
) -> InterfaceReport {
    let mut addresses = Vec::new();
    let mut prefixes = Vec::new();
    let origin_of = holdings.origins.on(&interface.cloud.id);
    for (cidr, held) in &interface.held {
        let origin = origin_of(cidr);
        if is_single(cidr) {
            let otherwise = unused_state(holdings, origin, cidr, held);
            addresses.push(address_report(holdings, cidr.addr(), otherwise, now));
        } else {
            let unavailable = match held.presence.is_certain() {
                true => holdings.unavailable(origin, cidr).min(capacity(cidr)),
                false => capacity(cidr),
            };
            prefixes.push(prefix_report(holdings, *cidr, unavailable, now));
        }
    }
    let cloud = &interface.cloud;
    // The other family has slots of its own.
    let family = holdings.families.first().copied();
    let held = interface.held.keys();
    let slots_used = held.filter(|cidr| Some(family_of(cidr)) == family).count();
    InterfaceReport {
        id: cloud.id.clone(),
        mac: cloud.mac,
        link: interface.link.clone(),
        device_index: cloud.device_index,
        network_card: cloud.network_card,
        primary: cloud.primary,
        subnet: cloud.subnet.clone(),
        state: interface_state(interface),
        primary_address: cloud.own_addresses.first().copied(),
        table: None,
        slots: holdings.limits().ipv4_per_interface.saturating_sub(1),
        slots_used: u32::try_from(slots_used).unwrap_or(u32::MAX),
        addresses,
        prefixes,
    }
}

fn interface_state(interface: &PoolInterface) -> InterfaceState {
    use veni_provider::InterfaceState as InCloud;
    match interface.cloud.state {
        _ if interface.detaching => InterfaceState::Detaching,
        InCloud::Detaching => InterfaceState::Detaching,
        _ if !interface.cloud.managed => InterfaceState::Unmanaged,
        _ if !interface.presence.is_certain() => InterfaceState::Missing,
        _ if interface.out_of_service.is_some() => InterfaceState::OutOfService,
        InCloud::Attached if interface.link.is_some() => InterfaceState::Attached,
        InCloud::Updating if interface.link.is_some() => InterfaceState::Updating,
        InCloud::Attached | InCloud::Updating | InCloud::Attaching => InterfaceState::Attaching,
    }
}

/// The state of an address that no pod has and that does not cool.
fn unused_state(holdings: &Holdings, origin: Origin, cidr: &IpNet, held: &Held) -> AddressState {
    match origin.is_lent() {
        _ if held.releasing => AddressState::Releasing,
        _ if !held.presence.is_certain() => AddressState::Missing,
        false => AddressState::Foreign,
        true if holdings.node_addresses.carries(cidr.addr()) => AddressState::Carried,
        true => AddressState::Free,
    }
}

fn address_report(
    holdings: &Holdings,
    address: IpAddr,
    otherwise: AddressState,
    now: Instant,
) -> AddressReport {
    let until = holdings.leases.cools_until(address);
    let left = until.map(|until| until.saturating_duration_since(now));
    let state = match (holdings.leases.holder(address), left) {
        (Some(holder), _) => AddressState::Assigned(holder.key.clone()),
        (None, Some(left)) if !left.is_zero() => AddressState::Cooling { left },
        _ => otherwise,
    };
    AddressReport { address, state }
}

fn prefix_report(
    holdings: &Holdings,
    prefix: IpNet,
    unavailable: u32,
    now: Instant,
) -> PrefixReport {
    let used = holdings.leases.taken_in(&prefix);
    let used: Vec<AddressReport> = used
        .into_iter()
        .map(|address| address_report(holdings, address, AddressState::Free, now))
        .collect();
    let count = |is_counted: fn(&AddressState) -> bool| {
        let counted = used.iter().filter(|one| is_counted(&one.state));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    };
    let assigned = count(|state| matches!(state, AddressState::Assigned(_)));
    let cooling = count(|state| matches!(state, AddressState::Cooling { .. }));
    PrefixReport {
        prefix,
        free: capacity(&prefix)
            .saturating_sub(assigned + cooling)
            .saturating_sub(unavailable),
        assigned,
        cooling,
        used,
    }
}

fn subnet_report(holdings: &Holdings, subnet: &Subnet, now: Instant) -> SubnetReport {
    let mut families = holdings.families.iter();
    let exhaustion = families.find_map(|family| holdings.subnets.exhaustion(&subnet.id, *family));
    let exhausted = exhaustion.map(|exhaustion| {
        let until = exhaustion.addresses_until.max(exhaustion.prefixes_until);
        let left = until.map(|until| until.saturating_duration_since(now));
        ExhaustionReport {
            reason: exhaustion.reason.clone(),
            left: left.unwrap_or_default(),
        }
    });
    SubnetReport {
        id: subnet.id.clone(),
        cidr: subnet.cidrs.first().copied(),
        free_addresses: subnet.free_ipv4,
        exhausted,
        age: holdings
            .subnets
            .as_of()
            .map(|at| now.saturating_duration_since(at)),
    }
}

fn is_single(cidr: &IpNet) -> bool {
    cidr.prefix_len() == cidr.max_prefix_len()
}
