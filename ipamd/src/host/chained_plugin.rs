//! A plugin of the chain that is not ours, asked which versions of the CNI specification
//! it speaks. A pod fails after our plugin has served it when a later one does not speak
//! the version of the list.
//!
//! It is a program that somebody else has put there: it gets little time, little room
//! for its answer, and nothing that it prints is passed on.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// A plugin answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer, bytes; a usual one has a hundred.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// What a runtime passes. The variables are ignored, but some plugins want them.
const QUESTION: &str = r#"{"cniVersion":"1.0.0"}"#;
const VARIABLES: [(&str, &str); 5] = [
    ("CNI_COMMAND", "VERSION"),
    ("CNI_CONTAINERID", "dummy"),
    ("CNI_NETNS", "dummy"),
    ("CNI_IFNAME", "dummy"),
    ("CNI_PATH", "dummy"),
];

/// What came of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spoken {
    /// The versions, as the plugin has them.
    Versions(Vec<String>),
    /// No answer that makes sense, with the reason.
    Unknown(String),
}

/// Asks the plugin at `path`.
///
/// # Errors
/// It is being written at the moment, or no process can be had.
pub(super) fn spoken_versions(path: &Path) -> io::Result<Spoken> {
    let started = Command::new(path)
        .env_clear()
        .envs(VARIABLES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if is_passing(&error) => return Err(error),
        Err(error) => return Ok(Spoken::Unknown(format!("it cannot be executed: {error}"))),
    };
    let (sender, answers) = mpsc::channel();
    let output = child.stdout.take();
    // Ends with the plugin's last descriptor of the pipe, or when enough was read.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.map(|output| output.take(LONGEST_ANSWER + 1).read_to_end(&mut bytes));
        // Nobody listens any more when it comes too late.
        drop(sender.send(read.transpose().map(|_| bytes)));
    });
    if let Some(mut input) = child.stdin.take() {
        // One that does not read its input may answer all the same.
        drop(input.write_all(QUESTION.as_bytes()));
    }
    let answered = answers.recv_timeout(PATIENCE);
    // What it has started goes with it. It is not reaped yet, so the number is its own.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    drop(child.wait());
    Ok(match answered {
        Err(_) => Spoken::Unknown(format!("no answer in {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => Spoken::Unknown(format!("its answer cannot be read: {error}")),
        Ok(Ok(bytes)) => parse(&bytes),
    })
}

/// What is over when it is tried again.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ExecutableFileBusy | io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
    )
}

fn parse(answer: &[u8]) -> Spoken {
    if answer.len() as u64 > LONGEST_ANSWER {
        return Spoken::Unknown(format!("its answer is longer than {LONGEST_ANSWER} bytes"));
    }
    let answer: Option<Value> = serde_json::from_slice(answer).ok();
    let versions = answer
        .as_ref()
        .and_then(|answer| answer["supportedVersions"].as_array());
    match versions {
        None => Spoken::Unknown("its answer is none of the specification".to_owned()),
        Some(versions) => {
            let texts = versions.iter().filter_map(Value::as_str);
            Spoken::Versions(texts.map(str::to_owned).collect())
        }
    }
}
