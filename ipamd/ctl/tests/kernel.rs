//! `veni lab` as a user runs it: up, a kill, up again, down. Without daemons,
//! so that this program alone is tested; looks with `/proc` and `ip -j`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod place;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use place::{Place, eventually};

fn up(place: &Place, name: &str) {
    place.good(&format!("lab --name {name} up --without-daemons"));
}

fn namespace_of(process: &Path) -> Option<PathBuf> {
    std::fs::read_link(process.join("ns/net")).ok()
}

/// The network namespaces that a process and its children are in.
fn namespaces_of_children(owner: u32) -> BTreeSet<PathBuf> {
    let own = namespace_of(&PathBuf::from(format!("/proc/{owner}"))).unwrap();
    let children = |process: &Path| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1));
        parent == Some(owner.to_string().as_str())
    };
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    all.filter(|process| children(process))
        .filter_map(|process| namespace_of(&process))
        .filter(|namespace| *namespace != own)
        .collect()
}

fn in_use(namespaces: &BTreeSet<PathBuf>) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let used: BTreeSet<PathBuf> = all
        .filter_map(|entry| namespace_of(&entry.path()))
        .collect();
    namespaces.intersection(&used).count()
}

#[test]
fn a_lab_comes_up_can_be_used_and_leaves_nothing() {
    let place = Place::new();
    up(&place, "a");
    let namespaces = namespaces_of_children(place.owner("a"));
    assert_eq!(namespaces.len(), 4, "two nodes, the VPC, the internet");
    assert_eq!(
        in_use(&namespaces),
        4,
        "the look sees them while they are there"
    );
    assert!(place.good("lab --name a status").contains("node2"));
    assert!(place.good("lab --name a matrix").contains("all 4 pairs"));
    let links = place.good("lab --name a exec 1 -- ip -j link show eth0");
    assert!(links.contains("\"operstate\":\"UP\""), "{links}");

    place.good("lab --name a down");
    eventually("namespaces are left", || in_use(&namespaces) == 0);
    assert!(!place.folder("a").exists());
}

#[test]
fn a_killed_lab_takes_its_namespaces_with_it_and_its_name_can_be_used_again() {
    let place = Place::new();
    up(&place, "a");
    let owner = place.owner("a");
    let namespaces = namespaces_of_children(owner);
    assert_eq!(in_use(&namespaces), 4);
    place.kill("a");
    eventually("namespaces are left", || in_use(&namespaces) == 0);
    assert!(
        place.folder("a").exists(),
        "a killed lab cannot remove its folder"
    );

    up(&place, "a");
    assert_ne!(place.owner("a"), owner);
    place.good("lab --name a matrix");
    place.good("lab --name a down");
    assert!(!place.folder("a").exists());
}

#[test]
fn what_a_killed_lab_has_left_is_removed_by_down() {
    let place = Place::new();
    up(&place, "a");
    let owner = place.kill("a");
    let gone = PathBuf::from(format!("/proc/{owner}/ns/net"));
    eventually("the killed lab lives", || {
        std::fs::read_link(&gone).is_err()
    });
    assert!(place.good("lab --name a down").contains("had been killed"));
    assert!(!place.folder("a").exists());
}

#[test]
fn labs_live_side_by_side_by_name_and_a_name_is_used_once() {
    let place = Place::new();
    up(&place, "a");
    up(&place, "b");
    let refused = place.bad("lab --name a up --without-daemons");
    assert!(refused.contains("running already"), "{refused}");
    place.good("lab --name a down");
    assert!(place.good("lab --name b matrix").contains("all 4 pairs"));
    place.good("lab --name b down");
}

#[test]
fn what_needs_daemons_is_not_suggested_without_them() {
    let place = Place::new();
    let mut up = place.command("lab --name a up --without-daemons --env WARM_IP_TARGET=3");
    let output = up.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(told.contains("veni lab --name a matrix"), "{told}");
    assert!(!told.contains("pod add"), "{told}");
    assert!(!told.contains("veni status"), "{told}");
    assert!(error.contains("--env is for ipamd"), "{error}");
    place.good("lab --name a down");
}

#[test]
fn what_is_not_there_is_named_with_what_to_do() {
    let place = Place::new();
    assert!(place.bad("lab --name a status").contains("veni lab up"));
    up(&place, "a");
    assert!(
        place
            .bad("lab --name a exec node7 -- true")
            .contains("node1, node2")
    );
    assert!(
        place
            .bad("lab --name a pod add x")
            .contains("without daemons")
    );
    assert!(place.bad("lab --name a kill 1").contains("no daemon"));
    place.good("lab --name a down");
}

#[test]
fn a_lab_s_status_lists_the_faults_in_force_until_they_are_cleared() {
    let place = Place::new();
    up(&place, "a");
    let faults = || {
        let told = place.good("lab --name a status");
        let (_, rest) = told.split_once("faults").unwrap();
        rest.split("\n\n").next().unwrap().to_owned()
    };
    assert_eq!(faults(), ": none");
    for (fault, expected) in [
        ("deny --operation assign", "assign is denied"),
        ("deny", "every call is denied"),
        (
            "throttle --per-second 0.5 --burst 3",
            "0.5 calls per second pass, 3 at once",
        ),
        (
            "latency 700 --operation release",
            "700 ms is what a call takes: release",
        ),
        ("fill --leave 5", "is filled: 5 addresses"),
        ("fragment", "and 0 blocks of 16 are free"),
        (
            "lose-answers --operation assign --times 2",
            "assign: answers get lost, 2 times; 0 so far",
        ),
    ] {
        place.good(&format!("lab --name a fault {fault}"));
        assert!(faults().contains(expected), "{fault}: {}", faults());
    }
    place.good("lab --name a fault clear");
    assert_eq!(faults(), ": none");
    place.good("lab --name a down");
}
