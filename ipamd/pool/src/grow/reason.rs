//! Why more is needed, in words.

use super::Grower;
use crate::SlotKind;
use crate::plan::amount;

impl Grower<'_> {
    /// Why more is needed: "need 4 more: 2 waiting, 2 to restore WARM_IP_TARGET=2".
    pub(super) fn words(&self, short: u64) -> String {
        let label = &self.goal.label;
        if short == 0 {
            return format!("{label} holds whole interfaces: fill those attached");
        }
        let demand = &self.ledger.snapshot.demand;
        let beyond = |pods: u64| pods.saturating_sub(self.held.free);
        let waiting = beyond(u64::from(demand.waiting)).min(short);
        let pods = u64::from(demand.waiting) + u64::from(demand.expected);
        let expected = beyond(pods).min(short) - waiting;
        let target = short - waiting - expected;
        let mut parts = Vec::new();
        if waiting > 0 {
            parts.push(format!("{waiting} waiting"));
        }
        if expected > 0 {
            parts.push(format!("{expected} expected"));
        }
        if target > 0 {
            parts.push(format!("{target} to restore {label}"));
        }
        let mut words = format!("need {short} more: {}", parts.join(", "));
        if self.held.usable_of_either_kind() >= self.goal.usable {
            let other = amount(self.held.free_other, SlotKind::Address);
            let held = match self.ledger.other() {
                SlotKind::Address => format!("{other} free outside prefixes"),
                SlotKind::Prefix => format!("{other} free in prefixes"),
            };
            words = format!("{words}, replacing {held}");
        }
        if short == self.allowed {
            let limit = self.ledger.snapshot.limits.max_pods;
            words = format!("{words} (no more than {limit} pods)");
        }
        words
    }
}
