//! Named points at which tests kill the daemon, to prove that SIGKILL at any
//! instant loses nothing. Without the feature `crash-points` they are nothing.

/// All points, in the order in which an ADD, a DEL and the pool pass them.
pub const POINTS: &[&str] = &[
    "add.acquired",
    "add.journalled",
    "add.networked",
    "add.committed",
    "del.journalled",
    "del.unwired",
    "del.released",
    "reap.deleted",
    "reap.forgotten",
    "release.journalled",
    "release.answered",
    "assign.answered",
    "assigned.written",
    "attach.answered",
    "detach.unwired",
];

/// Kills the process with SIGKILL when the environment asks for this point:
/// `VENI_CRASH_AT=add.networked`, or `add.networked:3` for the third passage. Where a test
/// has set a trap for this daemon instead, whoever comes to the point goes no further.
#[cfg(feature = "crash-points")]
pub async fn point(name: &'static str) {
    if ends_here(name) {
        std::future::pending().await
    }
}

/// A point in code that cannot wait. A trap here ends the daemon a moment later.
#[cfg(feature = "crash-points")]
pub fn point_in_passing(name: &'static str) {
    ends_here(name);
}

#[cfg(feature = "crash-points")]
fn ends_here(name: &'static str) -> bool {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);
    debug_assert!(
        POINTS.contains(&name),
        "{name} is not in the list of points"
    );
    #[cfg(feature = "replay")]
    if crate::replay::ends_at(name) {
        return true;
    }
    let Ok(wanted) = std::env::var("VENI_CRASH_AT") else {
        return false;
    };
    let (wanted, passage) = match wanted.split_once(':') {
        Some((point, count)) => (point, count.parse().unwrap_or(1)),
        None => (wanted.as_str(), 1),
    };
    if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == passage {
        let process = rustix::process::getpid();
        let killed = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        panic!("failed to kill ourselves at {name}: {killed:?}");
    }
    false
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub async fn point(_name: &'static str) {}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point_in_passing(_name: &'static str) {}
