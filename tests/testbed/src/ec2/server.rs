//! The LocalStack of this process. It ends with the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use veni_cloudlab::{Control, Emulator, LocalStack};

/// Installing takes a minute or two when the cache is empty.
const PATIENCE: Duration = Duration::from_secs(600);
/// First part of the names of data folders; a process id follows.
const FOLDER: &str = "veni-test-ec2-";

static SERVER: LazyLock<Server> = LazyLock::new(start);
/// Tests that do not set knobs share this lock; a test that sets one holds it alone.
static KNOBS: RwLock<()> = RwLock::const_new(());

/// The running server.
pub struct Server {
    /// Address and port.
    pub address: String,
    /// The hook's control endpoints.
    pub control: Control,
    _emulator: Emulator,
}

/// The server, started when it is first asked for.
///
/// # Panics
/// LocalStack cannot be installed or does not start.
pub fn server() -> &'static Server {
    &SERVER
}

/// The server for a lab, started when it is first asked for.
///
/// # Panics
/// LocalStack cannot be installed or does not start.
pub fn running() -> LocalStack {
    let address = server().address.parse();
    LocalStack::Running(address.expect("an address and a port"))
}

/// Keeps knobs and clock as they are until the guard is dropped.
pub async fn calm() -> RwLockReadGuard<'static, ()> {
    KNOBS.read().await
}

/// Sets knobs until the guard is dropped. No other test runs meanwhile.
///
/// # Panics
/// There is no such knob.
pub async fn knobs(values: Value) -> Knobs {
    let alone = KNOBS.write().await;
    let turned = server().control.turn_knobs(&values).await;
    turned.expect("the knobs must be there");
    Knobs { _alone: alone }
}

/// Knobs that a test has set.
pub struct Knobs {
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Knobs {
    /// Sets further knobs, or sets some back.
    ///
    /// # Panics
    /// There is no such knob.
    pub async fn turn(&self, values: Value) {
        let turned = server().control.turn_knobs(&values).await;
        turned.expect("the knobs must be there");
    }
}

impl Drop for Knobs {
    /// Sets them back, also when the test has failed.
    #[expect(clippy::print_stderr, reason = "to the runner of the test")]
    fn drop(&mut self) {
        let back = json!({
            "attach_seconds": 0, "detach_seconds": 0, "latency_seconds": 0,
            "create_visibility_seconds": 0, "describe_lag_seconds": 0,
            "interfaces_without_paging": 5000,
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

/// A folder of this process. In namespaces of their own, tests have a temporary folder of
/// their own too, which is removed behind them. Elsewhere nothing runs behind them that could:
/// the folder is among what is built, and the next process removes those of dead ones.
fn data_folder() -> PathBuf {
    let own = format!("{FOLDER}{}", std::process::id());
    if std::env::var_os("VENI_TEST_NAMESPACES").is_some() {
        return std::env::temp_dir().join(own);
    }
    let program = std::env::current_exe().expect("the test's own program");
    // target/PROFILE/deps/PROGRAM
    let built = program.ancestors().nth(2).expect("a folder of the build");
    let all = built.join("tmp");
    for old in fs::read_dir(&all).into_iter().flatten().flatten() {
        let name = old.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(old.path());
        }
    }
    all.join(own)
}

/// Runs something in a thread with a runtime of its own, because the caller may be inside
/// another runtime and cannot block there. `None` when it panics.
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
