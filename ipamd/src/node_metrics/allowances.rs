//! What an EC2 instance may send, receive and track, as ENA's driver counts it by names of
//! its own (Amazon's "Monitor network performance for ENA settings on your EC2 instance").

use veni_dataplane::Statistic;

/// What ends the names of counters of packets that exceeded an allowance; the rest of the
/// name is the allowance.
const EXCEEDED: &str = "_allowance_exceeded";
/// Connections that EC2 may still track, on instances that tell it.
const AVAILABLE: &str = "conntrack_allowance_available";
/// The allowances, by the driver's names.
pub(crate) const ALLOWANCES: [&str; 5] = ["bw_in", "bw_out", "conntrack", "linklocal", "pps"];

/// What one interface's driver tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Allowances {
    /// Packets that were queued or dropped since the driver began to count, by allowance.
    pub(crate) exceeded: Vec<(&'static str, u64)>,
    /// Connections that EC2 may still track.
    pub(crate) conntrack_available: Option<u64>,
}

impl Allowances {
    /// None for a driver that tells of no allowances.
    pub(super) fn of(statistics: &[Statistic]) -> Option<Self> {
        let value = |name: &str| {
            let found = statistics.iter().find(|one| one.name == name);
            found.map(|one| one.value)
        };
        let exceeded = ALLOWANCES.into_iter().filter_map(|allowance| {
            let count = value(&format!("{allowance}{EXCEEDED}"))?;
            Some((allowance, count))
        });
        let told = Self {
            exceeded: exceeded.collect(),
            conntrack_available: value(AVAILABLE),
        };
        (told != Self::default()).then_some(told)
    }
}
