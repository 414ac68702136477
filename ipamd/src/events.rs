//! What happens, as a stream that operators can follow; the last events are remembered. Each
//! event carries the pool's levels at its moment, which the pool's owner sets here.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::attachment::PodName;
use crate::clock::unix_millis;

/// Events that a slow reader may fall behind before it misses some.
const BACKLOG: usize = 1024;

/// Events that are remembered for who comes later.
const REMEMBERED: usize = 512;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A pod has its network, or could not get one.
    Add,
    /// A pod's network is gone.
    Del,
    /// A cloud call has ended.
    Cloud,
    /// A difference between journal, kernel and cloud was repaired.
    Repair,
    /// The pool changed otherwise.
    Pool,
    /// The daemon changed what others put on the host.
    Host,
}

/// The pool in numbers: addresses of the first family that it serves, and ADDs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels {
    /// Addresses that a pod could have at once.
    pub free: u32,
    /// Addresses that pods have.
    pub assigned: u32,
    /// Addresses in cooldown.
    pub cooling: u32,
    /// ADDs that wait for an address.
    pub waiting: u32,
}

/// What has become of a pod's attachment, for who tells others of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodNews {
    /// It has these addresses.
    Added(Vec<IpAddr>),
    /// It could not get a network.
    Failed {
        /// Whether an address is what it lacks.
        lacks_address: bool,
        /// Why, and what to do.
        why: String,
    },
    /// It had these addresses.
    Deleted(Vec<IpAddr>),
}

/// Something has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, milliseconds since the epoch.
    pub time_ms: u64,
    /// What it is about.
    pub kind: EventKind,
    /// What it was, in words.
    pub message: String,
    /// The pod that it is about, where it is the pod's first interface.
    pub pod: Option<(PodName, PodNews)>,
    /// The pool's levels as they were last set.
    pub levels: Levels,
    /// Cloud calls that have ended since the start.
    pub cloud_calls: u64,
}

#[derive(Debug, Default)]
struct Numbers {
    levels: Levels,
    cloud_calls: u64,
}

/// The stream of events. Cheap to clone; clones are one stream.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    /// The last events, the oldest first.
    past: Arc<Mutex<VecDeque<Event>>>,
    numbers: Arc<Mutex<Numbers>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
            past: Arc::default(),
            numbers: Arc::default(),
        }
    }
}

impl Events {
    /// Tells everybody who listens.
    pub fn emit(&self, kind: EventKind, message: String) {
        self.emit_of_pod(kind, message, None);
    }

    /// Tells everybody who listens what has become of a pod.
    pub(crate) fn emit_of_pod(
        &self,
        kind: EventKind,
        message: String,
        pod: Option<(PodName, PodNews)>,
    ) {
        let (levels, cloud_calls) = self.with_numbers(|all| (all.levels, all.cloud_calls));
        let event = Event {
            time_ms: unix_millis(),
            kind,
            message,
            pod,
            levels,
            cloud_calls,
        };
        // One is sent while it is remembered, so that who asks for both misses none and
        // hears none twice.
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // An error only says that nobody listens.
        drop(self.sender.send(event));
    }

    /// The events that are remembered, the oldest first, and those from now on.
    pub fn with_past(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.sender.subscribe())
    }

    /// Listens from now on. A listener that falls 1024 events behind misses the oldest,
    /// and the receiver tells it how many.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Sets the levels that events carry from now on.
    pub(crate) fn set_levels(&self, levels: Levels) {
        self.with_numbers(|all| all.levels = levels);
    }

    /// Counts a cloud call that has ended.
    pub(crate) fn count_cloud_call(&self) {
        self.with_numbers(|all| all.cloud_calls = all.cloud_calls.saturating_add(1));
    }

    /// Cloud calls that have ended since the start.
    pub fn cloud_calls(&self) -> u64 {
        self.with_numbers(|all| all.cloud_calls)
    }

    fn with_numbers<T>(&self, read: impl FnOnce(&mut Numbers) -> T) -> T {
        // Each number is whole whoever died while writing another.
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        read(&mut numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_remembered_and_none_is_told_twice() {
        let events = Events::default();
        for number in 0..REMEMBERED + 2 {
            events.emit(EventKind::Pool, number.to_string());
        }
        let (past, mut coming) = events.with_past();
        assert_eq!(past.len(), REMEMBERED);
        assert_eq!(past[0].message, "2", "the oldest are forgotten");
        assert!(coming.try_recv().is_err(), "what is past is not to come");
        events.emit(EventKind::Pool, "next".to_owned());
        assert_eq!(coming.try_recv().expect("an event").message, "next");
    }

    #[test]
    fn an_event_carries_the_levels_and_calls_of_its_moment() {
        let events = Events::default();
        let mut listener = events.clone().subscribe();
        let levels = Levels {
            free: 3,
            ..Levels::default()
        };
        events.count_cloud_call();
        events.set_levels(levels);
        events.emit(EventKind::Pool, "said".to_owned());
        events.set_levels(Levels::default());
        let event = listener.try_recv().expect("an event");
        assert_eq!(event.levels, levels);
        assert_eq!((event.cloud_calls, event.kind), (1, EventKind::Pool));
        assert_eq!(event.message, "said");
    }
}
