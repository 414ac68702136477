//! Repairs of what others have changed in the kernel: each is told, and where somebody
//! changes the same kind of thing again and again, the daemon backs off from it and says
//! so once, because neither of the two would ever win.

mod contest;
mod metrics;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use veni_dataplane::{Repair, RepairKind};
use veni_provider::random;

use crate::events::{EventKind, Events};
use contest::Contest;
pub(crate) use metrics::RepairMetrics;

/// Who is told of repairs. Clones share what they know.
#[derive(Debug, Clone)]
pub(crate) struct Repairs {
    events: Events,
    metrics: RepairMetrics,
    contests: Arc<Mutex<HashMap<RepairKind, Contest>>>,
}

impl Repairs {
    pub(crate) fn new(events: Events, metrics: RepairMetrics) -> Self {
        Self {
            events,
            metrics,
            contests: Arc::default(),
        }
    }

    /// Tells operators of what was repaired.
    pub(crate) fn tell(&self, repairs: &[Repair]) {
        for what in repairs.iter().map(Repair::before) {
            tracing::info!(what, "repaired");
            self.metrics.repaired();
            self.events
                .emit(EventKind::Repair, format!("{what}: repaired"));
        }
        for repair in repairs {
            self.repaired(repair.kind);
        }
    }

    /// Notes that the node's own set-up has been compared with the kernel, or could not be.
    pub(crate) fn node_compared(&self, succeeded: bool) {
        self.metrics.node_compared(succeeded);
    }

    /// Notes a repair that was told already.
    pub(crate) fn repaired(&self, kind: RepairKind) {
        let begun = {
            let mut contests = self.contests.lock().unwrap_or_else(PoisonError::into_inner);
            let contest = contests.entry(kind).or_default();
            contest.repaired(Instant::now(), random::within(0.75..1.25))
        };
        if let Some(pause) = begun {
            let kind = name(kind);
            let pause = pause.as_secs_f32();
            tracing::warn!(
                kind,
                pause,
                "somebody else keeps changing what is ours: repairs are made ever more seldom"
            );
            self.events.emit(
                EventKind::Repair,
                format!(
                    "somebody else on the node keeps changing {kind} of Veni: repaired again and \
                     again, and from now on ever more seldom, after {pause:.0} s first: find the \
                     program and have it leave them alone"
                ),
            );
        }
    }

    /// The kinds that somebody contests, and that are left alone for a while.
    pub(crate) fn contested(&self) -> Vec<RepairKind> {
        let contests = self.contests.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let contested = contests.iter();
        contested
            .filter(|(_, contest)| contest.until().is_some_and(|until| until > now))
            .map(|(kind, _)| *kind)
            .collect()
    }

    /// Until when notifications about these kinds are not acted on; may be past. They
    /// are told of as one, so all wait for the one that waits longest.
    pub(crate) fn backed_off_until(&self, kinds: &[RepairKind]) -> Option<Instant> {
        let contests = self.contests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.iter().filter_map(|kind| contests.get(kind));
        known.filter_map(Contest::until).max()
    }
}

/// As operators call it.
pub(crate) fn name(kind: RepairKind) -> &'static str {
    match kind {
        RepairKind::Rule => "rules (ip rule)",
        RepairKind::Route => "routes of interfaces",
        RepairKind::PodRoute => "routes and host ports of pods",
        RepairKind::Address => "addresses of interfaces",
        RepairKind::Link => "links",
        RepairKind::Setting => "settings (sysctl)",
        RepairKind::Nftables => "the nftables tables (inet veni, inet veni_host_ports)",
        RepairKind::Limit => "limits of pods' bandwidth (tc)",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Enough repairs in a row for a contest.
    async fn contested(repairs: &Repairs, kind: RepairKind) {
        for _ in 0..4 {
            repairs.repaired(kind);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_contest_that_is_over_does_not_end_another_kind_s() {
        let repairs = Repairs::new(Events::default(), RepairMetrics::default());
        let both = [RepairKind::Rule, RepairKind::Route];
        assert_eq!(repairs.backed_off_until(&both), None);
        contested(&repairs, RepairKind::Route).await;
        tokio::time::advance(Duration::from_secs(300)).await;
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= Instant::now());
        assert!(over(repairs.backed_off_until(&both)), "a calm time");
        contested(&repairs, RepairKind::Rule).await;
        let until = repairs.backed_off_until(&both);
        assert!(until > Some(Instant::now()), "rules are contested");
        assert_eq!(until, repairs.backed_off_until(&[RepairKind::Rule]));
        assert_eq!(repairs.backed_off_until(&[RepairKind::Nftables]), None);
    }
}
