//! DELs that came while the daemon was down: the plugin has left a note for each,
//! and they are made up for before anything else is served, and again and again.
//!
//! What there is to do is bounded by the endpoints that the daemon knows: it looks for
//! their notes by name, and reads no others.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use veni_api::file_names;

use crate::attachment::AttachmentKey;
use crate::endpoints::Endpoints;

/// Longest note that is read, bytes: a few names.
const LONGEST_NOTE: u64 = 64 * 1024;
/// What is neither a whole note nor about an endpoint of ours is left alone for so
/// long: the plugin may be at work on it.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// Files that one round removes, so that it ends soon.
const MOST_REMOVED: usize = 2000;

/// A note that the plugin has left about a DEL.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    version: u32,
    network: String,
    container_id: String,
    interface_name: String,
    time_ms: u64,
    boot_id: String,
}

/// Works off the notes about endpoints that are there, and removes those that nobody
/// can work off any more. One that cannot be read is dropped and reported; one that
/// fails stays for the next time.
pub(crate) async fn work_off_notes(run_dir: &Path, boot: &str, endpoints: &Arc<Endpoints>) {
    let folder = run_dir.join(veni_api::PENDING_DIR);
    if !folder.is_dir() {
        // The plugin has never left a note.
        return;
    }
    let mut known = BTreeSet::new();
    for record in endpoints.list() {
        let name = file_names::note(&(&record.key).into());
        let path = folder.join(&name);
        known.insert(name);
        if path.exists()
            && work_off(&path, &record.key, boot, endpoints).await
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "a note that was worked off stays");
        }
    }
    match remove_stale(&folder, &known, UNDER_WAY) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed notes about dels of no endpoint"),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "old notes about dels stay");
        }
    }
}

/// Removes what the plugin left unfinished, and notes about no endpoint: there is
/// nothing to take away, and what is added later is not meant.
fn remove_stale(folder: &Path, known: &BTreeSet<String>, age: Duration) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let about_one = name.to_str().is_some_and(|name| known.contains(name));
        // One that is gone, or of the future, is none of ours to judge.
        let modified = entry.metadata().and_then(|found| found.modified());
        let stale = modified.is_ok_and(|at| at.elapsed().is_ok_and(|since| since >= age));
        if about_one || !stale {
            continue;
        }
        fs::remove_file(entry.path())?;
        removed += 1;
        if removed == MOST_REMOVED {
            break;
        }
    }
    Ok(removed)
}

/// Whether the note is done with.
async fn work_off(
    path: &Path,
    key: &AttachmentKey,
    boot: &str,
    endpoints: &Arc<Endpoints>,
) -> bool {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => {
            // The plugin may have taken it back; else it is read next time.
            tracing::warn!(path = %path.display(), %error, "a note about a del cannot be read now");
            return false;
        }
    };
    let note = match parse(&text, key) {
        Ok(note) => note,
        Err(reason) => {
            tracing::error!(path = %path.display(), reason, "dropped a note about a del that cannot be read");
            return true;
        }
    };
    if !note.boot_id.is_empty() && note.boot_id != boot {
        return true;
    }
    match endpoints.delete_noted(key, note.time_ms).await {
        Ok(_) => true,
        Err(failure) => {
            tracing::warn!(attachment = %key, error = failure.message, "a noted del failed and will be repeated");
            false
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST_NOTE)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8], key: &AttachmentKey) -> Result<Note, String> {
    let note: Note = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if note.version != 1 {
        return Err(format!("its version {} is not 1", note.version));
    }
    let about = [&note.network, &note.container_id, &note.interface_name];
    if about == [&key.network, &key.container_id, &key.interface_name] {
        Ok(note)
    } else {
        Err("it is about another attachment than its name says".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_or_about_nobody_goes_when_it_is_old_and_never_too_much_at_once() {
        let folder = tempfile::tempdir().expect("temp folder");
        let write = |name: &str| fs::write(folder.path().join(name), "{").expect("writes");
        let left = || fs::read_dir(folder.path()).expect("lists").count();
        let known = BTreeSet::from(["known.json".to_owned()]);
        for name in ["known.json", "stranger.json", ".stranger.json.17"] {
            write(name);
        }
        let young = remove_stale(folder.path(), &known, Duration::from_secs(60));
        assert_eq!((young.expect("lists"), left()), (0, 3));
        let old = remove_stale(folder.path(), &known, Duration::ZERO);
        assert_eq!((old.expect("removes"), left()), (2, 1));
        assert!(folder.path().join("known.json").exists());

        for number in 0..=MOST_REMOVED {
            write(&format!("{number}.json"));
        }
        let first = remove_stale(folder.path(), &known, Duration::ZERO);
        assert_eq!((first.expect("removes"), left()), (MOST_REMOVED, 2));
        let second = remove_stale(folder.path(), &known, Duration::ZERO);
        assert_eq!((second.expect("removes"), left()), (1, 1));
    }

    #[test]
    fn a_note_counts_for_the_attachment_in_its_name_alone() {
        let key = |container: &str| AttachmentKey {
            network: "veni".to_owned(),
            container_id: container.to_owned(),
            interface_name: "eth0".to_owned(),
        };
        let note = |version: u32| {
            serde_json::json!({
                "version": version, "network": "veni", "containerId": "a",
                "interfaceName": "eth0", "timeMs": 7, "bootId": "",
            })
            .to_string()
        };
        let good = parse(note(1).as_bytes(), &key("a")).expect("is read");
        assert_eq!(good.time_ms, 7);
        let other = parse(note(1).as_bytes(), &key("b")).expect_err("is another's");
        assert!(other.contains("another attachment"), "{other}");
        let newer = parse(note(2).as_bytes(), &key("a")).expect_err("is not known");
        assert!(newer.contains("version 2"), "{newer}");
        parse(b"{", &key("a")).expect_err("is cut");
    }
}
