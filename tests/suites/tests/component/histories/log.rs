//! A history as its callers and its cloud saw it: plain lines of text and numbers, in order.
//! It knows nothing of Veni.

use std::fmt;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Milliseconds since the history began.
    pub(super) at: u64,
    pub(super) what: What,
}

/// A port of the node that is asked for, or that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) protocol: String,
    pub(super) port: u16,
    /// The node's address that it is for; empty for all of them.
    pub(super) host: String,
    pub(super) pod_port: u16,
}

/// Bits a second towards a pod and from it, where there are limits.
pub(super) type Limits = (Option<u64>, Option<u64>);

/// What happened. Pods, addresses and ranges are text; a call has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    AddCalled {
        call: u32,
        pod: String,
        ports: Vec<Port>,
        limits: Limits,
    },
    AddAnswered {
        call: u32,
        pod: String,
        addresses: Vec<String>,
    },
    AddFailed {
        call: u32,
        pod: String,
        code: u32,
    },
    /// The plugin of an ADD was killed.
    CallerGone {
        call: u32,
    },
    DelCalled {
        call: u32,
        pod: String,
    },
    DelAnswered {
        call: u32,
        pod: String,
    },
    DelFailed {
        call: u32,
        pod: String,
        code: u32,
    },
    /// A DEL that found no daemon, whose plugin has left a note.
    NoteLeft {
        call: u32,
        pod: String,
    },
    /// A CHECK was answered: whether the pod is known, and in how many ways its network differs.
    Checked {
        pod: String,
        known: bool,
        differences: usize,
    },
    GcCalled {
        call: u32,
        kept: Vec<String>,
    },
    GcAnswered {
        call: u32,
    },
    /// A pod's namespace ended.
    PodGone {
        call: u32,
        pod: String,
    },
    Ready,
    /// The daemon ended, at once or in order.
    Ended {
        how: String,
    },
    /// The machine started anew: all pods are gone.
    Rebooted,
    /// The machine's clock was set.
    ClockSet {
        by: i64,
    },
    /// Whether the run folder takes no file.
    FolderFull {
        full: bool,
    },
    /// Somebody takes ports or limits of pods away by hand.
    Tampered {
        text: String,
    },
    /// What happens to the cloud or the kernel; for who reads.
    Weather {
        text: String,
    },
    /// All that an interface holds for pods now, in truth.
    Holds {
        interface: String,
        ranges: Vec<String>,
    },
    /// An interface is no longer the node's.
    Detached {
        interface: String,
    },
    /// Somebody else has just assigned these to an interface that was there before.
    OtherGave {
        ranges: Vec<String>,
    },
    /// Somebody else has just attached an interface with these.
    OtherAttached {
        ranges: Vec<String>,
    },
    /// Somebody else is about to take these away.
    OtherTook {
        ranges: Vec<String>,
    },
    /// The daemon calls the cloud.
    CloudCalled {
        call: u32,
        operation: String,
        family: String,
        changes: bool,
    },
    /// A call ended, and whether the daemon knows what came of it.
    CloudAnswered {
        call: u32,
        certain: bool,
    },
    /// From here on nothing is asked of the daemon, and nothing is wrong.
    Quiet,
    /// The daemon has been left in peace.
    AtRest(Rest),
    /// The same when all pods have ended: files of the journal about pods and releases, and
    /// links of the node, too.
    Empty {
        rest: Rest,
        files: usize,
        links: Vec<String>,
    },
}

/// What there is after a time in which nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    /// What the daemon's pool says that it has, by interface.
    pub(super) pool: Vec<(String, String)>,
    /// Where the kernel has a route to, and the limits of the link that it leads to.
    pub(super) routes: Vec<(String, Limits)>,
    /// Ports that the kernel leads to an address.
    pub(super) ports: Vec<(Port, String)>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8}.{:03}  {:?}",
            self.at / 1000,
            self.at % 1000,
            self.what
        )
    }
}

/// All lines as one text.
pub(super) fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
