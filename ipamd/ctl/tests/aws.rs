//! `veni lab up --cloud localstack` as a user runs it, with the daemons and the
//! plugin that were built beside it. Looks with `/proc`, `ip -j` and the server's
//! own endpoints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod place;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use place::{Place, eventually};

/// The process of a lab's register that is described so.
fn process(place: &Place, lab: &str, what: &str) -> u32 {
    let text = std::fs::read_to_string(place.folder(lab).join("processes")).unwrap();
    let mut lines = text.lines();
    let line = lines.find(|line| line.ends_with(what));
    let line = line.unwrap_or_else(|| panic!("no {what} in {text}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    rest.is_some_and(|rest| !rest.starts_with(['Z', 'X']))
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
    let localstack = process(&place, "a", "LocalStack");
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
    let localstack = process(&place, "a", "LocalStack");
    assert!(runs(localstack));
    place.kill("a");
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
    let gone = Path::new("/proc").join(place.kill("b").to_string());
    eventually("the killed lab lives", || !gone.join("ns/net").exists());
    assert_ne!(made(&server), before, "a killed lab cannot clear its cloud");
    place.good(&format!("{b} --without-daemons --nodes 1"));
    assert_eq!(made(&server), (before.0 + 1, before.1 + 2));
    place.good("lab --name b down");
    place.good("lab --name a down");
}

#[test]
fn a_lab_whose_localstack_died_goes_on_as_it_was_wired() {
    let place = Place::new();
    let told = place.good("lab --name a up --cloud localstack --without-daemons --nodes 1");
    let server = server(&told);
    let up = "lab --name b up --nodes 1 --cloud localstack";
    let up = format!("{up} --localstack-url http://{server} --env WARM_IP_TRAGET=3");
    let output = place.command(&up).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let question = "warning: WARM_IP_TRAGET: not a setting; did you mean WARM_IP_TARGET?\n";
    assert_eq!(error, question);
    place.good("lab --name b pod add one");
    let silence = "LocalStack does not answer (";
    let warned = |line: &str| {
        let output = place
            .command(&format!("lab --name b {line}"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {error}");
        (
            error.matches(silence).count(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(warned("status").0, 0, "nothing is said while it answers");

    let localstack = process(&place, "a", "LocalStack");
    let mut kill = Command::new("kill");
    assert!(
        kill.args(["-KILL", &localstack.to_string()])
            .status()
            .unwrap()
            .success()
    );
    eventually("LocalStack lives", || !runs(localstack));

    for (line, shown) in [
        ("status", "node1"),
        ("pod list", "one"),
        ("logs 1", "effective configuration"),
        ("pod add two", "two"),
        ("burst 2 --delete", "2 pods deleted in"),
        ("matrix", "all 9 pairs"),
        ("pod del one two", "pod two is deleted"),
    ] {
        let (warnings, told) = warned(line);
        assert_eq!(warnings, 1, "{line}: {told}");
        assert!(told.contains(shown), "{line}: {told}");
    }
    let down = place.bad("lab --name b down");
    assert!(down.contains("lab b is down; its VPC vpc-"), "{down}");
    assert!(down.contains("which does not answer"), "{down}");
    assert!(!place.folder("b").exists());
    // One's own goes with the lab, dead or alive.
    assert!(place.good("lab --name a down").contains("lab a is down"));
    assert!(!place.folder("a").exists());
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
    let status = place.good("lab --name a status");
    for line in [
        "throttle, 0.5 calls per second pass, 1 at once;",
        "latency of assign, 300 ms longer;",
        "deny attach_interface;",
        "lose answers of every call, 2 times;",
        "is filled: 3 addresses are free",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(
        place
            .bad("lab --name a fault fill --subnet subnet-x")
            .contains("this lab has subnet-")
    );

    place.good("lab --name a fault clear");
    assert!(rules().is_empty());
    assert!(place.good("lab --name a status").contains("faults: none"));
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
    let unknown = place.bad(&format!("{up} --instance-type m5.enormous"));
    assert!(unknown.contains("m5.enormous"), "{unknown}");
    assert!(!place.folder("a").exists(), "nothing is left");
    let profile = place.bad(&format!("{up} --profile azure"));
    assert!(profile.contains("mock cloud"), "{profile}");
    let url = place.bad("lab --name a up --localstack-url http://127.0.0.1:1");
    assert!(url.contains("--cloud localstack"), "{url}");
    let mut missing = place.command(up);
    missing.env("VENI_LOCALSTACK_RUN", "/no/such/program");
    let missing = missing.output().unwrap();
    let missing = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        missing.contains("VENI_LOCALSTACK_RUN=/no/such/program"),
        "{missing}"
    );
}
