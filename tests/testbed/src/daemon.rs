//! A node's `ipamd` as a process of its own. A test starts, kills, stops and restarts it;
//! it is always reaped.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;
use veni_api::client::{Connection, connect_operator};
use veni_api::v1::operator_client::OperatorClient;
use veni_cloudlab::command_in;

use crate::{PATIENCE, binaries, eventually};

/// Lines at the end of its log that a failure shows.
const SHOWN: usize = 25;

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Death {
    /// By SIGKILL.
    pub const KILLED: Self = Self::Signalled(9);

    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signalled(signal.unwrap_or_default()),
        }
    }
}

/// The daemon of one node. Killed when the value is dropped.
#[derive(Debug)]
pub struct Daemon {
    namespace: PathBuf,
    run_dir: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    child: Mutex<Option<Child>>,
    /// A file in place of the kernel's boot id; `None` is the machine's own boot.
    boot: std::sync::Mutex<Option<PathBuf>>,
}

impl Daemon {
    pub(crate) fn new(
        namespace: &Path,
        folder: &Path,
        run_dir: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            run_dir,
            log: folder.join("ipamd.log"),
            environment,
            child: Mutex::new(None),
            boot: std::sync::Mutex::default(),
        }
    }

    /// Its run folder.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Gives the node another boot id, for all programs that [`Self::exec`] makes from now on.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn boot_again(&self, id: &str) {
        let file = self.log.with_file_name("boot_id");
        std::fs::write(&file, format!("{id}\n")).expect("the boot id can be written");
        let mut boot = self.boot.lock().expect("nobody has panicked");
        *boot = Some(file);
    }

    /// A program to be started on its node, which sees the node's boot id.
    ///
    /// # Panics
    /// When another thread has panicked.
    pub fn exec(&self, program: PathBuf) -> Command {
        let boot = self.boot.lock().expect("nobody has panicked").clone();
        let Some(boot) = boot else {
            return command_in(&self.namespace, program);
        };
        let mut command = command_in(&self.namespace, "unshare");
        let script = r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#;
        command.args(["--mount", "--", "sh", "-c", script]);
        command.arg(boot).arg(program);
        command
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it runs already, ends at once or does not become ready.
    pub async fn start(&self) {
        self.start_with(&[]).await;
        self.ready().await;
    }

    /// Starts it with further settings and does not wait.
    ///
    /// # Panics
    /// When it runs already or cannot be executed.
    pub async fn start_with(&self, further: &[(&str, &str)]) {
        let mut child = self.child.lock().await;
        assert!(child.is_none(), "the daemon runs already");
        *child = Some(self.spawn(&self.run_dir, further));
    }

    /// Starts it with a log that nobody reads any more, and waits until it serves.
    ///
    /// # Panics
    /// When it runs already, ends at once or does not become ready.
    pub async fn start_unheard(&self) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let error = writer.try_clone().expect("a second handle of the pipe");
        let mut child = self.child.lock().await;
        assert!(child.is_none(), "the daemon runs already");
        let mut command = self.command(&self.run_dir, &[]);
        let started = command.stdout(writer).stderr(error).spawn();
        *child = Some(started.expect("ipamd can be executed"));
        drop(child);
        self.ready().await;
    }

    /// Starts another process beside the one that may run. Returns how it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn second(&self) -> Death {
        self.second_in(&self.run_dir).await
    }

    /// The same with another run folder.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn second_in(&self, run_dir: &Path) -> Death {
        let mut child = self.spawn(run_dir, &[]);
        let ended = timeout(PATIENCE, child.wait()).await;
        Death::of(
            ended
                .expect("the second daemon ends")
                .expect("it can be waited for"),
        )
    }

    fn spawn(&self, run_dir: &Path, further: &[(&str, &str)]) -> Child {
        let open = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open.expect("the daemon's log can be written");
        let mut command = self.command(run_dir, further);
        command
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("ipamd can be executed")
    }

    fn command(&self, run_dir: &Path, further: &[(&str, &str)]) -> Command {
        let mut command = self.exec(binaries::ipamd());
        // A node must not inherit settings that the caller has made for the tests or for
        // AWS clients of its own.
        for (name, _) in std::env::vars_os() {
            let begins = |prefix: &&str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
            if ["AWS_", "VENI_"].iter().any(begins) {
                command.env_remove(&name);
            }
        }
        command
            .arg("--run-dir")
            .arg(run_dir)
            .env("VENI_STATE_DIR", run_dir.join("state"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(further.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Waits until it answers operators and has marked itself ready.
    ///
    /// # Panics
    /// When it ends or does not come up.
    pub async fn ready(&self) {
        let pid = self.pid().await.expect("the daemon was started");
        eventually(
            &format!("ipamd on {}", self.run_dir.display()),
            async || {
                if let Some(death) = self.has_died().await {
                    panic!(
                        "ipamd ended with {death:?} before it was ready:\n{}",
                        self.log_tail()
                    );
                }
                // The lock proves that the socket belongs to this process and not to a dead
                // one.
                let owner = std::fs::read_to_string(self.run_dir.join("ipamd.lock"));
                if owner.unwrap_or_default().trim() != pid.to_string() {
                    return Err(format!("it has not begun:\n{}", self.log_tail()));
                }
                let mut operator = match self.operator().await {
                    Ok(operator) => operator,
                    Err(error) => return Err(format!("{error}:\n{}", self.log_tail())),
                };
                let pool = operator.pool(veni_api::v1::PoolRequest {}).await;
                pool.map_err(|status| status.to_string())?;
                if self.run_dir.join("ready").exists() {
                    Ok(())
                } else {
                    Err("no ready file".to_owned())
                }
            },
        )
        .await;
    }

    /// A client of its operators' service.
    ///
    /// # Errors
    /// It is down.
    pub async fn operator(&self) -> Result<OperatorClient<Connection>, String> {
        let connected = connect_operator(&self.run_dir.join("operator.sock")).await;
        connected.map_err(|error| error.to_string())
    }

    /// Its process while it runs.
    pub async fn pid(&self) -> Option<u32> {
        self.child.lock().await.as_ref().and_then(Child::id)
    }

    /// How it has ended, if it has ended by itself. Forgets it then.
    pub async fn has_died(&self) -> Option<Death> {
        let mut child = self.child.lock().await;
        let status = child.as_mut()?.try_wait().expect("it can be waited for")?;
        *child = None;
        Some(Death::of(status))
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub async fn kill(&self) -> Death {
        self.end(Signal::KILL).await
    }

    /// Ends it with SIGTERM and waits until it is gone.
    pub async fn terminate(&self) -> Death {
        self.end(Signal::TERM).await
    }

    /// Stops it with SIGSTOP, until [`Self::resume`].
    ///
    /// # Panics
    /// It does not run.
    pub async fn pause(&self) {
        self.signal(Signal::STOP).await;
    }

    /// Lets it run again.
    ///
    /// # Panics
    /// It does not run.
    pub async fn resume(&self) {
        self.signal(Signal::CONT).await;
    }

    async fn signal(&self, signal: Signal) {
        let child = self.child.lock().await;
        let pid = pid_of(child.as_ref().expect("the daemon runs"));
        kill_process(pid, signal).expect("it takes signals");
    }

    async fn end(&self, signal: Signal) -> Death {
        let mut slot = self.child.lock().await;
        let mut child = slot.take().expect("the daemon runs");
        // Ignored: if it has died in this moment, the wait still returns its end.
        let _gone = kill_process(pid_of(&child), signal);
        match timeout(PATIENCE, child.wait()).await {
            Ok(status) => Death::of(status.expect("it can be waited for")),
            Err(_) => panic!("ipamd does not end on {signal:?}:\n{}", self.log_tail()),
        }
    }

    /// All of its log so far, including earlier processes'.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

fn pid_of(child: &Child) -> Pid {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.and_then(Pid::from_raw)
        .expect("it was not waited for yet")
}
