//! The register of the processes that a lab has started. After a lab was killed, the
//! clean-up ends exactly these. The kernel uses process ids again, so an entry counts
//! only together with the process's start time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::LabError;

/// How long a process may take to end after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);

/// The register of a running lab.
#[derive(Debug)]
pub struct Processes {
    file: PathBuf,
    known: Mutex<BTreeMap<u32, String>>,
}

impl Processes {
    /// An empty register that is written to a file.
    pub(crate) fn new(file: PathBuf) -> Self {
        Self {
            file,
            known: Mutex::default(),
        }
    }

    /// Adds a process.
    ///
    /// # Errors
    /// `Io` when the register cannot be written.
    pub fn add(&self, pid: u32, what: &str) -> Result<(), LabError> {
        let Some(start) = start_time(pid) else {
            return Ok(()); // gone already
        };
        self.change(|known| {
            known.insert(pid, format!("{start} {what}"));
        })
    }

    /// Removes a process that has ended.
    ///
    /// # Errors
    /// `Io` when the register cannot be written.
    pub fn remove(&self, pid: u32) -> Result<(), LabError> {
        self.change(|known| {
            known.remove(&pid);
        })
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<u32, String>)) -> Result<(), LabError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut known);
        let text: String = known
            .iter()
            .map(|(pid, rest)| format!("{pid} {rest}\n"))
            .collect();
        let new = self.file.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.file))
            .map_err(LabError::io(format!("write {}", self.file.display())))
    }
}

/// When a process started, in clock ticks since boot; `None` when there is no
/// such process or it only waits to be reaped.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field may hold anything, also spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Kills the processes of a register and waits until they are gone.
pub(crate) fn end_leftovers(file: &Path) {
    let Ok(text) = fs::read_to_string(file) else {
        return;
    };
    let ours: Vec<(u32, u64)> = text.lines().filter_map(parse).collect();
    let alive = |&(pid, start): &(u32, u64)| start_time(pid) == Some(start);
    for (pid, _) in ours.iter().filter(|process| alive(process)) {
        if let Err(error) = kill(*pid, Signal::KILL) {
            tracing::warn!(pid, %error, "failed to end a process of an earlier lab");
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while ours.iter().any(alive) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn parse(line: &str) -> Option<(u32, u64)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Sends a signal to one process.
fn kill(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::process::Command;

    use super::*;

    #[test]
    fn leftovers_are_ended_and_a_reused_process_id_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("processes");
        let mut ours = Command::new("sleep").arg("600").spawn().unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let register = Processes::new(file.clone());
        register.add(ours.id(), "ours").unwrap();
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str(&format!("{} 1 an id used again\n", other.id()));
        fs::write(&file, text).unwrap();

        end_leftovers(&file);
        assert!(!ours.wait().unwrap().success());
        assert!(
            other.try_wait().unwrap().is_none(),
            "the other one must live"
        );
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
