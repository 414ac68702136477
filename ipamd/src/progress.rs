//! How far the start has come, for operators who ask before the daemon is ready.

use std::sync::{Arc, Mutex, PoisonError};

/// What the start waits for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress {
    waits_for: Arc<Mutex<String>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            waits_for: Arc::new(Mutex::new("it has just been started".to_owned())),
        }
    }
}

impl Progress {
    /// Notes what the start waits for now, in words that go after "not ready: ".
    pub fn waits_for(&self, what: impl Into<String>) {
        // A thread that died while it wrote has left a whole text.
        let mut text = self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *text = what.into();
    }

    /// What the start waits for.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }
}
