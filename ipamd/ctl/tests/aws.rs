//! `veni lab up --cloud localstack` as a user runs it, with the daemons and the
//! plugin that were built beside it. Looks with `/proc`, `ip -j` and the server's
//! own endpoints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for anything that will happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for labs that no other test shares.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn veni(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_veni"))
            .args(line.split(' '))
            .env("XDG_RUNTIME_DIR", self.0.path())
            // A user's own account must not come into it.
            .env("AWS_ACCESS_KEY_ID", "the-user-s-own")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output()
            .unwrap()
    }

    fn good(&self, line: &str) -> String {
        let output = self.veni(line);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "veni {line}: {error}{told}");
        told
    }

    fn bad(&self, line: &str) -> String {
        let output = self.veni(line);
        assert!(!output.status.success(), "veni {line} must fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("veni-lab-{name}"))
    }

    /// The process of a lab's register that is described so.
    fn process(&self, name: &str, what: &str) -> u32 {
        let text = std::fs::read_to_string(self.folder(name).join("processes")).unwrap();
        let mut lines = text.lines();
        let line = lines.find(|line| line.ends_with(what));
        let line = line.unwrap_or_else(|| panic!("no {what} in {text}"));
        line.split(' ').next().unwrap().parse().unwrap()
    }

    fn owner(&self, name: &str) -> u32 {
        let text = std::fs::read_to_string(self.folder(name).join("lock")).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.0.path()).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_prefix("veni-lab-") {
                self.veni(&format!("lab --name {name} down"));
            }
        }
    }
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    rest.is_some_and(|rest| !rest.starts_with(['Z', 'X']))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where a lab's LocalStack answers, out of what `up` or `status` has printed.
fn server(told: &str) -> String {
    let (_, rest) = told.split_once("http://").expect("the server's address");
    let end = rest.find([' ', '\n']).unwrap_or(rest.len());
    rest[..end].to_owned()
}

/// What a control endpoint of the server tells.
fn ask(server: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(server).unwrap();
    write!(stream, "GET /_veni/{path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// How many interfaces and subnets there are that tests and labs have made: those
/// of the default VPC, which every region has, hold no interface of theirs.
fn made(server: &str) -> (usize, usize) {
    let state = ask(server, "state");
    let regions = state["regions"].as_array().unwrap();
    let all = |what: &str| {
        let each = regions
            .iter()
            .map(|region| region[what].as_array().unwrap());
        each.flatten().cloned().collect::<Vec<Value>>()
    };
    let subnets = all("subnets");
    let own = subnets.iter().filter(|one| {
        one["CidrBlock"]
            .as_str()
            .is_some_and(|range| range.starts_with("10."))
    });
    (all("interfaces").len(), own.count())
}

#[test]
fn a_lab_on_localstack_is_a_working_cluster_and_leaves_nothing() {
    let place = Place::new();
    let told = place.good("lab --name a up --cloud localstack");
    let localstack = place.process("a", "LocalStack");
    assert!(runs(localstack), "the look sees it while it runs");
    assert!(told.contains("node2"), "{told}");

    place.good("lab --name a pod add one --node 1");
    place.good("lab --name a pod add two --node 2");
    assert!(place.good("lab --name a matrix").contains("all 16 pairs"));
    place.good("lab --name a burst 8 --node 1 --delete");
    place.good("lab --name a kill 1");
    place.good("lab --name a matrix");
    let status = place.good("lab --name a status");
    assert_eq!(server(&status), server(&told));
    for node in ["node1", "node2"] {
        let line = status.lines().find(|line| line.starts_with(node)).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let dropped = &words[words.len() - 3];
        assert_eq!(*dropped, "0", "nothing counts as forged: {line}");
    }
    let metadata = place.good("lab --name a exec 2 -- ip -j route get 169.254.169.254");
    assert!(metadata.contains("eth0"), "{metadata}");

    place.good("lab --name a down");
    eventually("LocalStack is left", || !runs(localstack));
    assert!(!place.folder("a").exists());
}

#[test]
fn a_lab_that_is_killed_takes_its_localstack_with_it() {
    let place = Place::new();
    place.good("lab --name a up --cloud localstack --without-daemons --nodes 1");
    let localstack = place.process("a", "LocalStack");
    assert!(runs(localstack));
    let owner = place.owner("a").to_string();
    let killed = Command::new("kill").args(["-KILL", &owner]).status();
    assert!(killed.unwrap().success());
    eventually("LocalStack is left", || !runs(localstack));
    assert!(place.good("lab --name a down").contains("had been killed"));
    assert!(!place.folder("a").exists());
}

#[test]
fn a_localstack_that_runs_already_is_shared_and_cleared() {
    let place = Place::new();
    let told = place.good("lab --name a up --cloud localstack --without-daemons --nodes 1");
    let server = server(&told);
    let before = made(&server);
    let b = format!("lab --name b up --cloud localstack --localstack-url http://{server}");

    place.good(&format!("{b} --without-daemons"));
    assert_eq!(
        made(&server),
        (before.0 + 2, before.1 + 2),
        "two nodes, two subnets"
    );
    place.good("lab --name b down");
    assert_eq!(made(&server), before);

    // What a killed one has left goes when it comes up again.
    place.good(&format!("{b} --without-daemons"));
    let owner = place.owner("b").to_string();
    let killed = Command::new("kill").args(["-KILL", &owner]).status();
    assert!(killed.unwrap().success());
    let gone = Path::new("/proc").join(owner);
    eventually("the killed lab lives", || !gone.join("ns/net").exists());
    assert_ne!(made(&server), before, "a killed lab cannot clear its cloud");
    place.good(&format!("{b} --without-daemons --nodes 1"));
    assert_eq!(made(&server), (before.0 + 1, before.1 + 2));
    place.good("lab --name b down");
    place.good("lab --name a down");
}

#[test]
fn faults_of_a_lab_strike_its_nodes_and_end_when_they_are_cleared() {
    let place = Place::new();
    let told = place.good("lab --name a up --cloud localstack --without-daemons --nodes 1");
    let server = server(&told);
    let rules = || ask(&server, "faults")["faults"].as_array().unwrap().clone();
    for line in [
        "throttle --per-second 0.5",
        "latency 200 --operation assign",
        "latency 300 --operation assign",
        "deny --operation attach-interface",
        "lose-answers --times 2",
        "fill --leave 3",
    ] {
        place.good(&format!("lab --name a fault {line}"));
    }
    let found = rules();
    assert_eq!(
        found.len(),
        4,
        "a fault takes the place of its like: {found:?}"
    );
    let one_node = |rule: &Value| {
        rule["access_key"]
            .as_array()
            .is_some_and(|keys| keys.len() == 1)
    };
    assert!(found.iter().all(one_node), "{found:?}");
    let free = |state: &Value| {
        let subnets = state["regions"][0]["subnets"].as_array().unwrap().iter();
        let own = subnets.filter(|one| one["CidrBlock"].as_str().unwrap().starts_with("10."));
        own.map(|one| one["AvailableIpAddressCount"].as_u64().unwrap())
            .max()
    };
    assert_eq!(free(&ask(&server, "state")), Some(3));
    assert!(
        place
            .bad("lab --name a fault fill --subnet subnet-x")
            .contains("this lab has subnet-")
    );

    place.good("lab --name a fault clear");
    assert!(rules().is_empty());
    assert!(free(&ask(&server, "state")) > Some(3));
    place.good("lab --name a down");
}

#[test]
fn what_cannot_be_is_said_with_what_to_do() {
    let place = Place::new();
    let up = "lab --name a up --cloud localstack --without-daemons";
    let nobody = place.bad(&format!("{up} --localstack-url http://127.0.0.1:1"));
    assert!(nobody.contains("LocalStack"), "{nobody}");
    assert!(!place.folder("a").exists(), "nothing is left");
    let profile = place.bad(&format!("{up} --profile azure"));
    assert!(profile.contains("mock cloud"), "{profile}");
    let url = place.bad("lab --name a up --localstack-url http://127.0.0.1:1");
    assert!(url.contains("--cloud localstack"), "{url}");
    let missing = Command::new(env!("CARGO_BIN_EXE_veni"))
        .args(up.split(' '))
        .env("XDG_RUNTIME_DIR", place.0.path())
        .env("VENI_LOCALSTACK_RUN", "/no/such/program")
        .output()
        .unwrap();
    let missing = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        missing.contains("VENI_LOCALSTACK_RUN=/no/such/program"),
        "{missing}"
    );
}
