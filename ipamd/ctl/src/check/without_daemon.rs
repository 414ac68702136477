//! What can be seen of a node whose daemon does not answer: the files that it has left, and
//! which links there are. Nothing is changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use veni_terminal::output::write_json;
use veni_terminal::println;

use super::UNCHECKED;
use crate::daemon::DaemonArguments;

/// Identifies this boot; the daemon writes it into its mark of readiness.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The links of this network namespace, with their counters.
const LINKS: &str = "/proc/thread-self/net/dev";

/// Says that nothing could be compared and why, and what is known all the same.
pub(super) fn tell(daemon: &DaemonArguments, as_json: bool, error: &anyhow::Error) -> ExitCode {
    let reason = format!("{error:#}");
    let seen = seen(daemon.run_dir(), Path::new(LINKS));
    if as_json {
        let answer = json!({
            "findings": [],
            "mended": [],
            "unchecked": [reason],
            "seenWithoutDaemon": seen,
        });
        // A value of texts has a text.
        write_json(&serde_json::to_string_pretty(&answer).unwrap_or_default());
    } else {
        println!("not compared: {reason}");
        println!("what can be seen without the daemon:");
        for sentence in seen {
            println!("  {sentence}");
        }
    }
    ExitCode::from(UNCHECKED)
}

/// What is there, a sentence each.
fn seen(run_dir: &Path, links: &Path) -> Vec<String> {
    if let Err(error) = fs::read_dir(run_dir) {
        let folder = run_dir.display();
        let why = match error.kind() {
            io::ErrorKind::NotFound => {
                "no daemon has run here in this boot, or it has another folder (--run-dir)"
            }
            _ => "root alone may read it",
        };
        return vec![format!(
            "the run folder {folder} cannot be read ({error}): {why}"
        )];
    }
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let ready_in = read(&run_dir.join(veni_api::READY_FILE));
    let this_boot = read(Path::new(BOOT_ID));
    let before = match !this_boot.is_empty() && ready_in.trim() == this_boot.trim() {
        true => {
            "a daemon was ready to serve pods before; pods that run keep their network, and new \
             ones wait"
        }
        false => "no daemon was ready to serve pods since the node's start",
    };
    let mut seen = vec![before.to_owned()];
    let endpoints = endpoints(run_dir);
    let links = link_names(&fs::read_to_string(links).unwrap_or_default());
    let ready = endpoints.iter().filter(|one| one.ready);
    let (linked, gone): (Vec<_>, Vec<_>) = ready.partition(|one| links.contains(&one.link));
    seen.push(format!(
        "the journal has {} endpoints; {} of them run and have their link",
        endpoints.len(),
        linked.len()
    ));
    seen.extend(gone.iter().map(|one| {
        format!(
            "{} has no link {}: its pod is gone or has no network; the daemon's next start \
             releases its address",
            one.pod, one.link
        )
    }));
    let notes = fs::read_dir(run_dir.join(veni_api::PENDING_DIR));
    // A name that begins with a dot is one that the plugin has not finished.
    let whole = |name: &std::ffi::OsString| !name.as_encoded_bytes().starts_with(b".");
    let notes = notes.into_iter().flatten().flatten();
    let notes = notes.map(|note| note.file_name()).filter(whole).count();
    if notes > 0 {
        seen.push(format!(
            "{notes} attachments were deleted meanwhile; the daemon's next start carries that out"
        ));
    }
    seen
}

/// An entry of the journal.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    pod: String,
    link: String,
    ready: bool,
}

/// The entries that can be read.
fn endpoints(run_dir: &Path) -> Vec<Entry> {
    let files = fs::read_dir(run_dir.join(veni_api::ENDPOINTS_DIR));
    let files = files.into_iter().flatten().flatten();
    let mut entries: Vec<Entry> = files
        .filter_map(|file| entry(&fs::read_to_string(file.path()).ok()?))
        .collect();
    entries.sort_by(|one, other| one.pod.cmp(&other.pod));
    entries
}

/// The second line of a file is the entry.
fn entry(text: &str) -> Option<Entry> {
    let body: Value = serde_json::from_str(text.lines().nth(1)?).ok()?;
    let pod = |field: &str| body["pod"][field].as_str().unwrap_or_default();
    let pod = match (pod("namespace"), pod("name")) {
        (_, "") => body["key"]["container_id"].as_str()?.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    Some(Entry {
        pod,
        link: body["plan"]["host_link"].as_str()?.to_owned(),
        ready: body["state"] == "ready",
    })
}

/// Two lines of headings, and a line of a link each: `eth0: 1 2 3`.
fn link_names(text: &str) -> BTreeSet<String> {
    let lines = text.lines().skip(2);
    let names = lines.filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("makes it");
        fs::write(path, text).expect("writes");
    }

    #[test]
    fn endpoints_without_a_link_are_named() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (run, links) = (folder.path().join("run"), folder.path().join("net"));
        let entry = |name: &str, link: &str, state: &str| {
            let text = format!(
                "{{\"format\":1}}\n{{\"pod\":{{\"namespace\":\"shop\",\"name\":\"{name}\"}},\
                 \"plan\":{{\"host_link\":\"{link}\"}},\"state\":\"{state}\"}}\n"
            );
            write(&run.join("journal/endpoints").join(name), &text);
        };
        entry("web", "eni1", "ready");
        entry("lost", "eni2", "ready");
        entry("going", "eni3", "dying");
        write(&run.join("pending/note"), "");
        write(&run.join("pending/.note.7"), "");
        write(&run.join(veni_api::READY_FILE), "another boot");
        let text = "Inter-|\n face |\n  eth0: 1 2\n  eni1: 0 0\n  eni3: 0 0\n";
        write(&links, text);
        let seen = seen(&run, &links).join("\n");
        for part in [
            "no daemon was ready",
            "3 endpoints; 1 of them run and have their link",
            "shop/lost has no link eni2",
            "1 attachments were deleted",
        ] {
            assert!(seen.contains(part), "{part} in\n{seen}");
        }
        assert!(
            !seen.contains("shop/web has") && !seen.contains("shop/going has"),
            "{seen}"
        );
    }

    #[test]
    fn a_run_folder_that_is_not_there_is_told() {
        let nowhere = Path::new("/nowhere");
        let seen = seen(nowhere, nowhere);
        assert!(seen[0].contains("/nowhere cannot be read"), "{seen:?}");
    }
}
