//! What others have changed in the kernel, as its own notifications tell it.
//!
//! A notification says that something may differ, never what is there now: whoever is
//! told compares. Our own changes are not told where the kernel says who made a change.

use std::ops::{BitOr, BitOrAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

/// Kinds of things that may have changed, several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, any of which may be true"
)]
pub struct Changes {
    /// Links of the node itself came, went or were set otherwise.
    pub links: bool,
    /// Addresses of the node's links came or went.
    pub addresses: bool,
    /// Rules of ours went, or routes of ours in an interface's table went or were replaced.
    pub rules_and_routes: bool,
    /// Others made or removed routes of the main table, which pods' packets follow by copies.
    pub main_table: bool,
    /// Routes to pods went or were replaced, or the host's end of a pod's veth pair was
    /// taken down.
    pub pods: bool,
    /// Forwarding or reverse path filtering is set otherwise than pods need it.
    pub settings: bool,
    /// Something in our nftables table changed. The program that loads it for us is
    /// told of as well.
    pub nftables: bool,
    /// Qdiscs or filters of the node's links changed, or an ifb device of ours went or was
    /// taken down.
    pub limits: bool,
    /// The kernel could not keep all its notifications: anything may have changed. All
    /// other facts are true then.
    pub overrun: bool,
}

impl Changes {
    /// Nothing has changed.
    pub const NONE: Self = Self {
        links: false,
        addresses: false,
        rules_and_routes: false,
        main_table: false,
        pods: false,
        settings: false,
        nftables: false,
        limits: false,
        overrun: false,
    };

    /// Anything may have changed.
    pub const ANYTHING: Self = Self {
        links: true,
        addresses: true,
        rules_and_routes: true,
        main_table: true,
        pods: true,
        settings: true,
        nftables: true,
        limits: true,
        overrun: true,
    };

    /// Whether nothing has changed.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

impl BitOr for Changes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            links: self.links | other.links,
            addresses: self.addresses | other.addresses,
            rules_and_routes: self.rules_and_routes | other.rules_and_routes,
            main_table: self.main_table | other.main_table,
            pods: self.pods | other.pods,
            settings: self.settings | other.settings,
            nftables: self.nftables | other.nftables,
            limits: self.limits | other.limits,
            overrun: self.overrun | other.overrun,
        }
    }
}

impl BitOrAssign for Changes {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

#[derive(Debug, Default)]
struct Inbox {
    unread: Mutex<Changes>,
    told: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One listener. What it has not read yet is kept as one value, so it misses nothing
/// and costs the same however much happens.
#[derive(Debug)]
pub struct Watch {
    inbox: Arc<Inbox>,
    gathering: Duration,
}

impl Watch {
    /// Waits until something has changed since the last call, or since this was made.
    /// Never ends where nothing watches any more. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Changes {
        loop {
            let told = self.inbox.told.notified();
            if locked(&self.inbox.unread).is_empty() {
                told.await;
            } else {
                if !self.gathering.is_zero() {
                    tokio::time::sleep(self.gathering).await;
                }
                return std::mem::take(&mut *locked(&self.inbox.unread));
            }
        }
    }
}

/// Tells all listeners.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    inboxes: Mutex<Vec<Weak<Inbox>>>,
    gathering: Duration,
}

impl Teller {
    /// What happens within so long of the first change is told with it.
    #[cfg(feature = "memory")]
    pub(crate) fn gathering(gathering: Duration) -> Self {
        Self {
            inboxes: Mutex::default(),
            gathering,
        }
    }

    /// A new listener, who is told what changes from now on.
    pub(crate) fn watch(&self) -> Watch {
        let inbox = Arc::new(Inbox::default());
        locked(&self.inboxes).push(Arc::downgrade(&inbox));
        Watch {
            inbox,
            gathering: self.gathering,
        }
    }

    pub(crate) fn tell(&self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        locked(&self.inboxes).retain(|inbox| {
            let Some(inbox) = inbox.upgrade() else {
                return false;
            };
            *locked(&inbox.unread) |= changes;
            inbox.told.notify_one();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: Changes = Changes {
        links: true,
        ..Changes::NONE
    };
    const PODS: Changes = Changes {
        pods: true,
        ..Changes::NONE
    };

    #[tokio::test]
    async fn all_that_happened_meanwhile_is_told_to_every_listener_as_one() {
        let teller = Teller::default();
        let (mut first, mut second) = (teller.watch(), teller.watch());
        drop(teller.watch());
        teller.tell(LINKS);
        teller.tell(PODS);
        teller.tell(LINKS);
        assert_eq!(first.changed().await, LINKS | PODS);
        assert_eq!(second.changed().await, LINKS | PODS);
        teller.tell(PODS);
        assert_eq!(
            first.changed().await,
            PODS,
            "what was read is not told again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_told_while_nothing_changes() {
        let teller = Teller::default();
        let mut watch = teller.watch();
        teller.tell(Changes::NONE);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), watch.changed());
        assert!(waited.await.is_err());
        teller.tell(LINKS);
        assert_eq!(watch.changed().await, LINKS);
    }
}
