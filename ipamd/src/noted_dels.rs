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
use crate::endpoints::{Endpoints, NoteTime};
use crate::journal::endpoint::Record;

/// Longest note that is read, bytes: a few names.
const LONGEST_NOTE: u64 = 64 * 1024;
/// A note that is not whole is left alone for so long: the plugin may be at work on it.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// Files that one round looks at to remove them, so that it ends soon.
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
    /// Plugins of older builds do not tell.
    #[serde(default)]
    boot_ms: Option<u64>,
    boot_id: String,
}

impl Note {
    fn when(&self) -> NoteTime {
        NoteTime {
            unix_ms: self.time_ms,
            boot_ms: self.boot_ms,
        }
    }

    /// Whether it is of this boot, as far as it tells.
    fn is_of(&self, boot: &str) -> bool {
        self.boot_id.is_empty() || self.boot_id == boot
    }
}

/// Whether the plugin has left a note by which this endpoint goes when a daemon works it off. A
/// note that cannot be read tells nothing.
pub(crate) fn is_noted(run_dir: &Path, boot: &str, record: &Record) -> bool {
    let name = file_names::note(record.key.parts());
    let text = read(&run_dir.join(veni_api::PENDING_DIR).join(name));
    let note = text.ok().and_then(|text| parse(&text, &record.key).ok());
    note.is_some_and(|note| note.is_of(boot) && note.when().is_after(record))
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
    for record in endpoints.list() {
        let path = folder.join(file_names::note(record.key.parts()));
        if path.exists()
            && work_off(&path, &record.key, boot, endpoints).await
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "a note that was worked off stays");
        }
    }
    let names = || {
        let records = endpoints.list().into_iter();
        records.map(|record| file_names::note(record.key.parts()))
    };
    match remove_stale(&folder, || names().collect(), UNDER_WAY) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed notes about dels of no endpoint"),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "old notes about dels stay");
        }
    }
}

/// Removes notes about no endpoint: there is nothing to take away, and what is added
/// later is not meant. What the plugin left unfinished goes at this age.
///
/// `known` names the notes about endpoints that are there. It is asked after the folder
/// has been read: an endpoint whose note was seen was there before it.
fn remove_stale(
    folder: &Path,
    known: impl FnOnce() -> BTreeSet<String>,
    age: Duration,
) -> io::Result<usize> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let unfinished = name.as_encoded_bytes().starts_with(b".");
        // One that is gone, or of the future, is none of ours to judge.
        let modified = entry.metadata().and_then(|found| found.modified());
        let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|since| since >= age));
        if old || !unfinished {
            names.push(name);
        }
        if names.len() == MOST_REMOVED {
            break;
        }
    }
    let known = known();
    names.retain(|name| name.to_str().is_none_or(|name| !known.contains(name)));
    for name in &names {
        match fs::remove_file(folder.join(name)) {
            // The plugin has taken it back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(names.len())
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
    if !note.is_of(boot) {
        return true;
    }
    match endpoints.delete_noted(key, note.when()).await {
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
    fn what_is_about_nobody_goes_at_once_and_what_is_unfinished_when_it_is_old() {
        let folder = tempfile::tempdir().expect("temp folder");
        let write = |name: &str| fs::write(folder.path().join(name), "{").expect("writes");
        let left = || fs::read_dir(folder.path()).expect("lists").count();
        let known = || BTreeSet::from(["known.json".to_owned()]);
        let remove = |age: u64| {
            let removed = remove_stale(folder.path(), known, Duration::from_secs(age));
            removed.expect("removes")
        };
        for name in ["known.json", "stranger.json", ".stranger.json.17"] {
            write(name);
        }
        assert_eq!((remove(60), left()), (1, 2), "the stranger");
        assert_eq!((remove(0), left()), (1, 1), "the unfinished one");
        assert!(folder.path().join("known.json").exists());
    }

    #[test]
    fn one_round_removes_a_bounded_number_of_notes() {
        let folder = tempfile::tempdir().expect("temp folder");
        for number in 0..=MOST_REMOVED {
            fs::write(folder.path().join(format!("{number}.json")), "{").expect("writes");
        }
        let remove = || {
            let removed = remove_stale(folder.path(), BTreeSet::new, Duration::ZERO);
            removed.expect("removes")
        };
        assert_eq!((remove(), remove()), (MOST_REMOVED, 1));
    }

    #[test]
    fn an_endpoint_that_came_after_the_look_into_the_folder_keeps_its_note() {
        let folder = tempfile::tempdir().expect("temp folder");
        let note = folder.path().join("late.json");
        fs::write(&note, "{").expect("writes");
        let known = || BTreeSet::from(["late.json".to_owned()]);
        let removed = remove_stale(folder.path(), known, Duration::ZERO);
        assert_eq!(removed.expect("lists"), 0);
        assert!(note.exists());
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
