//! Signs of the AWS plugin, and the page about moving from it.

use std::fs;
use std::os::unix::net::UnixListener;

use super::*;

fn places(root: &Path) -> Places {
    Places {
        sockets: vec![root.join("ipamd.sock")],
        configurations: root.to_owned(),
    }
}

#[test]
fn a_daemon_of_the_aws_plugin_that_answers_is_named_with_the_page_to_read() {
    let root = tempfile::tempdir().expect("temp folder");
    let places = places(root.path());
    let _listener = UnixListener::bind(&places.sockets[0]).expect("listens");
    fs::write(root.path().join("10-aws.conflist"), "{}").expect("writes");
    let Judgement::Running(refusal) = Signs::gather(&places).judge() else {
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
fn a_socket_that_nobody_serves_and_a_conflist_are_left_over() {
    let root = tempfile::tempdir().expect("temp folder");
    let places = places(root.path());
    drop(UnixListener::bind(&places.sockets[0]).expect("listens"));
    assert!(matches!(Signs::gather(&places).judge(), Judgement::Clear));
    fs::write(root.path().join("10-aws.conflist"), "{}").expect("writes");
    let Judgement::LeftOver(text) = Signs::gather(&places).judge() else {
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
    for variable in crate::config::variables() {
        let name = format!("`{}`", variable.name);
        let with_value = format!("`{}=", variable.name);
        assert!(
            page.contains(&name) || page.contains(&with_value),
            "{name} is missing in the page"
        );
    }
}

/// Metrics by their registrations: a family without a sample is not in the text
/// that Prometheus reads. With the end that counters have there.
fn metrics() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("metrics.rs")];
    let parts = fs::read_dir(source.join("metrics")).expect("a folder");
    files.extend(parts.map(|entry| entry.expect("an entry").path()));
    let mut names = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).expect("a source");
        for (registry, prefix) in [("aws.register(", "awscni_"), ("own.register(", "veni_")] {
            let names_here = text.split(registry).skip(1).map(|call| {
                let name = call.split('"').nth(1).expect("a name");
                format!("{prefix}{name}")
            });
            names.extend(names_here);
        }
    }
    let text = crate::metrics::Metrics::default().text().expect("is text");
    let is_there = |name: &str| text.contains(&format!("# TYPE {name} "));
    for name in &mut names {
        let total = format!("{name}_total");
        if is_there(&total) {
            *name = total;
        }
    }
    names
}

#[test]
fn the_migration_page_has_every_metric() {
    let page = migration_page();
    let names = metrics();
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
