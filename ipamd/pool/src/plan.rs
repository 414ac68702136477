//! The plan: actions with their reasons, as printable data.

use crate::reasons::{Hopeless, Note, Reason};
use ipnet::IpNet;
use std::fmt;
use veni_nouns::{InterfaceId, SlotKind, SubnetId};

/// A change of what the node holds in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Get more addresses or prefixes for an interface.
    Assign {
        /// The interface's id.
        interface: InterfaceId,
        /// What to get.
        kind: SlotKind,
        /// How many addresses or prefixes, at least 1.
        count: u32,
    },
    /// Make an interface and attach it.
    Attach {
        /// The subnet to make it in; `None` leaves it to the provider.
        subnet: Option<SubnetId>,
        /// What its slots are filled with.
        kind: SlotKind,
        /// How many slots it holds from the start; 0 or more.
        count: u32,
    },
    /// Give addresses or prefixes back; none of them is in use or cooling.
    Release {
        /// The interface's id.
        interface: InterfaceId,
        /// What to give back, at least one.
        cidrs: Vec<IpNet>,
    },
    /// Detach an interface on which nothing is in use or cooling, and delete it.
    Detach {
        /// The interface's id.
        interface: InterfaceId,
    },
}

impl Action {
    /// The interface it changes; none when it makes one.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceId> {
        match self {
            Self::Assign { interface, .. }
            | Self::Release { interface, .. }
            | Self::Detach { interface } => Some(interface),
            Self::Attach { .. } => None,
        }
    }

    /// Does it bring addresses, now or with what it makes possible?
    #[must_use]
    pub fn grows(&self) -> bool {
        matches!(self, Self::Assign { .. } | Self::Attach { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assign {
                interface,
                kind,
                count,
            } => {
                write!(
                    f,
                    "assign {} to {interface}",
                    amount(u64::from(*count), *kind)
                )
            }
            Self::Attach {
                subnet,
                kind,
                count,
            } => {
                f.write_str("attach an interface")?;
                if let Some(subnet) = subnet {
                    write!(f, " in {subnet}")?;
                }
                match count {
                    0 => f.write_str(" without addresses for pods"),
                    _ => write!(f, " with {}", amount(u64::from(*count), *kind)),
                }
            }
            Self::Release { interface, cidrs } => {
                let shown: Vec<String> = cidrs.iter().map(slot_name).collect();
                write!(f, "release {} of {interface}", shown.join(", "))
            }
            Self::Detach { interface } => write!(f, "detach {interface}"),
        }
    }
}

/// An action and why it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedAction {
    /// What to do.
    pub action: Action,
    /// Why; its `Display` tells it to operators.
    pub reason: Reason,
}

/// What to do now, and why nothing else is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// New actions: what is under way is not repeated.
    pub actions: Vec<PlannedAction>,
    /// Why nothing is done, or what is waited for.
    pub notes: Vec<Note>,
    /// Since when there has been excess; give it back in the next snapshot.
    pub excess_since_ms: Option<u64>,
    /// The most addresses the pool was found to need since then, those cooling
    /// meanwhile included; give it back in the next snapshot.
    pub recent_peak: u32,
    /// Why waiting ADDs cannot be served by any action now or under way.
    pub hopeless: Option<Hopeless>,
    /// When, on the snapshot's clock, time alone can change this plan.
    pub next_look_ms: Option<u64>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        for PlannedAction { action, reason } in &self.actions {
            writeln!(f, "{action}: {reason}")?;
        }
        if let Some(reason) = &self.hopeless {
            writeln!(f, "hopeless: {reason}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

/// "1 address", "3 prefixes".
pub(crate) fn amount(count: u64, kind: SlotKind) -> String {
    let plural = if count == 1 { "" } else { "es" };
    format!("{count} {kind}{plural}")
}

/// An address without its length, a prefix with it.
#[must_use]
pub fn slot_name(cidr: &IpNet) -> String {
    match SlotKind::of(cidr) {
        SlotKind::Address => cidr.addr().to_string(),
        SlotKind::Prefix => cidr.to_string(),
    }
}

/// A span of time for operators: seconds, rounded up.
pub(crate) fn seconds(span_ms: u64) -> String {
    format!("{} s", span_ms.div_ceil(1000))
}
