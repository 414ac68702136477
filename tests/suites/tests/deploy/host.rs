//! The files that keep a node's other software away from pods, by the tool and by the script.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use veni_testbed::binaries;

use super::rendering::deploy;

/// A host with every program that a file is shipped for.
fn host() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let list = fs::read_to_string(deploy("host/files")).expect("the list");
    let needed = list.lines().filter(|line| !line.starts_with('#'));
    for path in needed.filter_map(|line| line.split_whitespace().nth(2)) {
        let path = folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
        fs::write(path, "").expect("is written");
    }
    folder
}

/// Modes of all files and folders below a folder.
fn modes(root: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let mode = fs::metadata(&path).expect("is there").permissions().mode();
            let name = path.strip_prefix(root).expect("below").display();
            found.insert(name.to_string(), mode & 0o777);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Runs a program whose files nobody else may read, unless it says so.
fn installed(program: &OsStr, arguments: &[&str]) -> TempDir {
    let host = host();
    let output = Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(program)
        .args(arguments)
        .args(["--primary", "ens5", "--root"])
        .arg(host.path())
        .output()
        .expect("a shell can be executed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    host
}

#[test]
fn a_node_s_programs_may_read_what_the_tool_writes_as_what_the_script_writes() {
    let (veni, files, script) = (binaries::veni(), deploy("host"), deploy("host/install"));
    let files = files.to_str().expect("utf-8");
    let by_tool = installed(veni.as_os_str(), &["host", "install", "--from", files]);
    let by_script = installed(script.as_os_str(), &[]);
    let modes_by_tool = modes(by_tool.path());
    let filled = "etc/systemd/network/75-veni-secondary.network";
    assert_eq!(modes_by_tool.get(filled), Some(&0o644), "{modes_by_tool:?}");
    assert_eq!(modes_by_tool, modes(by_script.path()));
}
