//! The pool as operators and introspection are told of it: plain data of the pool's own
//! types. `serve/` puts it into words for each of them.

mod build;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use veni_pool::Action;
use veni_pool::reasons::{Hopeless, Note};
use veni_provider::{InterfaceId, Mac, SubnetId};

use super::change::Cause;
use super::held_back::HeldBack;
use crate::attachment::AttachmentKey;

pub(super) use build::{Sources, levels, limits, plan_report, pool_report, under_way};

/// What the pool may grow to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LevelLimits {
    /// Interfaces of the default network card that Veni may manage.
    pub(crate) interfaces: u32,
    /// Addresses that pods may have on them.
    pub(crate) addresses: u32,
}

/// How many calls to the cloud are under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// That get more: addresses or interfaces.
    pub(crate) growing: usize,
    /// That give back.
    pub(crate) shrinking: usize,
    /// Inventories.
    pub(crate) inventories: usize,
}

/// The pool in numbers, of the first family that is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LevelCounts {
    pub(crate) total: u32,
    pub(crate) free: u32,
    pub(crate) assigned: u32,
    pub(crate) cooling: u32,
    /// Those of the default network card that Veni manages.
    pub(crate) interfaces: u32,
    /// Those of the default network card that it does not.
    pub(crate) unmanaged: u32,
    pub(crate) prefixes: u32,
}

/// The pool at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolReport {
    /// The cloud's id of the node.
    pub(crate) node: String,
    pub(crate) provider: &'static str,
    pub(crate) instance_type: String,
    /// Most pods that the node may run.
    pub(crate) max_pods: u32,
    /// Interfaces that the node may have.
    pub(crate) max_interfaces: u32,
    pub(crate) interfaces: Vec<InterfaceReport>,
    pub(crate) subnets: Vec<SubnetReport>,
    pub(crate) counts: LevelCounts,
    /// ADDs that wait for an address.
    pub(crate) waiting: u32,
    /// Why the last call failed, should it have.
    pub(crate) cloud_error: Option<String>,
    /// What an operator should do about the pool's addresses on links of the node
    /// itself, a sentence for each link.
    pub(crate) node_warnings: Vec<String>,
}

/// One interface of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterfaceReport {
    pub(crate) id: InterfaceId,
    pub(crate) mac: Mac,
    /// Its link on the node, once the data plane uses it.
    pub(crate) link: Option<String>,
    pub(crate) device_index: u32,
    pub(crate) network_card: u32,
    /// The interface that the node was started with.
    pub(crate) primary: bool,
    pub(crate) subnet: SubnetId,
    pub(crate) state: InterfaceState,
    /// The first of its own addresses, which no pod gets.
    pub(crate) primary_address: Option<IpAddr>,
    /// Routing table for what leaves by it; none where the main table does, or nothing
    /// is routed by it.
    pub(crate) table: Option<u32>,
    /// Slots that it has for addresses and prefixes of the first family.
    pub(crate) slots: u32,
    /// Those that are filled.
    pub(crate) slots_used: u32,
    pub(crate) addresses: Vec<AddressReport>,
    pub(crate) prefixes: Vec<PrefixReport>,
}

/// How an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InterfaceState {
    /// The cloud attaches it, or its link has not been brought into service yet.
    Attaching,
    /// Pods may have addresses of it.
    Attached,
    /// Likewise, and the cloud is carrying out a change of it.
    Updating,
    Detaching,
    /// Somebody else's.
    Unmanaged,
    /// The cloud does not list it.
    Missing,
    /// Its link is missing, or its rules cannot be made.
    OutOfService,
}

impl fmt::Display for InterfaceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Updating => "updating",
            Self::Detaching => "detaching",
            Self::Unmanaged => "unmanaged",
            Self::Missing => "missing",
            Self::OutOfService => "out of service",
        })
    }
}

/// One address of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressReport {
    pub(crate) address: IpAddr,
    pub(crate) state: AddressState,
}

/// How an address is. A pod gets it only when it is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AddressState {
    Free,
    /// This attachment has it.
    Assigned(AttachmentKey),
    Cooling {
        /// What is left of its cooldown; more than nothing.
        left: Duration,
    },
    /// It is being given back to the cloud.
    Releasing,
    /// The cloud does not list it.
    Missing,
    /// Somebody else assigned it.
    Foreign,
    /// A link of the node itself has it.
    Carried,
}

impl fmt::Display for AddressState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::Assigned(_) => "assigned",
            Self::Cooling { .. } => "cooling",
            Self::Releasing => "releasing",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
            Self::Carried => "carried",
        })
    }
}

/// One delegated prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixReport {
    pub(crate) prefix: IpNet,
    /// Addresses of it that a pod could have.
    pub(crate) free: u32,
    pub(crate) assigned: u32,
    pub(crate) cooling: u32,
    /// The addresses of it that pods have or have had lately, in order.
    pub(crate) used: Vec<AddressReport>,
}

/// A subnet that the node may take addresses from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubnetReport {
    pub(crate) id: SubnetId,
    /// The first of its ranges.
    pub(crate) cidr: Option<IpNet>,
    /// Free IPv4 addresses as the cloud last told.
    pub(crate) free_addresses: u32,
    /// Why and for how long the planner leaves it alone.
    pub(crate) exhausted: Option<ExhaustionReport>,
    /// How long ago the cloud told of it.
    pub(crate) age: Option<Duration>,
}

/// Why a subnet is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExhaustionReport {
    /// The cloud's own words.
    pub(crate) reason: String,
    /// Until it is asked again.
    pub(crate) left: Duration,
}

/// What the pool does and does not do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// Changes that are under way.
    pub(crate) actions: Vec<ActionReport>,
    /// The planner's remarks.
    pub(crate) notes: Vec<Remark>,
    /// What keeps the pool from what it should be.
    pub(crate) held_back: Vec<HeldBack>,
    /// Why no address could come for one more pod, if that is so.
    #[cfg_attr(
        not(feature = "kube"),
        allow(dead_code, reason = "for the cluster's API")
    )]
    pub(crate) one_more: Option<Hopeless>,
}

/// What the planner says beside its actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    /// Why nothing is done, or what is waited for.
    Note(Note),
    /// Why no ADD that waits can be served.
    Hopeless(Hopeless),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(note) => note.fmt(f),
            Self::Hopeless(hopeless) => hopeless.fmt(f),
        }
    }
}

/// A change that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionReport {
    pub(crate) action: Action,
    pub(crate) why: Why,
}

/// Why a change is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is wanted.
    Wanted(Cause),
    /// The cloud may have made it or not: its answer was lost.
    OutcomeUnknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted(cause) => cause.fmt(f),
            Self::OutcomeUnknown => {
                f.write_str("its outcome is not known; the next inventory tells")
            }
        }
    }
}
