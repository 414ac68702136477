//! A finding: a difference, what it breaks, and what cures it.

use std::fmt;

use veni_dataplane::RepairKind;

/// What a finding is about. Scripts know it by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A policy rule of Veni's.
    Rule,
    /// A route of Veni's beside those to pods.
    Route,
    /// The link of an interface of the cloud.
    Link,
    /// An address on an interface of the cloud.
    Address,
    /// A setting below `/proc/sys`.
    Setting,
    /// Veni's nftables table.
    Nftables,
    /// An interface that has no link, or cannot be brought into service.
    Interface,
    /// The host's end of a pod's veth pair.
    PodLink,
    /// A route to a pod.
    PodRoute,
    /// Something of Veni's in the kernel that belongs to nobody.
    Orphan,
    /// A journal entry.
    Journal,
    /// The pool and the endpoints disagree about who has an address.
    Lease,
    /// An address of the pool on a link of the node itself.
    NodeAddress,
    /// A rule of another program at a priority of Veni's.
    ForeignRule,
    /// What others have set up in the kernel against pods' packets.
    Node,
    /// The host's other software, and the installation.
    Host,
    /// The pool and the cloud's inventory disagree.
    Cloud,
}

impl Kind {
    /// As scripts know it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Route => "route",
            Self::Link => "link",
            Self::Address => "address",
            Self::Setting => "setting",
            Self::Nftables => "nftables",
            Self::Interface => "interface",
            Self::PodLink => "pod-link",
            Self::PodRoute => "pod-route",
            Self::Orphan => "orphan",
            Self::Journal => "journal",
            Self::Lease => "lease",
            Self::NodeAddress => "node-address",
            Self::ForeignRule => "foreign-rule",
            Self::Node => "node",
            Self::Host => "host",
            Self::Cloud => "cloud",
        }
    }
}

impl From<RepairKind> for Kind {
    fn from(kind: RepairKind) -> Self {
        match kind {
            RepairKind::Rule => Self::Rule,
            RepairKind::Route => Self::Route,
            RepairKind::PodRoute => Self::PodRoute,
            RepairKind::Address => Self::Address,
            RepairKind::Link => Self::Link,
            RepairKind::Setting => Self::Setting,
            RepairKind::Nftables => Self::Nftables,
            RepairKind::Limit => Self::PodLink,
        }
    }
}

/// Who cures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cure {
    /// The daemon by itself, when the kernel tells of it or with its next comparison.
    Daemon,
    /// The same, but somebody keeps changing this, so the daemon leaves it alone for a
    /// while.
    Contested,
    /// An operator, who does this.
    Operator(String),
    /// The sentence says it itself.
    Said,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// The thing and how it differs.
    pub(crate) what: String,
    /// What does not work for as long as it is so; empty where `what` says it.
    pub(crate) breaks: String,
    pub(crate) cure: Cure,
}

impl Finding {
    /// A sentence that says all there is to say.
    pub(super) fn sentence(kind: Kind, what: String) -> Self {
        Self {
            kind,
            what,
            breaks: String::new(),
            cure: Cure::Said,
        }
    }

    /// Whether it is the same difference as another, perhaps cured otherwise by now.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.what == other.what
    }
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daemon => "the daemon mends it by itself; at once: veni check --repair",
            Self::Contested => {
                "find the program that keeps changing it, and have it leave Veni's alone: the \
                 daemon repairs it ever more seldom; at once: veni check --repair"
            }
            Self::Operator(what) => what,
            Self::Said => "",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.breaks.is_empty() {
            write!(f, "; it breaks: {}", self.breaks)?;
        }
        match &self.cure {
            Cure::Said => Ok(()),
            cure => write!(f, "; cure: {cure}"),
        }
    }
}
