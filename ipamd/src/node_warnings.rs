//! What the last comparison with the kernel found wrong with the node's own set-up, for
//! operators who ask.

use std::sync::{Arc, Mutex, PoisonError};

/// The sentences of the last comparison. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct NodeWarnings {
    last: Arc<Mutex<Vec<String>>>,
}

impl NodeWarnings {
    /// Replaces them, and logs those that the comparison before did not have.
    pub fn set(&self, found: Vec<String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in found.iter().filter(|warning| !last.contains(warning)) {
            tracing::warn!(warning, "the node is not set up as it should be");
        }
        for warning in last.iter().filter(|warning| !found.contains(warning)) {
            tracing::info!(warning, "the node is set up as it should be again");
        }
        *last = found;
    }

    /// A sentence each.
    #[must_use]
    pub fn get(&self) -> Vec<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}
