//! The programs by name, and packets that are made up for them.

use std::time::Duration;

use crate::tc::NAMES;

/// One of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// Judges what a pod sends.
    FromPod,
    /// Judges what a pod receives.
    ToPod,
    /// Judges what leaves the node.
    Leaving,
}

impl Program {
    pub(crate) const ALL: [Self; 3] = [Self::FromPod, Self::ToPod, Self::Leaving];

    /// As bpf/programs calls it.
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::Leaving => "leaving",
        }
    }

    /// As its filter is called.
    pub(crate) fn filter(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// What a program has said of a packet that was made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestVerdict {
    /// Whether it was dropped.
    pub dropped: bool,
    /// The packet's mark afterwards.
    pub mark: u32,
    /// Mean of the runs.
    pub duration: Duration,
}

/// A packet that is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestPacket<'a> {
    /// From Ethernet's header on, at least that.
    pub bytes: &'a [u8],
    /// The link on which a program looks at it; it exists in this network namespace.
    pub link: u32,
    /// The link by which it entered the node; 0 for what the node itself sends.
    pub ingress_link: u32,
    /// Its mark.
    pub mark: u32,
}
