//! What the planner is told: interfaces, subnets, demand, limits and what is
//! under way.

use ipnet::IpNet;
use veni_nouns::{Family, InterfaceId, InterfaceState, SubnetId};

/// What the cloud can do, as far as the planner cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloudAbilities {
    /// Interfaces can be attached and detached while the node runs.
    pub attach: bool,
    /// Prefixes can be delegated.
    pub prefixes: bool,
    /// Addresses and prefixes can be given back.
    pub release: bool,
    /// Most addresses or prefixes in one call, at least 1.
    pub batch: u32,
}

/// The node's limits, of the family that is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Interfaces of the default network card, the primary one and unmanaged ones
    /// included; already lowered by `MAX_ENI`.
    pub interfaces: u32,
    /// Slots per interface for pods: the interface's own address is not one.
    pub slots_per_interface: u32,
    /// Most pods the node may run; the pool never grows beyond.
    pub max_pods: u32,
}

/// A single secondary address or a delegated prefix, with how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// A /32 (/128) is a single address, anything shorter a prefix.
    pub cidr: IpNet,
    /// Addresses in use by pods.
    pub assigned: u32,
    /// Addresses in cooldown.
    pub cooling: u32,
    /// Addresses that no pod may have although none has them: links of the node carry
    /// them, or somebody assigned them to the node for another use.
    pub unavailable: u32,
    /// It is never given back: somebody else assigned it, or the node itself uses it.
    pub kept: bool,
    /// Its release is under way: it does not count and gives nothing.
    pub releasing: bool,
    /// With `releasing`: nobody knows whether the cloud still has it, after a call whose
    /// end nobody knows, or because an inventory lacks it. It takes its place until the
    /// cloud tells, and nothing is to be hoped from that.
    pub in_doubt: bool,
}

/// One interface of the node, with what it holds of the family that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSnapshot {
    /// The cloud's id.
    pub id: InterfaceId,
    /// The subnet that its addresses come from.
    pub subnet: SubnetId,
    /// The network card that it is on; only those on the default one, 0, count
    /// against [`NodeLimits::interfaces`].
    pub network_card: u32,
    /// The primary interface is never detached.
    pub primary: bool,
    /// May pods have addresses of it? Not so for the primary interface under
    /// custom networking, and for interfaces in excluded subnets: these only drain.
    pub for_pods: bool,
    /// False: it is not ours, takes a place on the node and does nothing else.
    pub managed: bool,
    /// It is never detached: somebody else attached it, or something on it is kept.
    pub kept: bool,
    /// How far it is.
    pub state: InterfaceState,
    /// False: it takes its place, pods on it count, and nothing else does. The cloud may
    /// not have it any more, or its link is missing on the node. It is left alone.
    pub in_service: bool,
    /// Milliseconds since it was attached.
    pub age_ms: u64,
    /// Its filled slots, its own address not among them.
    pub slots: Vec<Slot>,
}

/// A subnet in which interfaces may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetSnapshot {
    /// The cloud's id.
    pub id: SubnetId,
    /// Free addresses as the cloud last told.
    pub free_addresses: u32,
    /// New interfaces may be made in it.
    pub usable: bool,
    /// It has no free address until then (milliseconds on the snapshot's clock).
    pub no_addresses_until_ms: Option<u64>,
    /// It has no free prefix until then.
    pub no_prefixes_until_ms: Option<u64>,
}

/// An action that has been started and has not ended.
///
/// What it will bring is not in [`Snapshot::interfaces`] before it has ended,
/// but for an interface that is being attached: that may already be listed as
/// [`InterfaceState::Attaching`]. What it takes away may or may not be marked
/// (`releasing`, [`InterfaceState::Detaching`]) already; the planner sees to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// What was started.
    pub action: crate::Action,
}

/// The cloud is left alone for a while with one kind of change (throttled,
/// denied, unreachable).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Until then, on the snapshot's clock; from then on it is ignored.
    pub until_ms: u64,
    /// The cloud's own words when it has refused for good (permission denied)
    /// and waiting does not help; `None` for a pause.
    pub refusal: Option<String>,
}

/// The kinds of changes that are on hold, each by itself: clouds count and
/// permit calls by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// Assigning slots to interfaces that are there.
    pub assign: Option<Hold>,
    /// Attaching one more interface.
    pub attach: Option<Hold>,
    /// Releasing slots.
    pub release: Option<Hold>,
    /// Detaching interfaces.
    pub detach: Option<Hold>,
}

/// Pods that want addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// ADDs that wait for an address now.
    pub waiting: u32,
    /// Pods scheduled to the node whose ADD has not come yet.
    pub expected: u32,
}

/// Everything that a plan depends on, but for the targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The time on the owner's own clock, milliseconds; only differences matter.
    pub now_ms: u64,
    /// The address family that is planned.
    pub family: Family,
    /// What the cloud can do.
    pub abilities: CloudAbilities,
    /// What the node may hold.
    pub limits: NodeLimits,
    /// Interfaces in order of network card and device index.
    pub interfaces: Vec<InterfaceSnapshot>,
    /// Subnets, best first.
    pub subnets: Vec<SubnetSnapshot>,
    /// What is under way.
    pub in_flight: Vec<InFlight>,
    /// Pods that want addresses.
    pub demand: Demand,
    /// Since when the pool has had more than it needs without interruption:
    /// the `excess_since_ms` of the last plan, `None` at first.
    pub excess_since_ms: Option<u64>,
    /// The most addresses the pool has been found to need since then, those
    /// cooling meanwhile included: the `recent_peak` of the last plan, 0 at first.
    /// Only what exceeds it goes back.
    pub recent_peak: u32,
    /// What the cloud is not asked for now.
    pub holds: Holds,
}

impl Snapshot {
    /// The hold, unless it is over.
    pub(crate) fn in_force<'a>(&self, hold: &'a Option<Hold>) -> Option<&'a Hold> {
        hold.as_ref().filter(|hold| hold.until_ms > self.now_ms)
    }

    /// A change that would grow the pool is on hold.
    pub(crate) fn growth_is_held(&self) -> bool {
        let growing = [&self.holds.assign, &self.holds.attach];
        growing
            .into_iter()
            .any(|hold| self.in_force(hold).is_some())
    }
}
