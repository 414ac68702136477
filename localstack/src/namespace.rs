//! Unnamed network namespaces, each kept alive by a small child process.
//!
//! The child reads its standard input, a pipe whose other end this process holds.
//! However this process ends, the kernel then closes the pipe. The child sees the end
//! of its input and exits, and the namespace goes with all links, rules and sockets in
//! it. Nothing is mounted, and the namespace has no name on the machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::command::search_path;
use crate::error::LabError;

/// The holder's program: it reports that it runs inside its namespace, then waits for
/// the end of its input.
const HOLD: &str = "ip link set lo up && echo ready && exec cat >/dev/null";

/// A network namespace that lives as long as this value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    pid: u32,
    holder: Child,
    // The pipe to the holder. Closing it ends the holder.
    lifeline: Option<ChildStdin>,
}

impl Namespace {
    /// Makes a namespace; its loopback is up. The name is for messages only.
    ///
    /// # Errors
    /// `Tool` when namespaces cannot be made (no privilege), `Io` when
    /// `unshare` cannot be executed.
    pub async fn create(name: impl Into<String>) -> Result<Self, LabError> {
        let name = name.into();
        let operation = format!("make the network namespace of {name}");
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", HOLD])
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // The holder gets a process group of its own, so that an interrupt typed at
            // the terminal does not end it before this process has cleaned up.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(LabError::io(operation.clone()))?;
        let (lifeline, pid) = (holder.stdin.take(), holder.id().unwrap_or_default());
        let mut answer = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut answer)
                .await
                .map_err(LabError::io(operation.clone()))?;
        }
        if answer != "ready\n" {
            let mut reason = String::new();
            if let Some(mut stderr) = holder.stderr.take() {
                stderr
                    .read_to_string(&mut reason)
                    .await
                    .map_err(LabError::io(operation.clone()))?;
            }
            return Err(LabError::Tool {
                operation,
                reason: reason.trim().to_owned(),
            });
        }
        Ok(Self {
            name,
            path: PathBuf::from(format!("/proc/{pid}/ns/net")),
            pid,
            holder,
            lifeline,
        })
    }

    /// The name that it got at its creation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path by which others enter it; good as `CNI_NETNS`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process that holds it; `ip link … netns PID` takes it.
    pub fn holder(&self) -> u32 {
        self.pid
    }

    /// A program to be started inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(&self.path, program)
    }

    /// Ends the holder and waits for it. The namespace itself ends with the last process
    /// and the last socket in it.
    pub async fn remove(mut self) {
        drop(self.lifeline.take());
        // The holder exits at once; an error would mean that it is gone already.
        let _left = self.holder.wait().await;
    }
}

/// A program to be started inside the namespace at a path. It runs in a process
/// of its own that `nsenter` turns into: its process id is the program's.
pub fn command_in(namespace: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut net = std::ffi::OsString::from("--net=");
    net.push(namespace);
    let mut command = Command::new("nsenter");
    command
        .arg(net)
        .arg("--")
        .arg(program)
        .env("PATH", search_path());
    command
}

/// Does something inside the namespace at a path, on a short-lived thread: a
/// socket opened there stays there, and a program started there lives there.
///
/// # Errors
/// The system's: no such namespace, no privilege, or what `action` returns.
pub async fn enter<T, F>(namespace: &Path, action: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let namespace = namespace.to_owned();
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("in-namespace".to_owned())
        .spawn(move || {
            let entered = File::open(&namespace).and_then(|file| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(io::Error::from)
            });
            // The receiver is gone if the caller was cancelled.
            let _unheard = done.send(entered.and_then(|()| action()));
        })?;
    result
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace panicked")))
}
