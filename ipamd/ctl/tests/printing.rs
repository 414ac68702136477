//! What `veni` prints, and to whom: readers that go away, disks that are full, and
//! names that would steer a terminal. Asks a daemon that is made of canned answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod canned;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use canned::{HOSTILE, Node};
use serde_json::Value;

fn veni(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veni"));
    command.args(line.split_whitespace());
    command
}

/// Runs a line whose output nobody reads, nor its complaints.
fn unheard(line: &str) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = veni(line);
    command.stdout(writer).stderr(Stdio::piped());
    let heard = command.output().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let error = writer.try_clone().unwrap();
    let status = veni(line).stdout(writer).stderr(error).status().unwrap();
    assert_eq!(status.code(), heard.status.code(), "veni {line}");
    heard
}

/// Every subcommand that help tells of, with those of subcommands.
fn commands() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut next = vec![String::new()];
    while let Some(one) = next.pop() {
        let help = veni(&format!("{one} --help")).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        for line in listed.lines().take_while(|line| !line.is_empty()) {
            // Lines that go on are indented deeper.
            let Some(name) = line
                .strip_prefix("  ")
                .filter(|rest| !rest.starts_with(' '))
            else {
                continue;
            };
            let name = name.split_whitespace().next().unwrap();
            if name != "help" {
                next.push(format!("{one} {name}").trim().to_owned());
            }
        }
        all.insert(one);
    }
    all
}

#[test]
fn help_that_nobody_reads_ends_quietly_for_every_command() {
    let all = commands();
    for known in [
        "status",
        "check",
        "events",
        "config",
        "max-pods",
        "lab demo",
        "lab fault deny",
    ] {
        assert!(all.contains(known), "{known} in {all:?}");
    }
    for command in all {
        for line in [format!("{command} --help"), "--version".to_owned()] {
            let output = unheard(&line);
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "veni {line}");
            assert_eq!(output.status.code(), Some(0), "veni {line}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure_of_any_command_that_asks() {
    let node = Node::start().await;
    let socket = node.socket();
    for line in [
        format!("status --socket {socket}"),
        format!("status --explain --socket {socket}"),
        format!("status --json --socket {socket}"),
        format!("config --socket {socket}"),
        format!("config --json --socket {socket}"),
        format!("endpoints --socket {socket}"),
        format!("endpoints --json --socket {socket}"),
        format!("events --socket {socket}"),
        format!("events --json --socket {socket}"),
        format!("events --follow --socket {socket}"),
        format!("status --watch --socket {socket}"),
        format!("log-level --socket {socket}"),
        format!("log-level --json --socket {socket}"),
        "completions bash".to_owned(),
        "max-pods m5.large".to_owned(),
        "max-pods --all".to_owned(),
        "max-pods --all --json".to_owned(),
    ] {
        let output = tokio::task::spawn_blocking(move || (unheard(&line), line));
        let (output, line) = output.await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "veni {line}");
        assert_eq!(output.status.code(), Some(0), "veni {line}");
    }
}

#[test]
fn a_failure_stays_one_when_nobody_reads() {
    for line in [
        "status --run-dir /nowhere",
        "check --run-dir /nowhere",
        "events --follow --run-dir /nowhere",
        "max-pods m5.lagre",
        "lab --name a status",
    ] {
        let output = unheard(line);
        assert!(!output.status.success(), "veni {line}");
        assert_ne!(output.status.code(), Some(101), "veni {line} panicked");
    }
}

#[tokio::test]
async fn output_that_cannot_be_written_is_a_failure_that_names_the_reason() {
    let node = Node::start().await;
    for line in [
        format!("status --socket {}", node.socket()),
        "max-pods m5.large".to_owned(),
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = move || veni(&line).stdout(full).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.starts_with("veni: failed to write to standard output: No space left"),
            "{error}"
        );
    }
}

/// What a line prints that asks a node whose every name is hostile.
async fn told(line: &str) -> String {
    let node = Node::start().await;
    let asked = format!("{line} --socket {}", node.socket());
    let run = move || veni(&asked).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    // Of a node where everything differs, a check says so.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_exit_status_of_a_check_stays_when_nobody_reads() {
    let node = Node::start().await;
    let line = format!("check --socket {}", node.socket());
    let output = tokio::task::spawn_blocking(move || unheard(&line))
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "something differs");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = veni(&format!("completions {shell}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for word in ["log-level", "repair", "run-dir", "max-pods"] {
            assert!(text.contains(word), "{word} for {shell}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = veni("man");
    assert!(command.arg(folder.path()).status().unwrap().success());
    for command in commands().into_iter().filter(|one| one != "man") {
        let name = format!("veni {command}").trim().replace(' ', "-");
        let path = folder.path().join(format!("{name}.1"));
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(".SH"), "{name}");
    }
}

/// Whether a terminal would do anything but show it.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)
}

#[tokio::test]
async fn no_name_steers_the_terminal_or_forges_a_line() {
    assert!(
        HOSTILE.contains(steers),
        "the look sees them where they are"
    );
    for line in [
        "status --explain",
        "config",
        "check",
        "endpoints",
        "events",
        "log-level",
    ] {
        let text = told(line).await;
        assert!(!text.contains(steers), "veni {line}: {text:?}");
        assert!(
            text.contains(r"a\u{1b}[2J\nForged: 0\tb\u{202e}c"),
            "{text}"
        );
        let forged = text
            .lines()
            .filter(|line| line.trim().starts_with("Forged: 0"));
        assert_eq!(forged.count(), 0, "veni {line}: {text}");
    }
}

#[tokio::test]
async fn the_columns_stand_under_their_headings_whatever_the_names() {
    let text = told("status").await;
    let mut lines = text.lines().skip_while(|line| *line != "Endpoints").skip(1);
    let heading = lines.next().unwrap();
    let column = heading.find("ADDRESSES").unwrap();
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), 2, "{text}");
    for row in rows {
        assert_eq!(row.find("10.0.0.7"), Some(column), "{text}");
    }
}

#[tokio::test]
async fn json_has_every_name_as_it_is_and_nothing_that_steers_a_terminal() {
    for (line, name) in [
        ("status --json", "/endpoints/0/pod/name"),
        ("status --json", "/pool/hostWarnings/0"),
        ("config --json", "/0/value"),
        ("check --json", "/findings/0/what"),
        ("check --json", "/mended/0/cure"),
        ("check --json", "/unchecked/0"),
        ("endpoints --json", "/0/pod/name"),
        ("events --json", "/message"),
        ("log-level --json", "/inForce"),
    ] {
        let text = told(line).await;
        assert!(!text.contains(steers), "veni {line}: {text:?}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json.pointer(name).unwrap(), HOSTILE, "veni {line}");
    }
}

#[test]
fn errors_do_not_steer_the_terminal() {
    let mut command = veni("status --run-dir");
    let output = command.arg("/no\u{1b}[2J\u{202e}where").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains(r"/no\u{1b}[2J"), "{error}");
    assert!(!error.contains(steers), "{error:?}");
}
