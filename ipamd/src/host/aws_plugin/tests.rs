//! Signs of the AWS plugin, and the page about moving from it.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::super::Host;
use super::super::other_plugin::{Judgement, Places, Signs};
use super::*;

fn places(root: &Path) -> Places {
    Places {
        sockets: vec![root.join("ipamd.sock")],
        configurations: root.to_owned(),
    }
}

fn judgement(places: &Places) -> Judgement {
    let host = Host::at(&places.configurations);
    Signs::gather(&AWS_PLUGIN, &host, places).judge(&AWS_PLUGIN)
}

#[test]
fn a_daemon_of_the_aws_plugin_that_answers_is_named_with_the_page_to_read() {
    let root = tempfile::tempdir().expect("temp folder");
    let places = places(root.path());
    let _listener = UnixListener::bind(&places.sockets[0]).expect("listens");
    fs::write(root.path().join("10-aws.conflist"), "{}").expect("writes");
    let Judgement::Running(refusal) = judgement(&places) else {
        panic!("must be refused");
    };
    let text = refusal.to_string();
    for part in ["ipamd.sock answers", "10-aws.conflist", MIGRATION_PAGE] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let section = format!("## {}\n", MIGRATION_SECTION);
    assert!(migration_page().contains(&section), "{section}");
}

#[test]
fn a_daemon_without_that_socket_is_known_by_its_program_or_its_health() {
    let root = tempfile::tempdir().expect("temp folder");
    let places = places(root.path());
    let process = root.path().join("proc/17");
    fs::create_dir_all(&process).expect("makes the folder");
    for (program, runs) in [("aws-k8s-agents", false), ("aws-k8s-agent", true)] {
        fs::write(process.join("comm"), format!("{program}\n")).expect("writes");
        let refused = matches!(judgement(&places), Judgement::Running(_));
        assert_eq!(refused, runs, "{program}");
    }
    let served = Signs {
        healthy: true,
        ..Signs::default()
    };
    let Judgement::Running(refusal) = served.judge(&AWS_PLUGIN) else {
        panic!("must be refused");
    };
    let text = refusal.to_string();
    let sign = "127.0.0.1:50051 answers as grpc.health.v1.aws-node";
    assert!(text.contains(sign), "{text}");
}

#[test]
fn a_socket_that_nobody_serves_and_a_conflist_are_left_over() {
    let root = tempfile::tempdir().expect("temp folder");
    let places = places(root.path());
    drop(UnixListener::bind(&places.sockets[0]).expect("listens"));
    assert!(matches!(judgement(&places), Judgement::Clear));
    fs::write(root.path().join("10-aws.conflist"), "{}").expect("writes");
    let Judgement::LeftOver(text) = judgement(&places) else {
        panic!("must be a warning");
    };
    assert!(text.contains("10-aws.conflist"), "{text}");
}

fn migration_page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(MIGRATION_PAGE);
    fs::read_to_string(page).expect("the page exists")
}

#[test]
fn the_migration_page_has_every_setting() {
    let page = migration_page();
    for variable in crate::config::variables(&crate::app::providers()) {
        let name = format!("`{}`", variable.name);
        let with_value = format!("`{}=", variable.name);
        assert!(
            page.contains(&name) || page.contains(&with_value),
            "{name} is missing in the page"
        );
    }
}

/// Those of docs/metrics.md, which is what a daemon exposes: a test compares the two.
fn metrics() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(path).expect("the page");
    let rows = page.lines().filter(|line| {
        line.contains(" | counter | ")
            || line.contains(" | gauge | ")
            || line.contains(" | histogram | ")
    });
    let names = rows.filter_map(|row| row.split('`').nth(1));
    names.map(str::to_owned).collect()
}

#[test]
fn the_migration_page_has_every_metric() {
    let page = migration_page();
    let names = metrics();
    assert!(names.len() > 40, "{names:?}");
    for known in ["awscni_eni_max", "veni_repairs_total"] {
        assert!(names.iter().any(|name| name == known), "{names:?}");
    }
    for name in names {
        let shown = [format!("`{name}`"), format!("`{name}{{")];
        assert!(
            shown.iter().any(|name| page.contains(name)),
            "{name} is missing in the page"
        );
    }
}
