//! Calls of the cloud: within their budgets, and few while nobody asks anything.

use std::collections::BTreeMap;

use super::Promises;

/// Calls so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Calls that each budget still allows, and as of when.
    budgets: BTreeMap<String, (f64, u64)>,
    quiet: bool,
    quiet_calls: u64,
}

impl Calls {
    /// A daemon begins with full budgets.
    pub(super) fn begin_anew(&mut self) {
        self.budgets.clear();
    }

    /// From now on nobody asks anything.
    pub(super) fn be_quiet(&mut self) {
        (self.quiet, self.quiet_calls) = (true, 0);
    }

    /// The daemon calls the cloud.
    pub(super) fn called(
        &mut self,
        family: &str,
        changes: bool,
        now: u64,
        promises: &Promises,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let budget = promises.budgets.iter().find(|one| one.0 == family);
        if let Some((_, per_second, burst)) = budget {
            let full = (*burst, now);
            let (level, at) = *self.budgets.entry(family.to_owned()).or_insert(full);
            #[expect(clippy::cast_precision_loss, reason = "a few hours in milliseconds")]
            let gained = (now - at) as f64 * per_second / 1000.0;
            let level = (level + gained).min(*burst) - 1.0;
            self.budgets.insert(family.to_owned(), (level, now));
            if level < -1e-6 {
                found.push(format!("over budget: calls of {family}"));
            }
        }
        if self.quiet {
            self.quiet_calls += 1;
            if changes {
                found.push("restless: a change while nothing is asked".to_owned());
            }
        }
        found
    }

    /// The time in which nobody asked anything is over.
    pub(super) fn rested(&mut self, promises: &Promises) -> Option<String> {
        let calls = self.quiet_calls;
        (self.quiet, self.quiet_calls) = (false, 0);
        (calls > promises.idle_calls)
            .then(|| format!("restless: {calls} calls while nothing is asked"))
    }
}
