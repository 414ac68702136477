//! What is to be compared, and when. A pure value but for the clock.

use std::time::Duration;

use tokio::time::Instant;
use veni_dataplane::{Changes, RepairKind};

/// Between two comparisons of one kind: what is told meanwhile waits.
const GAP: Duration = Duration::from_millis(300);
/// Likewise, of what other programs change all the time without taking anything of ours:
/// a comparison of the node executes a program.
const BUSY_GAP: Duration = Duration::from_secs(1);
/// Likewise, of everything, where notifications were lost. That may go on for as long as
/// somebody rewrites large tables, and must still be within what a repair may take.
const OVERRUN_GAP: Duration = Duration::from_secs(1);

/// Facts that are acted on one by one, what their repairs are, and where they stand.
struct Fact {
    kinds: &'static [RepairKind],
    gap: Duration,
    get: fn(&Changes) -> bool,
    set: fn(&mut Changes, bool),
}

const FACTS: [Fact; 8] = [
    Fact {
        kinds: &[RepairKind::Link],
        gap: BUSY_GAP,
        get: |changes| changes.links,
        set: |changes, value| changes.links = value,
    },
    Fact {
        kinds: &[RepairKind::Address],
        gap: BUSY_GAP,
        get: |changes| changes.addresses,
        set: |changes, value| changes.addresses = value,
    },
    Fact {
        kinds: &[RepairKind::Rule, RepairKind::Route],
        gap: GAP,
        get: |changes| changes.rules_and_routes,
        set: |changes, value| changes.rules_and_routes = value,
    },
    // Routing daemons may change it all the time. That the copies follow is no repair.
    Fact {
        kinds: &[],
        gap: BUSY_GAP,
        get: |changes| changes.main_table,
        set: |changes, value| changes.main_table = value,
    },
    Fact {
        kinds: &[RepairKind::PodRoute],
        gap: GAP,
        get: |changes| changes.pods,
        set: |changes, value| changes.pods = value,
    },
    Fact {
        kinds: &[RepairKind::Setting],
        gap: GAP,
        get: |changes| changes.settings,
        set: |changes, value| changes.settings = value,
    },
    Fact {
        // Elements of pods' ports are told as a change of their table.
        kinds: &[RepairKind::Nftables, RepairKind::PodRoute],
        gap: GAP,
        get: |changes| changes.nftables,
        set: |changes, value| changes.nftables = value,
    },
    Fact {
        kinds: &[RepairKind::Limit],
        gap: GAP,
        get: |changes| changes.limits,
        set: |changes, value| changes.limits = value,
    },
];

/// What waits to be compared.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    waiting: Changes,
    /// When each fact was acted on last.
    compared: [Option<Instant>; FACTS.len()],
}

impl Agenda {
    pub(super) fn note(&mut self, changes: Changes) {
        self.waiting |= changes;
    }

    /// When something is to be compared next. `backed_off` says until when a kind is
    /// left alone.
    pub(super) fn due(
        &self,
        backed_off: impl Fn(&[RepairKind]) -> Option<Instant>,
    ) -> Option<Instant> {
        let waiting = (0..FACTS.len()).filter(|which| (FACTS[*which].get)(&self.waiting));
        let rests = waiting.map(|which| self.rests_until(which, &backed_off));
        // What need not wait is due now.
        rests.map(|until| until.unwrap_or_else(Instant::now)).min()
    }

    fn rests_until(
        &self,
        which: usize,
        backed_off: &impl Fn(&[RepairKind]) -> Option<Instant>,
    ) -> Option<Instant> {
        let gap = match self.waiting.overrun {
            true => OVERRUN_GAP,
            false => FACTS[which].gap,
        };
        let rested = self.compared[which].map(|compared| compared + gap);
        rested
            .into_iter()
            .chain(backed_off(FACTS[which].kinds))
            .max()
    }

    /// Takes what is due.
    pub(super) fn take(
        &mut self,
        now: Instant,
        backed_off: impl Fn(&[RepairKind]) -> Option<Instant>,
    ) -> Changes {
        let mut due = Changes::NONE;
        for (which, fact) in FACTS.iter().enumerate() {
            let rests = self.rests_until(which, &backed_off);
            if (fact.get)(&self.waiting) && rests.is_none_or(|until| until <= now) {
                (fact.set)(&mut due, true);
            }
        }
        if due.is_empty() {
            return due;
        }
        due.overrun = self.waiting.overrun;
        for (which, fact) in FACTS.iter().enumerate() {
            if (fact.get)(&due) {
                (fact.set)(&mut self.waiting, false);
                self.compared[which] = Some(now);
            }
        }
        self.waiting.overrun = false;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Changes = Changes {
        rules_and_routes: true,
        ..Changes::NONE
    };
    const NFTABLES: Changes = Changes {
        nftables: true,
        ..Changes::NONE
    };

    fn calm(_: &[RepairKind]) -> Option<Instant> {
        None
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_first_is_due_at_once_and_what_follows_after_a_gap() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        assert_eq!(agenda.due(calm), None);
        agenda.note(RULES);
        assert_eq!(agenda.due(calm), Some(start));
        assert_eq!(agenda.take(start, calm), RULES);
        assert_eq!(agenda.due(calm), None);
        agenda.note(RULES);
        assert_eq!(agenda.due(calm), Some(start + GAP));
        assert_eq!(agenda.take(start, calm), Changes::NONE);
        agenda.note(NFTABLES);
        assert_eq!(
            agenda.take(start, calm),
            NFTABLES,
            "another kind does not wait"
        );
        assert_eq!(agenda.take(start + GAP, calm), RULES);
    }

    #[tokio::test(start_paused = true)]
    async fn links_and_addresses_of_others_are_followed_at_most_once_a_second() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        let churn = Changes {
            links: true,
            addresses: true,
            ..Changes::NONE
        };
        agenda.note(churn);
        assert_eq!(agenda.take(start, calm), churn, "the first at once");
        agenda.note(churn);
        assert_eq!(agenda.due(calm), Some(start + BUSY_GAP));
    }

    #[test]
    fn what_is_due_is_taken_also_on_a_clock_that_runs() {
        let mut agenda = Agenda::default();
        agenda.note(RULES);
        let due = agenda.due(calm).expect("something waits");
        assert_eq!(agenda.take(due, calm), RULES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_backed_off_from_waits_and_the_others_do_not() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        let until = start + Duration::from_secs(9);
        let contested = |kinds: &[RepairKind]| kinds.contains(&RepairKind::Rule).then_some(until);
        agenda.note(RULES | NFTABLES);
        assert_eq!(agenda.take(start, contested), NFTABLES);
        assert_eq!(agenda.due(contested), Some(until));
        assert_eq!(agenda.take(until, contested), RULES);
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_compared_at_most_once_a_second_while_notifications_are_lost() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        agenda.note(Changes::ANYTHING);
        assert_eq!(agenda.take(start, calm), Changes::ANYTHING);
        agenda.note(Changes::ANYTHING);
        assert_eq!(agenda.due(calm), Some(start + OVERRUN_GAP));
        assert_eq!(agenda.take(start + GAP, calm), Changes::NONE);
        assert_eq!(agenda.take(start + OVERRUN_GAP, calm), Changes::ANYTHING);
    }
}
