//! Who waits for an address, in order of arrival.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::choice::lease;
use super::handle::{AcquireError, GivenLease, Pool};
use super::holdings::Holdings;
use super::leases::{Cautious, Holder};
use crate::attachment::AttachmentKey;

/// An ADD that waits for an address.
#[derive(Debug)]
struct Waiter {
    holder: Holder,
    reply: oneshot::Sender<Result<GivenLease, AcquireError>>,
}

/// All ADDs that wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
    /// Nobody gets an address any more.
    closed: bool,
    /// The way back for leases whose owner has gone.
    pool: Pool,
}

impl Queue {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            waiters: VecDeque::new(),
            closed: false,
            pool,
        }
    }

    /// Takes one more in, and serves who can be served.
    pub(super) fn join(
        &mut self,
        holder: Holder,
        reply: oneshot::Sender<Result<GivenLease, AcquireError>>,
        holdings: &mut Holdings,
        now: Instant,
    ) {
        if self.closed {
            drop(reply.send(Err(AcquireError::Closed)));
            return;
        }
        self.waiters.push_back(Waiter { holder, reply });
        self.serve(holdings, now);
    }

    /// Gives free addresses in order of arrival; who has gone away is forgotten.
    pub(super) fn serve(&mut self, holdings: &mut Holdings, now: Instant) {
        self.waiters.retain(|waiter| !waiter.reply.is_closed());
        while let Some(waiter) = self.waiters.front() {
            // What only cools as a caution after a reboot comes last.
            let rested = lease(holdings, &waiter.holder, now, Cautious::Yes);
            let given = rested.or_else(|| lease(holdings, &waiter.holder, now, Cautious::No));
            let Some(given) = given else {
                return;
            };
            let Some(waiter) = self.waiters.pop_front() else {
                return;
            };
            let given = GivenLease::new(waiter.holder.key, given, self.pool.clone());
            // Should the caller have gone in this very moment, the lease comes
            // back as a command.
            drop(waiter.reply.send(Ok(given)));
        }
    }

    /// Fails all but the first few. Tells whether there were any more.
    pub(super) fn fail_beyond(&mut self, keep: u32, reason: &str) -> bool {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let keep = keep.min(self.waiters.len());
        let beyond = self.waiters.drain(keep..);
        let mut failed = false;
        for waiter in beyond {
            let hopeless = AcquireError::Hopeless(reason.to_owned());
            drop(waiter.reply.send(Err(hopeless)));
            failed = true;
        }
        failed
    }

    /// Fails who waits and who comes: the daemon stops.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for waiter in self.waiters.drain(..) {
            drop(waiter.reply.send(Err(AcquireError::Closed)));
        }
    }

    /// Lets go of who waits, without a word.
    pub(super) fn clear(&mut self) {
        self.waiters.clear();
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.waiters.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// The pods that wait, in words.
    pub(super) fn pods(&self) -> impl Iterator<Item = &str> {
        self.waiters.iter().map(|waiter| waiter.holder.pod.as_str())
    }

    /// The attachments that wait.
    pub(super) fn keys(&self) -> impl Iterator<Item = &AttachmentKey> {
        self.waiters.iter().map(|waiter| &waiter.holder.key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::testing::{empty, interface};

    type Answer = oneshot::Receiver<Result<GivenLease, AcquireError>>;

    /// A pool with one free address, and who waits for it.
    struct Line {
        queue: Queue,
        holdings: Holdings,
        now: Instant,
    }

    fn line() -> Line {
        let now = Instant::now();
        let mut holdings = empty();
        let id = interface().id;
        holdings.add_attached(interface(), now);
        if let Some(interface) = holdings.interfaces.get_mut(&id) {
            interface.link = Some("eth0".to_owned());
        }
        Line {
            queue: Queue::new(Pool::channel().0),
            holdings,
            now,
        }
    }

    fn key(container: &str) -> AttachmentKey {
        AttachmentKey {
            network: "veni".to_owned(),
            container_id: container.to_owned(),
            interface_name: "eth0".to_owned(),
        }
    }

    impl Line {
        fn join(&mut self, container: &str) -> Answer {
            let (reply, answer) = oneshot::channel();
            let holder = Holder {
                key: key(container),
                pod: container.to_owned(),
            };
            self.queue.join(holder, reply, &mut self.holdings, self.now);
            answer
        }
    }

    #[test]
    fn who_came_first_is_served_first_and_who_has_gone_is_forgotten() {
        let mut line = line();
        let mut first = line.join("a");
        assert!(matches!(first.try_recv(), Ok(Ok(_))), "at once");
        let gone = line.join("b");
        let mut second = line.join("c");
        let mut third = line.join("d");
        assert_eq!(line.queue.len(), 3);
        drop(gone);
        let address = ["10.0.0.9".parse().expect("an address")];
        line.holdings.take_back(&key("a"), &address, None);
        line.queue.serve(&mut line.holdings, line.now);
        assert!(matches!(second.try_recv(), Ok(Ok(_))));
        assert!(third.try_recv().is_err(), "it waits on");
        assert_eq!(line.queue.len(), 1);
    }

    #[test]
    fn an_address_that_cools_as_a_caution_is_given_to_who_waits() {
        let mut line = line();
        let until = line.now + Duration::from_secs(30);
        let address = "10.0.0.9".parse().expect("an address");
        line.holdings.leases.cool_as_a_caution(address, until);
        assert!(matches!(line.join("a").try_recv(), Ok(Ok(_))));
    }

    #[test]
    fn those_beyond_what_can_come_are_failed_with_the_reason() {
        let mut line = line();
        line.holdings.interfaces.clear();
        let mut answers = [line.join("a"), line.join("b"), line.join("c")];
        assert!(!line.queue.fail_beyond(3, "the subnet is full"));
        assert!(line.queue.fail_beyond(1, "the subnet is full"));
        assert!(answers[0].try_recv().is_err(), "it waits on");
        for answer in &mut answers[1..] {
            let failed = answer.try_recv().expect("an answer").err();
            let hopeless = AcquireError::Hopeless("the subnet is full".to_owned());
            assert_eq!(failed, Some(hopeless));
        }
    }

    #[test]
    fn nobody_gets_an_address_of_a_queue_that_is_closed() {
        let mut line = line();
        line.holdings.leases.give(
            &Holder {
                key: key("other"),
                pod: String::new(),
            },
            &["10.0.0.9".parse().expect("an address")],
        );
        let mut waits = line.join("a");
        line.queue.close();
        let mut comes = line.join("b");
        for answer in [&mut waits, &mut comes] {
            let failed = answer.try_recv().expect("an answer").err();
            assert_eq!(failed, Some(AcquireError::Closed));
        }
    }
}
