//! Values that many pods have, kept once: a deployment's pods have equal labels and ports.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The values in use.
#[derive(Debug)]
pub(crate) struct Once<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for Once<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Once<T> {
    /// Puts the kept value in the place of an equal one.
    pub(crate) fn keep(&mut self, value: &mut Arc<T>) {
        match self.0.get(value) {
            Some(kept) => *value = Arc::clone(kept),
            None => drop(self.0.insert(Arc::clone(value))),
        }
    }

    /// Called by one of the value's owners before it goes: the last one's value is not kept.
    pub(crate) fn leave(&mut self, value: &Arc<T>) {
        if Arc::strong_count(value) == 2 {
            self.0.remove(value);
        }
    }
}
