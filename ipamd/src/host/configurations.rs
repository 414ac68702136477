//! The runtime's folder of network configurations: which of them come before Veni's, and how
//! one is renamed so that no runtime loads it.
//!
//! A runtime that uses one network takes the first file by name of those that libcni loads.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::install::{INSTALLED_CONFLIST, PLUGIN};

/// What libcni loads (`ConfFiles`), without the dot.
const LOADED: [&str; 3] = ["conf", "conflist", "json"];

/// What a file's name ends in after Veni has taken its place.
const SET_ASIDE: &str = ".veni_bak";

/// Plugins that only call others begin with this: they use Veni's configuration.
const META_PLUGIN: &str = "multus";

/// The active configurations that a runtime would use in place of Veni's, the first one first.
/// Not among them: one that itself calls Veni's plugin (a chain, a meta-plugin's delegate) and
/// a meta-plugin's, which finds its default network in the same folder.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn before_ours(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let path = folder.join(&name);
        if name.as_str() < INSTALLED_CONFLIST && is_loaded(&name) && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    found.retain(|path| !leads_to_ours(path));
    Ok(found)
}

/// Whether runtimes load a file of this name.
fn is_loaded(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| LOADED.contains(&extension))
}

/// A file that cannot be read or is no JSON leads nowhere: runtimes fail on it.
fn leads_to_ours(path: &Path) -> bool {
    let read = fs::read(path).ok();
    let parsed = read.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    parsed.is_some_and(|value| calls_ours(&value))
}

fn calls_ours(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            let kind = object.get("type").and_then(Value::as_str);
            kind.is_some_and(|kind| kind == PLUGIN || kind.starts_with(META_PLUGIN))
                || object.values().any(calls_ours)
        }
        Value::Array(list) => list.iter().any(calls_ours),
        _ => false,
    }
}

/// Renames a configuration so that no runtime loads it. Answers its new name. What an earlier
/// one left under that name is replaced: the newest is what its owner wants back.
///
/// # Errors
/// The system refuses.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(SET_ASIDE);
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temp folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("writes");
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let found = before_ours(folder).expect("reads");
        let name = |path: &PathBuf| path.file_name().expect("a name").display().to_string();
        found.iter().map(name).collect()
    }

    #[test]
    fn only_what_runtimes_load_and_sorts_before_ours_is_in_the_way_the_first_one_first() {
        let other = r#"{"plugins": [{"type": "ptp"}]}"#;
        let folder = folder(&[
            ("10-aws.conflist", other),
            ("05-cilium.conflist", "no json"),
            ("00-bridge.conf", "{}"),
            ("00-old.json", "{}"),
            (".conflist", "{}"),
            ("05-cilium.conflist.cilium_bak", other),
            ("README", other),
            ("10-veni.conflist", other),
            ("20-later.conflist", other),
        ]);
        fs::create_dir(folder.path().join("00-folder.conf")).expect("makes a folder");
        let found = names(folder.path());
        let expected = [
            ".conflist",
            "00-bridge.conf",
            "00-old.json",
            "05-cilium.conflist",
            "10-aws.conflist",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_calls_our_plugin_is_not_in_the_way() {
        let folder = folder(&[
            (
                "00-chain.conflist",
                r#"{"plugins": [{"type": "veni-cni"}, {"type": "tuning"}]}"#,
            ),
            (
                "00-delegates.conf",
                r#"{"type": "genie", "delegates": [{"plugins": [{"type": "veni-cni"}]}]}"#,
            ),
            (
                "00-multus.conf",
                r#"{"type": "multus-shim", "clusterNetwork": "/x/10-veni.conflist"}"#,
            ),
        ]);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn what_was_set_aside_is_loaded_by_nobody_and_the_newest_is_kept() {
        let folder = folder(&[("05-other.conflist", "old")]);
        let path = folder.path().join("05-other.conflist");
        for text in ["old", "new"] {
            fs::write(&path, text).expect("writes");
            let aside = set_aside(&path).expect("renames");
            assert!(!path.exists());
            assert_eq!(names(folder.path()), Vec::<String>::new());
            assert_eq!(fs::read_to_string(aside).expect("reads"), text);
        }
    }
}
