//! What a test decides for a daemon that shares its thread, so that the same history happens
//! again: the machine's clocks, the daemon's death, and whether there is room in the run
//! folder. All of the daemon's tasks run on that thread. Random numbers are seeded by
//! [`veni_provider::random::seed_thread`]. Programs are built without this module.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

type Clock = Rc<dyn Fn() -> Now>;

/// What the machine's clocks show, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since the epoch.
    pub unix: u64,
    /// Since the boot.
    pub boot: u64,
}

/// Where the daemon of this thread dies.
struct Trap {
    point: String,
    passages: u32,
    sprung: Arc<Notify>,
}

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
    static TRAP: RefCell<Option<Trap>> = const { RefCell::new(None) };
    static FULL: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Replaces the machine's clocks; `None` puts them back.
pub fn set_clock(clock: Option<Clock>) {
    CLOCK.set(clock);
}

/// Lets this thread's daemon stand still at the given passage (from 1) of a crash point, and at
/// every point that it comes to afterwards, and tells the test.
pub fn set_trap(point: &str, passage: u32) -> Arc<Notify> {
    let sprung = Arc::new(Notify::new());
    TRAP.set(Some(Trap {
        point: point.to_owned(),
        passages: passage,
        sprung: Arc::clone(&sprung),
    }));
    sprung
}

/// Takes the trap away: another daemon begins.
pub fn clear_trap() {
    TRAP.set(None);
}

/// Whether the daemon has come to its trap.
pub fn is_trapped() -> bool {
    TRAP.with_borrow(|trap| trap.as_ref().is_some_and(|trap| trap.passages == 0))
}

/// Lets no file below a folder be written from now on; `None` makes room again.
pub fn set_full(folder: Option<PathBuf>) {
    FULL.set(folder);
}

pub(crate) fn now() -> Option<Now> {
    let clock = CLOCK.with_borrow(Clone::clone);
    clock.map(|clock| clock())
}

/// Whether the daemon comes to its end at this point.
pub(crate) fn ends_at(point: &str) -> bool {
    TRAP.with_borrow_mut(|trap| {
        let Some(trap) = trap else { return false };
        if trap.passages > 0 && trap.point == point {
            trap.passages -= 1;
            if trap.passages == 0 {
                trap.sprung.notify_one();
            }
        }
        trap.passages == 0
    })
}

pub(crate) fn is_full(path: &Path) -> bool {
    FULL.with_borrow(|folder| folder.as_ref().is_some_and(|full| path.starts_with(full)))
}
