//! Shows that the model sees: one planted defect for each promise, in a history that is
//! fine without it.

use super::log::{Limits, Line, Port, Rest, What};
use super::model::{Promises, violations};

fn promises() -> Promises {
    Promises {
        cooldown: 30_000,
        warm: 1,
        budgets: vec![("addresses", 1.0, 2.0)],
        idle_calls: 3,
    }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn holds(ranges: &[&str]) -> What {
    What::Holds {
        interface: "eni-1".to_owned(),
        ranges: texts(ranges),
    }
}

fn pool(ranges: &[&str]) -> Vec<(String, String)> {
    let ranges = ranges.iter().map(|range| (*range).to_owned());
    ranges.map(|range| ("eni-1".to_owned(), range)).collect()
}

fn rest(ranges: &[&str], routes: &[&str]) -> Rest {
    let routes = routes.iter().map(|to| ((*to).to_owned(), (None, None)));
    Rest {
        pool: pool(ranges),
        routes: routes.collect(),
        ports: Vec::new(),
    }
}

fn at_rest(ranges: &[&str], routes: &[&str]) -> What {
    What::AtRest(rest(ranges, routes))
}

fn empty(files: usize, links: &[&str]) -> What {
    What::Empty {
        rest: rest(&["10.0.0.6"], &[]),
        files,
        links: texts(links),
    }
}

fn called(call: u32, pod: &str) -> What {
    asked(call, pod, &[], (None, None))
}

fn asked(call: u32, pod: &str, ports: &[Port], limits: Limits) -> What {
    What::AddCalled {
        call,
        pod: pod.to_owned(),
        ports: ports.to_vec(),
        limits,
    }
}

fn tcp(port: u16, host: &str) -> Port {
    Port {
        protocol: "tcp".to_owned(),
        port,
        host: host.to_owned(),
        pod_port: 8080,
    }
}

fn answered(call: u32, pod: &str, address: &str) -> What {
    What::AddAnswered {
        call,
        pod: pod.to_owned(),
        addresses: texts(&[address]),
    }
}

fn del(call: u32, pod: &str) -> [What; 2] {
    let pod = pod.to_owned();
    let called = What::DelCalled {
        call,
        pod: pod.clone(),
    };
    [called, What::DelAnswered { call, pod }]
}

fn checked(pod: &str, known: bool, differences: usize) -> What {
    What::Checked {
        pod: pod.to_owned(),
        known,
        differences,
    }
}

fn cloud_call(changes: bool) -> What {
    What::CloudCalled {
        call: 99,
        operation: "release".to_owned(),
        family: "addresses".to_owned(),
        changes,
    }
}

/// Two addresses, of which a pod has one.
fn one_pod() -> Vec<What> {
    vec![
        What::Ready,
        holds(&["10.0.0.5", "10.0.0.6"]),
        called(1, "a"),
        answered(1, "a", "10.0.0.5"),
    ]
}

/// What the model finds in a history with a line each second.
fn found(what: impl IntoIterator<Item = What>) -> Vec<String> {
    let lines = (0..).map(|second| second * 1000).zip(what);
    let lines: Vec<Line> = lines.map(|(at, what)| Line { at, what }).collect();
    violations(&promises(), &lines)
}

/// Asserts that exactly this is found in a pod's history that goes on like this.
fn sees(then: impl IntoIterator<Item = What>, wanted: &str) {
    let found = found(one_pod().into_iter().chain(then));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(wanted), "{found:#?}");
}

#[test]
fn a_history_without_a_defect_has_no_violation() {
    let mut what = one_pod();
    what.extend([checked("a", true, 0), checked("b", false, 0), What::Quiet]);
    what.push(at_rest(&["10.0.0.5", "10.0.0.6"], &["10.0.0.5"]));
    what.extend(del(2, "a"));
    what.push(holds(&["10.0.0.6"]));
    what.push(empty(0, &[]));
    assert_eq!(found(what), [""; 0]);
}

#[test]
fn an_address_of_two_pods_is_seen() {
    sees(
        [called(2, "b"), answered(2, "b", "10.0.0.5")],
        "two owners: 10.0.0.5 is of a and of b",
    );
}

#[test]
fn an_address_that_has_not_cooled_is_seen() {
    let [called_off, gone] = del(2, "a");
    let again = [
        called_off,
        gone,
        called(3, "b"),
        answered(3, "b", "10.0.0.5"),
    ];
    sees(again, "no cooldown: b has 10.0.0.5 after 3000 ms");
}

#[test]
fn a_pod_that_lives_after_its_del_is_seen() {
    let [called_off, gone] = del(2, "a");
    sees([called_off, gone, checked("a", true, 0)], "resurrected: a");
    let [called_off, gone] = del(2, "a");
    let routed = at_rest(&["10.0.0.5", "10.0.0.6"], &["10.0.0.5"]);
    let found = found(one_pod().into_iter().chain([called_off, gone, routed]));
    assert!(found[0].contains("resurrected: routes"), "{found:#?}");
}

#[test]
fn a_del_that_was_only_noted_and_never_made_is_seen() {
    let noted = What::NoteLeft {
        call: 2,
        pod: "a".to_owned(),
    };
    let routed = at_rest(&["10.0.0.5", "10.0.0.6"], &["10.0.0.5"]);
    let found = found(one_pod().into_iter().chain([noted, routed]));
    assert!(found[0].contains("resurrected: routes"), "{found:#?}");
}

#[test]
fn a_pod_that_lost_its_network_is_seen() {
    sees([checked("a", false, 0)], "lost: a is not known");
    sees([checked("a", true, 1)], "damaged: a has 1 differences");
    let unrouted = at_rest(&["10.0.0.5", "10.0.0.6"], &[]);
    sees([unrouted], "lost: no route to 10.0.0.5");
    let other = [called(2, "a"), answered(2, "a", "10.0.0.6")];
    sees(other, "a changed network: a had");
}

#[test]
fn an_address_that_the_node_does_not_hold_is_seen() {
    let elsewhere = [called(2, "b"), answered(2, "b", "10.0.0.9")];
    sees(elsewhere, "not held: b has 10.0.0.9");
}

#[test]
fn a_release_under_a_pod_is_seen() {
    sees([holds(&["10.0.0.6"])], "released in use: 10.0.0.5");
    let prefix = [
        What::Ready,
        holds(&["10.0.0.0/28"]),
        called(1, "a"),
        answered(1, "a", "10.0.0.5"),
        What::Detached {
            interface: "eni-1".to_owned(),
        },
    ];
    let found = found(prefix);
    assert!(
        found[0].contains("released in use: 10.0.0.0/28"),
        "{found:#?}"
    );
}

#[test]
fn what_somebody_else_assigned_is_watched() {
    let given = || {
        let ranges = texts(&["10.0.0.7"]);
        [
            holds(&["10.0.0.5", "10.0.0.6", "10.0.0.7"]),
            What::OtherGave { ranges },
        ]
    };
    let lent = given()
        .into_iter()
        .chain([called(2, "b"), answered(2, "b", "10.0.0.7")]);
    sees(lent, "another's: b has 10.0.0.7");
    let released = given()
        .into_iter()
        .chain([holds(&["10.0.0.5", "10.0.0.6"])]);
    sees(released, "another's: 10.0.0.7 was released");
    let taken = What::OtherTook {
        ranges: texts(&["10.0.0.7"]),
    };
    let taken = given()
        .into_iter()
        .chain([taken, holds(&["10.0.0.5", "10.0.0.6"])]);
    assert_eq!(found(one_pod().into_iter().chain(taken)), [""; 0]);
}

#[test]
fn an_address_that_pool_or_cloud_has_alone_is_seen() {
    let lost = at_rest(&["10.0.0.5"], &["10.0.0.5"]);
    sees([lost], "unaccounted: the pool does not know");
    let surplus = at_rest(&["10.0.0.5", "10.0.0.6", "10.0.0.7"], &["10.0.0.5"]);
    sees([surplus], "unaccounted: the cloud does not know");
}

/// Somebody else takes an address away on which a pod may live whose ADD was never answered.
fn taken_from_an_untold_pod(routes: &[&str]) -> Vec<String> {
    let mut what = one_pod();
    let ranges = texts(&["10.0.0.6"]);
    what.extend([
        called(2, "b"),
        What::OtherTook { ranges },
        holds(&["10.0.0.5"]),
        at_rest(&["10.0.0.5", "10.0.0.6"], routes),
    ]);
    found(what)
}

#[test]
fn what_was_taken_from_a_pod_stays_known_while_there_is_a_route_to_it() {
    let found = taken_from_an_untold_pod(&["10.0.0.5", "10.0.0.6"]);
    assert_eq!(found, [""; 0]);
    let found = taken_from_an_untold_pod(&["10.0.0.5"]);
    assert!(found[0].contains("the cloud does not know"), "{found:#?}");
}

#[test]
fn too_much_and_too_little_at_rest_are_seen() {
    let all = ["10.0.0.5", "10.0.0.6", "10.0.0.7"];
    sees([holds(&all), at_rest(&all, &["10.0.0.5"])], "above target");
    let found = found([
        What::Ready,
        holds(&["10.0.0.5"]),
        called(1, "a"),
        answered(1, "a", "10.0.0.5"),
        at_rest(&["10.0.0.5"], &["10.0.0.5"]),
    ]);
    assert!(found[0].contains("below target: 0 free of 1"), "{found:#?}");
}

#[test]
fn calls_beyond_the_budget_and_calls_of_an_idle_daemon_are_seen() {
    let at_once = [0, 0, 0].map(|at| Line {
        at,
        what: cloud_call(true),
    });
    let found = violations(&promises(), &at_once);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("over budget"), "{found:#?}");
    sees([What::Quiet, cloud_call(true)], "restless: a change");
    let reads = [(); 4].map(|()| cloud_call(false));
    let rest = at_rest(&["10.0.0.5", "10.0.0.6"], &["10.0.0.5"]);
    let restless = std::iter::once(What::Quiet).chain(reads).chain([rest]);
    sees(restless, "restless: 4 calls");
}

#[test]
fn what_is_left_behind_is_seen() {
    let left = |last: What| {
        let what = [What::Ready, holds(&["10.0.0.6"]), last];
        let found = found(what);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("left behind"), "{found:#?}");
    };
    left(empty(1, &[]));
    left(empty(0, &["eni5ac5088bbee"]));
}

#[test]
fn a_failure_that_nothing_explains_is_seen() {
    let failed = What::AddFailed {
        call: 2,
        pod: "b".to_owned(),
        code: 7,
    };
    sees(
        [called(2, "b"), failed],
        "an unexpected failure: ADD with code 7",
    );
}

fn refused(call: u32, pod: &str) -> What {
    What::AddFailed {
        call,
        pod: pod.to_owned(),
        code: 103,
    }
}

#[test]
fn a_port_with_two_owners_is_seen() {
    let two = |ports: [Port; 2]| {
        found([
            What::Ready,
            holds(&["10.0.0.5", "10.0.0.6"]),
            asked(1, "a", &ports[..1], (None, None)),
            answered(1, "a", "10.0.0.5"),
            asked(2, "b", &ports[1..], (None, None)),
            answered(2, "b", "10.0.0.6"),
        ])
    };
    for host in ["", "10.0.0.1"] {
        let found = two([tcp(80, ""), tcp(80, host)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("two owners of a port: a and b"));
    }
    assert_eq!(two([tcp(80, "10.0.0.1"), tcp(80, "10.0.0.2")]), [""; 0]);
    assert_eq!(two([tcp(80, ""), tcp(81, "")]), [""; 0]);
}

#[test]
fn a_free_port_that_is_refused_is_seen() {
    let b = || [asked(2, "b", &[tcp(80, "")], (None, None)), refused(2, "b")];
    sees(b(), "a free port was refused: b");
    let a = || {
        [
            asked(3, "c", &[tcp(80, "")], (None, None)),
            answered(3, "c", "10.0.0.6"),
        ]
    };
    let taken = one_pod().into_iter().chain(a()).chain(b());
    assert_eq!(found(taken), [""; 0]);
    let freed = a().into_iter().chain(del(4, "c"));
    let [called, refused] = [asked(5, "b", &[tcp(80, "")], (None, None)), refused(5, "b")];
    sees(freed.chain([called, refused]), "a free port was refused: b");
}

/// A pod with a port and a limit, and what the kernel has at rest.
fn at_rest_with(ports: Vec<(Port, String)>, limits: Limits) -> Vec<String> {
    let rest = Rest {
        pool: pool(&["10.0.0.5", "10.0.0.6"]),
        routes: vec![("10.0.0.5".to_owned(), limits)],
        ports,
    };
    found([
        What::Ready,
        holds(&["10.0.0.5", "10.0.0.6"]),
        asked(1, "a", &[tcp(80, "")], (Some(5), None)),
        answered(1, "a", "10.0.0.5"),
        What::AtRest(rest),
    ])
}

#[test]
fn a_port_that_is_lost_and_one_of_nobody_are_seen() {
    let own = || (tcp(80, ""), "10.0.0.5".to_owned());
    let limits = (Some(5), None);
    assert_eq!(at_rest_with(vec![own()], limits), [""; 0]);
    let lost = at_rest_with(Vec::new(), limits);
    assert_eq!(lost.len(), 1, "{lost:#?}");
    assert!(lost[0].contains("lost port"), "{lost:#?}");
    let strays = [
        (tcp(81, ""), "10.0.0.5".to_owned()),
        (tcp(80, ""), "10.0.0.6".to_owned()),
    ];
    for stray in strays {
        let found = at_rest_with(vec![own(), stray], limits);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("port of nobody"), "{found:#?}");
    }
}

#[test]
fn limits_that_are_not_as_asked_for_are_seen() {
    let ports = || vec![(tcp(80, ""), "10.0.0.5".to_owned())];
    for limits in [(None, None), (Some(6), None), (Some(5), Some(5))] {
        let found = at_rest_with(ports(), limits);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("limits: 10.0.0.5 has"), "{found:#?}");
    }
}

#[test]
fn differences_are_accepted_for_a_while_after_somebody_took_something_away() {
    let tampered = || What::Tampered {
        text: "by hand".to_owned(),
    };
    let soon = [tampered(), checked("a", true, 1)];
    assert_eq!(found(one_pod().into_iter().chain(soon)), [""; 0]);
    let wait = (0..120).map(|_| What::ClockSet { by: 0 });
    let late = [tampered()].into_iter().chain(wait);
    sees(late.chain([checked("a", true, 1)]), "damaged: a has 1");
}
