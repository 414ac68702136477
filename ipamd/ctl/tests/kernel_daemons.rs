//! `veni lab` with the daemons and the plugin that were built beside it: readers
//! that go away, for whom everything happens as if it were read, and bursts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

#[expect(dead_code, reason = "other tests use more of it")]
mod place;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use place::{Place, eventually};

/// Runs a line whose output nobody reads; its status and what it complained of.
fn unheard(place: &Place, line: &str) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(line);
    let output = command.stdout(writer).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), error)
}

#[test]
fn every_command_of_a_lab_does_its_work_when_nobody_reads() {
    let place = Place::new();
    for line in [
        "lab --name a up --nodes 1",
        "lab --name a status",
        "lab --name a pod add p",
        "lab --name a pod list",
        "lab --name a pod exec p -- true",
        "lab --name a matrix",
        "lab --name a burst 2",
        "lab --name a burst 2 --delete",
        "lab --name a logs 1",
        "lab --name a exec 1 -- true",
        "lab --name a kill 1",
        "lab --name a restart 1",
        "lab --name a fault throttle --per-second 5",
        "lab --name a fault latency 1",
        "lab --name a fault fill --leave 100",
        "lab --name a fault fragment",
        "lab --name a fault lose-answers --operation node",
        "lab --name a fault deny --operation node",
        "lab --name a fault clear",
        "lab --name a pod del p",
    ] {
        assert_eq!(
            unheard(&place, line),
            (Some(0), String::new()),
            "veni {line}"
        );
    }
    let pods = place.good("lab --name a pod list");
    assert!(pods.contains("burst1-2") && !pods.contains("p "), "{pods}");
    let down = unheard(&place, "lab --name a down");
    assert_eq!(down, (Some(0), String::new()));
    assert!(!place.folder("a").exists());
}

#[test]
fn a_program_in_a_lab_that_a_signal_ends_ends_the_command_as_in_a_shell() {
    let place = Place::new();
    place.good("lab --name a up --nodes 1 --without-daemons");
    let (code, _) = unheard(&place, "lab --name a exec 1 -- yes");
    assert_eq!(code, Some(128 + 13), "of SIGPIPE");
    place.good("lab --name a down");
}

#[test]
fn a_demo_whose_reader_goes_away_ends_early_and_leaves_nothing() {
    let place = Place::new();
    let mut demo = place.command("lab --name a demo");
    let mut demo = demo
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("1. A cloud") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it goes on");
    }
    assert!(place.folder("a").exists(), "the look sees it while it runs");
    drop(output);
    let mut error = String::new();
    let mut complaints = demo.stderr.take().unwrap();
    complaints.read_to_string(&mut error).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{error}");
    assert_eq!(error, "");
    eventually("the lab is left", || !place.folder("a").exists());
}

#[test]
fn the_pods_that_bursts_have_left_are_deleted_on_demand_and_no_others() {
    let place = Place::new();
    place.good("lab --name a up --nodes 2");
    place.good("lab --name a pod add mine");
    place.good("lab --name a burst 2");
    place.good("lab --name a burst 1 --node 2");
    let told = place.good("lab --name a burst 3 --delete");
    assert!(told.contains("3 pods deleted in"), "{told}");
    let pods = place.good("lab --name a pod list");
    let of_bursts = |pods: &str| pods.matches("burst").count();
    assert_eq!(of_bursts(&pods), 3, "the look sees what is left: {pods}");

    let told = place.good("lab --name a burst --delete");
    assert!(told.contains("3 pods deleted in"), "{told}");
    let pods = place.good("lab --name a pod list");
    assert_eq!(of_bursts(&pods), 0, "{pods}");
    assert!(pods.contains("mine"), "{pods}");
    let told = place.good("lab --name a burst --delete");
    assert!(told.contains("no pod of a burst"), "{told}");
    place.good("lab --name a down");
}

#[test]
fn a_node_whose_daemon_is_dead_is_told_with_what_starts_it() {
    let place = Place::new();
    place.good("lab --name a up --nodes 2");
    let hint = "node1: no ipamd runs; `veni lab restart node1` starts one";
    assert!(!place.good("lab --name a status").contains(hint));
    place.good("lab --name a kill 1 --stay-dead");
    let told = place.good("lab --name a status");
    assert!(told.contains(hint), "{told}");
    place.good("lab --name a restart node1");
    assert!(!place.good("lab --name a status").contains(hint));
    place.good("lab --name a down");
}
