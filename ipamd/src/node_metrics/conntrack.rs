//! How full the table is in which the kernel tracks connections: when it is full, the
//! kernel drops the first packet of every new one, of pods and of the node alike
//! (Documentation/networking/nf_conntrack-sysctl.rst).

use std::fs;
use std::path::Path;

/// The table of a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conntrack {
    /// Connections that are tracked.
    pub(crate) entries: u64,
    /// Most that may be; 0 is no limit.
    pub(crate) limit: u64,
}

impl Conntrack {
    /// Reads the table of the calling thread's network namespace, where `folder` is
    /// /proc/sys/net/netfilter; none while the kernel tracks nothing.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let number = |name: &str| {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        Some(Self {
            entries: number("nf_conntrack_count")?,
            limit: number("nf_conntrack_max")?,
        })
    }
}
