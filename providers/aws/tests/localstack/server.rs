//! One LocalStack for all tests of this process. It ends with the process.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::ask::ask;

/// Installing takes a minute or two when the cache is empty.
const PATIENCE: Duration = Duration::from_secs(600);

static SERVER: LazyLock<Server> = LazyLock::new(start);
/// Tests that leave the knobs alone share it.
static KNOBS: RwLock<()> = RwLock::const_new(());

/// The running server.
pub(crate) struct Server {
    pub(crate) address: String,
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
    let server = server();
    server.post("knobs", &values).await;
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
        let address = server().address.clone();
        if !asked_aside(address, "POST", "/_veni/knobs", Some(back)) {
            eprintln!("the knobs of the server could not be turned back");
        }
    }
}

impl Server {
    /// Posts to a control endpoint, which must take it.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let path = format!("/_veni/{path}");
        let answer = ask(&self.address, "POST", &path, Some(body)).await;
        let (status, told) = answer.expect("the server must answer");
        assert_eq!(status, 200, "POST {path} {body}: {told}");
        told
    }

    /// Reads a control endpoint.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let path = format!("/_veni/{path}");
        let answer = ask(&self.address, "GET", &path, None).await;
        let (status, told) = answer.expect("the server must answer");
        assert_eq!(status, 200, "GET {path}: {told}");
        told
    }

    /// Removes a fault.
    pub(crate) async fn mend(&self, fault: &Value) {
        let path = format!("/_veni/faults/{}", fault["id"]);
        let answer = ask(&self.address, "DELETE", &path, None).await;
        assert_eq!(answer.expect("the server must answer").0, 200, "{path}");
    }
}

fn start() -> Server {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../localstack/ec2/run");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let data = data_folder();
    let log = data.join("server.log");
    let output = fs::File::create(&log).expect("a log");
    let child = Command::new(&program)
        .args(["--listen", &address, "--exit-with-parent", "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
    wait_until_ready(child, &address, &log);
    Server { address }
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
    let data = all.join(std::process::id().to_string());
    fs::create_dir_all(&data).expect("a folder");
    data
}

fn wait_until_ready(mut child: Child, address: &str, log: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ended = child.try_wait().expect("it is our child");
        if ended.is_some() || Instant::now() > deadline {
            let _ = child.kill();
            let text = fs::read_to_string(log).unwrap_or_default();
            panic!(
                "LocalStack did not become ready ({ended:?}). These tests need it: \
                 localstack/ec2/install must be able to install it. Its log:\n{text}"
            );
        }
        if is_ready(address) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is_ready(address: &str) -> bool {
    asked_aside(address.to_owned(), "GET", "/_veni/health", None)
}

/// Asks in a thread with a runtime of its own: the caller may be in another
/// one, and cannot wait there.
fn asked_aside(
    address: String,
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
) -> bool {
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let asked = async {
            let asked = ask(&address, method, path, body.as_ref());
            tokio::time::timeout(Duration::from_secs(10), asked).await
        };
        matches!(runtime.block_on(asked), Ok(Ok((200, _))))
    });
    asked.join().unwrap_or(false)
}
