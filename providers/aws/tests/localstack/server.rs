//! One LocalStack for all tests of this process. It ends with the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use veni_cloudlab::{Control, Emulator};

/// Installing takes a minute or two when the cache is empty.
const PATIENCE: Duration = Duration::from_secs(600);

static SERVER: LazyLock<Server> = LazyLock::new(start);
/// Tests that leave the knobs alone share it.
static KNOBS: RwLock<()> = RwLock::const_new(());

/// The running server.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) control: Control,
    _emulator: Emulator,
}

/// The server, started when it is first asked for.
pub(crate) fn server() -> &'static Server {
    &SERVER
}

/// Keeps the knobs as they are.
pub(crate) async fn calm() -> RwLockReadGuard<'static, ()> {
    KNOBS.read().await
}

/// Turns knobs until the guard is dropped; no other test runs meanwhile.
pub(crate) async fn knobs(values: Value) -> Knobs {
    let alone = KNOBS.write().await;
    let turned = server().control.turn_knobs(&values).await;
    turned.expect("the knobs must be there");
    Knobs { _alone: alone }
}

/// Knobs that are turned.
pub(crate) struct Knobs {
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Drop for Knobs {
    /// Turns them back, whatever became of the test.
    fn drop(&mut self) {
        let back = json!({
            "attach_seconds": 0, "detach_seconds": 0,
            "create_visibility_seconds": 0, "describe_lag_seconds": 0,
        });
        let control = server().control.clone();
        let turned = aside(async move { control.turn_knobs(&back).await });
        if !matches!(turned, Some(Ok(_))) {
            eprintln!("the knobs of the server could not be turned back");
        }
    }
}

fn start() -> Server {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../localstack/ec2/run");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut emulator =
        Emulator::start(&program, &data_folder(), listen).expect("LocalStack must start");
    let emulator = aside(async move { emulator.ready(PATIENCE).await.map(|()| emulator) });
    let emulator = emulator.expect("no panic").unwrap_or_else(|error| {
        panic!("these tests need what localstack/ec2/install installs: {error}")
    });
    Server {
        address: emulator.address().to_string(),
        control: emulator.control(),
        _emulator: emulator,
    }
}

/// A folder of this process; those of processes that are gone are removed.
fn data_folder() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("localstack");
    for old in fs::read_dir(&all).into_iter().flatten().flatten() {
        let owner = Path::new("/proc").join(old.file_name());
        if !owner.exists() {
            let _ = fs::remove_dir_all(old.path());
        }
    }
    all.join(std::process::id().to_string())
}

/// Runs something in a thread with a runtime of its own: the caller may be in
/// another one, and cannot wait there. `None` when it panics.
fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let done = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(work)
    });
    done.join().ok()
}
