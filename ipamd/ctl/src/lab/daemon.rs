//! Supervises a node's `ipamd` as a kubelet would: starts it in the node's namespace,
//! starts it again when it ends, and stops it in order.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use veni_cloudlab::{Processes, command_in};

/// How long a daemon may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(6);
/// Pause before a daemon that ended by itself is started again: doubled each
/// time, up to the second value.
const RESTART: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What is run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) node: String,
    pub(crate) namespace: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
}

impl Recipe {
    fn launch(&self) -> anyhow::Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("failed to open {}", self.log.display()))?;
        let mut command: Command = command_in(&self.namespace, "setpriv");
        // A node must not inherit the caller's own AWS configuration.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"AWS_") {
                command.env_remove(name);
            }
        }
        command
            // If the lab is killed, its daemons end with it.
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .arg("--run-dir")
            .arg(&self.run_dir)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt typed at the terminal is for the lab, which stops daemons in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "failed to start {} on {}",
                    self.program.display(),
                    self.node
                )
            })
    }
}

enum Order {
    Kill { stay_dead: bool },
    Restart,
    Stop,
}

/// A daemon under supervision.
#[derive(Debug)]
pub(crate) struct Daemon {
    orders: mpsc::Sender<(Order, oneshot::Sender<anyhow::Result<()>>)>,
    pid: watch::Receiver<Option<u32>>,
    task: JoinHandle<()>,
}

impl Daemon {
    /// Starts it.
    pub(crate) fn start(recipe: Recipe, processes: Arc<Processes>) -> anyhow::Result<Self> {
        let (told, pid) = watch::channel(None);
        let (orders, inbox) = mpsc::channel(4);
        let mut supervisor = Supervisor {
            recipe,
            processes,
            child: None,
            told,
            pause: RESTART.0,
            due: None,
        };
        supervisor.launch()?;
        let task = tokio::spawn(supervisor.run(inbox));
        Ok(Self { orders, pid, task })
    }

    /// Its process while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Completes when it has ended.
    pub(crate) async fn ended(&self) {
        // If the supervisor's task is gone, the daemon does not run either.
        let mut pid = self.pid.clone();
        let _gone = pid.wait_for(Option::is_none).await;
    }

    /// Kills it with SIGKILL; it is started again at once unless told otherwise.
    pub(crate) async fn kill(&self, stay_dead: bool) -> anyhow::Result<()> {
        self.order(Order::Kill { stay_dead }).await
    }

    /// Stops it in order if it runs, and starts it.
    pub(crate) async fn restart(&self) -> anyhow::Result<()> {
        self.order(Order::Restart).await
    }

    /// Ends it and does not start it again.
    pub(crate) async fn stop(self) {
        // It is gone now, in order or by SIGKILL.
        let _outcome = self.order(Order::Stop).await;
        let _joined = self.task.await;
    }

    async fn order(&self, order: Order) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = "the daemon's supervisor has ended";
        self.orders.send((order, reply)).await.ok().context(gone)?;
        answer.await.context(gone)?
    }
}

struct Supervisor {
    recipe: Recipe,
    processes: Arc<Processes>,
    child: Option<Child>,
    told: watch::Sender<Option<u32>>,
    pause: Duration,
    /// When the supervisor starts a daemon again that ended by itself.
    due: Option<Instant>,
}

impl Supervisor {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<(Order, oneshot::Sender<anyhow::Result<()>>)>,
    ) {
        loop {
            tokio::select! {
                biased;
                order = inbox.recv() => {
                    let Some((order, reply)) = order else { break };
                    let last = matches!(order, Order::Stop);
                    let outcome = self.obey(order).await;
                    // The command that asked may have been interrupted.
                    let _unheard = reply.send(outcome);
                    if last {
                        return;
                    }
                }
                status = ended(&mut self.child) => {
                    tracing::warn!(node = %self.recipe.node, %status, pause = ?self.pause, "ipamd ended; starting it again");
                    self.forget();
                    self.due = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(RESTART.1);
                }
                () = at(self.due) => {
                    self.due = None;
                    if let Err(error) = self.launch() {
                        tracing::error!(node = %self.recipe.node, error = format!("{error:#}"), "failed to start ipamd again");
                    }
                }
            }
        }
        self.end(Signal::KILL).await;
    }

    async fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Kill { stay_dead } => {
                self.end(Signal::KILL).await;
                if stay_dead { Ok(()) } else { self.launch() }
            }
            Order::Restart => {
                self.end(Signal::TERM).await;
                self.pause = RESTART.0;
                self.launch()
            }
            Order::Stop => {
                self.end(Signal::TERM).await;
                Ok(())
            }
        }
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let child = self.recipe.launch()?;
        if let Some(pid) = child.id() {
            self.processes
                .add(pid, &format!("ipamd of {}", self.recipe.node))?;
            self.told.send_replace(Some(pid));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Sends a signal and waits until the process is gone. Kills it if that takes too long.
    async fn end(&mut self, signal: Signal) {
        self.due = None;
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // Ignored: the process may have ended by itself meanwhile.
            let _gone = kill_process(pid, signal);
        }
        if timeout(GRACE, child.wait()).await.is_err() {
            tracing::warn!(node = %self.recipe.node, "ipamd does not end: killing it");
            let _killed = child.kill().await;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.child = None;
        if let Some(pid) = self.told.send_replace(None)
            && let Err(error) = self.processes.remove(pid)
        {
            tracing::warn!(%error, "failed to take ipamd out of the register");
        }
    }
}

async fn ended(child: &mut Option<Child>) -> String {
    match child {
        Some(child) => match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
