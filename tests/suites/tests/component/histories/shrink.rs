//! Leaves steps out of a script that fails, as long as what is left fails alike.

use super::script::Script;
use super::{Outcome, outcome};

/// Histories that may happen for it.
const TRIES: usize = 400;

/// What kind of thing is violated: the text before its colon, without the time.
fn kind(violation: &str) -> &str {
    let text = violation
        .split_once(": ")
        .map_or(violation, |(_, text)| text);
    text.split(':').next().unwrap_or(text)
}

/// The smallest script that it finds, and what comes of it.
pub(super) fn shrink(mut script: Script) -> (Script, Outcome) {
    let mut known = outcome(&script);
    let Some(wanted) = known.violations.first().map(|one| kind(one).to_owned()) else {
        return (script, known);
    };
    let (mut size, mut tries) = (script.steps.len().div_ceil(2), 0);
    while size > 0 {
        let mut at = 0;
        while at < script.steps.len() && tries < TRIES {
            tries += 1;
            let mut shorter = script.clone();
            let end = (at + size).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            let came = outcome(&shorter);
            if came.violations.iter().any(|one| kind(one) == wanted) {
                (script, known) = (shorter, came);
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    (script, known)
}
