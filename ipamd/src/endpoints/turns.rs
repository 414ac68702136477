//! Whose turn it is to change an attachment: one task at a time, in order of arrival. A
//! DEL ends the waiting for an address of the ADD before it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::attachment::AttachmentKey;

/// The turns of all attachments. Only those that somebody has or waits for are kept.
#[derive(Default)]
pub(super) struct Turns {
    gates: Mutex<HashMap<AttachmentKey, Visited>>,
}

/// A gate, and how many tasks are at it.
#[derive(Default)]
struct Visited {
    gate: Arc<Gate>,
    tasks: usize,
}

/// Where the tasks of one attachment wait.
#[derive(Default)]
struct Gate {
    turn: Arc<AsyncMutex<()>>,
    /// Ends the wait for an address of the ADD whose turn it is.
    waiting: Mutex<Option<CancellationToken>>,
    /// DELs that wait for their turn: an ADD before them need not begin to wait.
    deleting: AtomicU32,
}

impl Turns {
    /// Waits for the turn of an attachment.
    pub(super) async fn take(&self, key: &AttachmentKey) -> Turn<'_> {
        let place = self.enter(key);
        let lock = Arc::clone(&place.gate.turn).lock_owned().await;
        Turn { _lock: lock, place }
    }

    /// As [`Turns::take`], for a DEL: an ADD that waits for an address gives up.
    pub(super) async fn take_from_add(&self, key: &AttachmentKey) -> Turn<'_> {
        let place = self.enter(key);
        place.gate.deleting.fetch_add(1, Ordering::SeqCst);
        // What the task that waits now does not see, the one after it finds counted.
        let deleting = Deleting(&place.gate.deleting);
        if let Some(waiting) = place.gate.lock_waiting().take() {
            waiting.cancel();
        }
        let lock = Arc::clone(&place.gate.turn).lock_owned().await;
        drop(deleting);
        Turn { _lock: lock, place }
    }

    fn enter(&self, key: &AttachmentKey) -> Place<'_> {
        let mut gates = self.lock();
        let visited = gates.entry(key.clone()).or_default();
        visited.tasks += 1;
        Place {
            turns: self,
            key: key.clone(),
            gate: Arc::clone(&visited.gate),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttachmentKey, Visited>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn lock_waiting(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a DEL for as long as it waits for its turn, however the wait ends.
struct Deleting<'a>(&'a AtomicU32);

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place at a gate. Who leaves last takes the gate away.
struct Place<'a> {
    turns: &'a Turns,
    key: AttachmentKey,
    gate: Arc<Gate>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut gates = self.turns.lock();
        if let Some(visited) = gates.get_mut(&self.key) {
            visited.tasks -= 1;
            if visited.tasks == 0 {
                gates.remove(&self.key);
            }
        }
    }
}

/// The right to change an attachment, until it is dropped.
pub(super) struct Turn<'a> {
    // Dropped first: the next one's turn begins before the place is left.
    _lock: OwnedMutexGuard<()>,
    place: Place<'a>,
}

impl Turn<'_> {
    /// Lets a DEL end what is waited for until the answer is dropped.
    pub(super) fn wait(&self) -> Wait<'_> {
        let gate = &self.place.gate;
        let deleted = CancellationToken::new();
        *gate.lock_waiting() = Some(deleted.clone());
        // Asked after the token is there, so that a DEL that comes now finds one or the
        // other.
        if gate.deleting.load(Ordering::SeqCst) > 0 {
            deleted.cancel();
        }
        Wait { gate, deleted }
    }
}

/// A wait that a DEL can end.
pub(super) struct Wait<'a> {
    gate: &'a Gate,
    deleted: CancellationToken,
}

impl Wait<'_> {
    /// Comes when a DEL has asked for the attachment.
    pub(super) async fn deleted(&self) {
        self.deleted.cancelled().await;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        *self.gate.lock_waiting() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn key(container_id: &str) -> AttachmentKey {
        AttachmentKey {
            network: "veni".to_owned(),
            container_id: container_id.to_owned(),
            interface_name: "eth0".to_owned(),
        }
    }

    /// What a future answers before anything can have happened.
    async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::from_millis(1), future).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_attachment_has_one_turn_and_others_have_theirs() {
        let (turns, a) = (Turns::default(), key("a"));
        let first = turns.take(&a).await;
        assert!(now(turns.take(&a)).await.is_none());
        assert!(now(turns.take(&key("b"))).await.is_some());
        drop(first);
        assert!(now(turns.take(&a)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_last_leaves_nothing() {
        let (turns, a) = (Turns::default(), key("a"));
        let first = turns.take(&a).await;
        assert!(now(turns.take(&a)).await.is_none(), "gave up");
        assert!(now(turns.take_from_add(&a)).await.is_none(), "too");
        assert_eq!(turns.lock().len(), 1, "the first has it still");
        let next = turns.take(&a);
        tokio::pin!(next);
        assert!(now(&mut next).await.is_none());
        drop(first);
        let next = next.await;
        assert_eq!(turns.lock().len(), 1, "the next has it now");
        drop(next);
        assert!(turns.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_del_ends_a_wait_and_has_the_next_turn() {
        let (turns, a) = (Turns::default(), key("a"));
        let add = turns.take(&a).await;
        let wait = add.wait();
        assert!(now(wait.deleted()).await.is_none(), "nobody deletes");
        let del = turns.take_from_add(&a);
        tokio::pin!(del);
        assert!(now(&mut del).await.is_none(), "the add has to leave first");
        assert!(now(wait.deleted()).await.is_some());
        drop(wait);
        drop(add);
        assert!(now(del).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_del_that_came_first_ends_a_wait_that_begins_later() {
        let (turns, a) = (Turns::default(), key("a"));
        let add = turns.take(&a).await;
        let del = turns.take_from_add(&a);
        tokio::pin!(del);
        assert!(now(&mut del).await.is_none());
        assert!(now(add.wait().deleted()).await.is_some());
        drop(add);
        let del = del.await;
        let after = del.wait();
        assert!(now(after.deleted()).await.is_none(), "it waits no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_del_that_gave_up_ends_no_later_wait() {
        let (turns, a) = (Turns::default(), key("a"));
        let add = turns.take(&a).await;
        assert!(now(turns.take_from_add(&a)).await.is_none());
        assert!(now(add.wait().deleted()).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_del_ends_a_wait() {
        let (turns, a) = (Turns::default(), key("a"));
        let add = turns.take(&a).await;
        let wait = add.wait();
        assert!(now(turns.take(&a)).await.is_none());
        assert!(now(wait.deleted()).await.is_none());
    }
}
