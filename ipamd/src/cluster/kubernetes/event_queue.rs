//! Which Kubernetes events wait to be written, and which are not written again.
//!
//! The queue is short. The same about the same object is written at most once in a while, and
//! what does not fit is dropped.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::availability::Trouble;
use crate::attachment::PodName;
use crate::cluster::api_metrics::EventOutcome;
use crate::events::PodNews;

/// Events that may wait.
const QUEUE: usize = 100;
/// Until the same is written about the same pod again; a runtime tries an ADD again every few
/// seconds.
const AGAIN_OF_POD: Duration = Duration::from_secs(60);
/// Likewise about the node.
const AGAIN_OF_NODE: Duration = Duration::from_secs(600);
/// The reason of the event that nothing keeps the node from addresses any more.
const RECOVERED: &str = "AddressesAvailable";

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// By namespace, name and uid.
    Pod(String, String, String),
    /// What the daemon does on its node.
    Node,
}

/// An event that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) about: About,
    pub(super) reason: &'static str,
    pub(super) warning: bool,
    pub(super) note: String,
}

impl Told {
    /// Something keeps the node from addresses.
    pub(super) fn trouble(trouble: &Trouble) -> Self {
        Self {
            about: About::Node,
            reason: trouble.reason.name(),
            warning: true,
            note: trouble.note.clone(),
        }
    }

    /// Nothing does any more.
    pub(super) fn recovery(note: &str) -> Self {
        Self {
            about: About::Node,
            reason: RECOVERED,
            warning: false,
            note: note.to_owned(),
        }
    }

    /// A pod's ADD failed; `None` where it did not.
    pub(super) fn of_pod(pod: PodName, news: &PodNews) -> Option<Self> {
        let PodNews::Failed { lacks_address, why } = news else {
            return None;
        };
        Some(Self {
            about: About::Pod(pod.namespace, pod.name, pod.uid),
            reason: match lacks_address {
                true => "NoAddress",
                false => "NetworkSetupFailed",
            },
            warning: true,
            note: why.clone(),
        })
    }

    fn again(&self) -> Duration {
        match self.about {
            About::Pod(..) => AGAIN_OF_POD,
            About::Node => AGAIN_OF_NODE,
        }
    }

    fn key(&self) -> Key {
        (self.about.clone(), self.reason)
    }
}

type Key = (About, &'static str);

/// The events that wait, and those that were written a short time ago.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Told>,
    /// Until when the same is not written again.
    written: HashMap<Key, Instant>,
}

impl Queue {
    /// Takes an event in, or tells why not.
    pub(super) fn push(&mut self, told: Told, now: Instant) -> Result<(), EventOutcome> {
        let key = told.key();
        if let Some(same) = self.waiting.iter_mut().find(|other| other.key() == key) {
            // The last word counts, of those that wait: what is under way or was written
            // stays as it is.
            same.note = told.note;
            return Err(EventOutcome::Repeated);
        }
        self.written.retain(|_, until| *until > now);
        if self.written.contains_key(&key) {
            return Err(EventOutcome::Repeated);
        }
        if self.waiting.len() >= QUEUE {
            return Err(EventOutcome::Dropped);
        }
        self.waiting.push_back(told);
        Ok(())
    }

    /// Takes back what could not be written. It goes to the back, so that it keeps nothing about
    /// others waiting, but a recovery stays behind its trouble.
    pub(super) fn again(&mut self, told: Told) -> Result<(), EventOutcome> {
        let key = told.key();
        if self.waiting.iter().any(|newer| newer.key() == key) {
            return Err(EventOutcome::Repeated);
        }
        let (newer, others): (Vec<Told>, Vec<Told>) = self
            .waiting
            .drain(..)
            .partition(|other| other.about == told.about);
        self.waiting.extend(others);
        self.waiting.push_back(told);
        self.waiting.extend(newer);
        Ok(())
    }

    /// It was written, or refused: the same is not written for a while.
    pub(super) fn done(&mut self, told: &Told, now: Instant) {
        match (&told.about, told.reason) {
            // What comes next is a trouble of its own.
            (About::Node, RECOVERED) => self.written.retain(|(about, _), _| *about != About::Node),
            // And its end is one.
            (About::Node, _) => drop(self.written.remove(&(About::Node, RECOVERED))),
            // The same that came during the write.
            (About::Pod(..), _) => self.waiting.retain(|other| other.key() != told.key()),
        }
        self.written.insert(told.key(), now + told.again());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kubernetes::availability::Reason;

    fn told(pod: &str, note: &str) -> Told {
        let pod = PodName {
            namespace: "shop".to_owned(),
            name: pod.to_owned(),
            uid: "u".to_owned(),
        };
        let failed = PodNews::Failed {
            lacks_address: true,
            why: note.to_owned(),
        };
        Told::of_pod(pod, &failed).expect("a failure is told")
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_written_once_in_a_while_and_the_last_word_counts() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(queue.push(told("a", "first"), now), Ok(()));
        let again = queue.push(told("a", "second"), now);
        assert_eq!(again, Err(EventOutcome::Repeated));
        let next = queue.waiting.pop_front().expect("one waits");
        assert_eq!(next.note, "second");
        queue.done(&next, now);
        let soon = queue.push(told("a", "third"), now + AGAIN_OF_POD / 2);
        assert_eq!(soon, Err(EventOutcome::Repeated));
        assert_eq!(queue.push(told("b", "another pod"), now), Ok(()));
        let later = now + AGAIN_OF_POD;
        assert_eq!(queue.push(told("a", "fourth"), later), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_goes_to_the_back_unless_a_newer_one_waits() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for pod in ["a", "b"] {
            assert_eq!(queue.push(told(pod, "first"), now), Ok(()));
        }
        let failed = queue.waiting.pop_front().expect("one waits");
        assert_eq!(queue.again(failed), Ok(()));
        assert_eq!(queue.waiting, [told("b", "first"), told("a", "first")]);
        let failed = queue.waiting.pop_front().expect("one waits");
        assert_eq!(queue.push(told("b", "second"), now), Ok(()));
        assert_eq!(queue.again(failed), Err(EventOutcome::Repeated));
        assert_eq!(queue.waiting, [told("a", "first"), told("b", "second")]);
    }

    fn trouble() -> Told {
        Told::trouble(&Trouble {
            reason: Reason::SubnetExhausted,
            note: "subnet-1 is full".to_owned(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_trouble_that_cannot_be_written_comes_before_its_recovery() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (trouble, recovery) = (trouble(), Told::recovery("pods get addresses"));
        for told in [trouble.clone(), recovery.clone(), told("a", "first")] {
            assert_eq!(queue.push(told, now), Ok(()));
        }
        let failed = queue.waiting.pop_front().expect("one waits");
        assert_eq!(queue.again(failed), Ok(()));
        assert_eq!(queue.waiting, [told("a", "first"), trouble, recovery]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_recovery_is_told_that_follows_a_trouble() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for told in [&trouble(), &Told::recovery("pods get addresses")].repeat(2) {
            assert_eq!(queue.push(told.clone(), now), Ok(()), "{told:?}");
            let next = queue.waiting.pop_front().expect("it waits");
            queue.done(&next, now);
            let again = queue.push(told.clone(), now);
            assert_eq!(again, Err(EventOutcome::Repeated), "{told:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_dropped() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..QUEUE {
            assert_eq!(queue.push(told(&number.to_string(), ""), now), Ok(()));
        }
        let more = queue.push(told("more", ""), now);
        assert_eq!(more, Err(EventOutcome::Dropped));
    }

    #[test]
    fn a_pod_that_has_its_network_is_no_event() {
        let news = PodNews::Added(Vec::new());
        assert_eq!(Told::of_pod(PodName::default(), &news), None);
    }
}
