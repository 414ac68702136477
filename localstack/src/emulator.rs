//! LocalStack's EC2 with the fidelity hook, as a child of this process.
//!
//! [`Emulator::start`] runs `localstack/ec2/run`. The server ends when the value
//! is dropped and when this process ends. [`Control`] speaks to the hook. Nothing
//! here speaks to EC2 itself, because that needs Amazon's SDK.

mod control;
mod http;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::error::LabError;
use crate::last_words::end_of_log;
pub use control::{Control, Fill};

/// Pause between two checks of whether the server is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the server may take to end in order before it is killed.
const PATIENCE: Duration = Duration::from_secs(4);
/// Lines of the server's log that an error quotes.
const LAST_WORDS: usize = 40;

/// A running LocalStack.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Emulator {
    /// Starts the server with its files in a folder. It makes the folder if needed;
    /// no other server may use it. Port 0 stands for a free port. The first start on
    /// a machine installs LocalStack, which takes a minute or two: await
    /// [`Emulator::ready`].
    ///
    /// # Errors
    /// `Io` when the folder cannot be made or the script cannot be executed.
    pub fn start(run_script: &Path, data: &Path, listen: SocketAddr) -> Result<Self, LabError> {
        let address = with_port(listen)?;
        fs::create_dir_all(data).map_err(LabError::io(format!("make {}", data.display())))?;
        let log = data.join("server.log");
        let output =
            File::create(&log).map_err(LabError::io(format!("write {}", log.display())))?;
        let errors = output
            .try_clone()
            .map_err(LabError::io(format!("write {}", log.display())))?;
        let child = Command::new(run_script)
            // The server must not outlive this process, even if that is killed.
            .args(["--listen", &address.to_string(), "--exit-with-parent"])
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(LabError::io(format!("execute {}", run_script.display())))?;
        Ok(Self {
            address,
            child,
            log,
        })
    }

    /// Waits until the server answers with the hook in force.
    ///
    /// # Errors
    /// `Emulator` when it ends or is not ready in time, with the end of its log.
    pub async fn ready(&mut self, patience: Duration) -> Result<(), LabError> {
        let control = self.control();
        let deadline = Instant::now() + patience;
        loop {
            // Before the question: a port of a dead server may answer for somebody else.
            if let Some(status) = self.ended()? {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            if control.health().await.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let spent = patience.as_secs();
                return Err(self.failed(&format!("it does not answer after {spent} s")));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The address at which it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, for `AWS_ENDPOINT_URL_EC2`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that it writes its log to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The hook's control endpoints.
    pub fn control(&self) -> Control {
        Control::new(self.address)
    }

    /// How it has ended; `None` while it runs.
    ///
    /// # Errors
    /// `Io` when the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        let told = self.child.try_wait();
        told.map_err(LabError::io("look after LocalStack's process"))
    }

    /// Tells the server to end and waits until it is gone. Kills it if it takes longer
    /// than a few seconds.
    ///
    /// # Errors
    /// `Io` when the system does not tell.
    pub async fn stop(mut self) -> Result<(), LabError> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while self.ended()?.is_none() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        Ok(()) // dropping it kills what is left
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "LocalStack's process cannot be signalled");
        }
    }

    fn failed(&self, reason: &str) -> LabError {
        LabError::Emulator {
            operation: "become ready".to_owned(),
            reason: format!("{reason}; {}", end_of_log(&self.log, LAST_WORDS)),
        }
    }
}

impl Drop for Emulator {
    /// Kills the server, because a drop must not wait for seconds. Nothing is lost: its
    /// state is in memory and its folder is the caller's.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The address, with a free port instead of port 0.
fn with_port(listen: SocketAddr) -> Result<SocketAddr, LabError> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    let free = TcpListener::bind(listen).and_then(|listener| listener.local_addr());
    free.map_err(LabError::io(format!("find a free port of {}", listen.ip())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("run");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn started(folder: &Path, text: &str) -> Emulator {
        let run = script(folder, text);
        let listen = "127.0.0.1:0".parse().unwrap();
        Emulator::start(&run, &folder.join("data"), listen).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_ends_while_it_starts_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut emulator = started(folder.path(), "echo no python here >&2; exit 7");
        let told = emulator.ready(Duration::from_secs(60)).await;
        let told = told.unwrap_err().to_string();
        assert!(told.contains("exit status: 7"), "{told}");
        assert!(told.contains("no python here"), "{told}");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_reported_and_its_process_ends_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let mut emulator = started(folder.path(), "exec sleep 600");
        let told = emulator.ready(Duration::from_millis(10)).await;
        assert!(told.unwrap_err().to_string().contains("does not answer"));
        let process = PathBuf::from(format!("/proc/{}", emulator.pid()));
        assert!(process.exists());
        drop(emulator);
        assert!(!process.exists());
    }

    #[test]
    fn a_script_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("run");
        let told = Emulator::start(&missing, folder.path(), "127.0.0.1:0".parse().unwrap());
        assert!(told.unwrap_err().to_string().contains("/run"));
    }
}
