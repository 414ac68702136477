//! What happens, as a stream that operators can follow, and the pool's levels
//! beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use veni_api::v1;

/// Events that a slow reader may fall behind before it misses some.
const BACKLOG: usize = 1024;

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
}

impl EventKind {
    /// Its name in the API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "del",
            Self::Cloud => "cloud",
            Self::Repair => "repair",
            Self::Pool => "pool",
        }
    }
}

/// The pool's levels, written by the owner task, read by anybody.
#[derive(Debug, Default)]
pub struct Levels {
    /// Free addresses.
    pub free: AtomicU32,
    /// Assigned ones.
    pub assigned: AtomicU32,
    /// Cooling ones.
    pub cooling: AtomicU32,
    /// Waiting ADDs.
    pub waiting: AtomicU32,
    /// Cloud calls since the start.
    pub cloud_calls: AtomicU64,
}

/// The stream of events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<v1::Event>,
    levels: Arc<Levels>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
            levels: Arc::default(),
        }
    }
}

impl Events {
    /// The pool's levels.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Tells everybody who listens.
    pub fn emit(&self, kind: EventKind, message: String) {
        let read = |level: &AtomicU32| level.load(Ordering::Relaxed);
        let event = v1::Event {
            time_ms: unix_millis(),
            kind: kind.label().to_owned(),
            message,
            free: read(&self.levels.free),
            assigned: read(&self.levels.assigned),
            cooling: read(&self.levels.cooling),
            waiting: read(&self.levels.waiting),
            cloud_calls: self.levels.cloud_calls.load(Ordering::Relaxed),
        };
        // An error only says that nobody listens.
        drop(self.sender.send(event));
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<v1::Event> {
        self.sender.subscribe()
    }
}

/// Milliseconds since the epoch, by the machine's clock.
pub fn unix_millis() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
