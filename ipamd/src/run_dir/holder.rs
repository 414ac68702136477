//! Which process serves the node, for the error of a second daemon: found by the
//! socket that claims the node, in /proc. A courtesy; what cannot be seen from
//! here, because it is in another process namespace, is said to be so.

use std::fs;
use std::path::{Path, PathBuf};

use super::LOCK;

/// Process and run folder of who has bound an abstract socket of this network
/// namespace.
pub(super) fn describe(socket: &str) -> String {
    let holder = inode(socket).and_then(|inode| {
        let socket = PathBuf::from(format!("socket:[{inode}]"));
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let files = open_files(&entry.path());
            files.contains(&socket).then_some((pid, files))
        })
    });
    let Some((pid, files)) = holder else {
        return "its process cannot be seen from here".to_owned();
    };
    let lock = files.iter().find(|file| file.ends_with(LOCK));
    match lock.and_then(|lock| lock.parent()) {
        Some(folder) => format!("process {pid}, --run-dir {}", folder.display()),
        None => format!("process {pid}"),
    }
}

/// Inode of an abstract socket: the column before its name in proc_net(5).
fn inode(socket: &str) -> Option<String> {
    let name = format!("@{socket}");
    let table = fs::read_to_string("/proc/thread-self/net/unix").ok()?;
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(6);
        let inode = columns.next()?;
        (columns.next() == Some(&name)).then(|| inode.to_owned())
    })
}

/// What a process has open; nothing for what is no process or not ours to see.
fn open_files(process: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten();
    let links = entries.flatten().map(|entry| fs::read_link(entry.path()));
    links.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{NodeClaim, RunDir};
    use super::*;

    #[test]
    fn a_daemon_s_process_is_found_by_its_socket() {
        let folder = tempfile::tempdir().expect("temp folder");
        let _run_dir = RunDir::try_new(folder.path()).expect("takes it");
        let name = format!("veni/holder-test-{}", std::process::id());
        let claim = NodeClaim::claim(&name).expect("nobody else has it");
        let told = describe(&name);
        let process = format!("process {}", std::process::id());
        assert!(told.starts_with(&process), "{told}");
        assert!(told.contains("--run-dir /"), "{told}");
        drop(claim);
        assert!(describe(&name).contains("cannot be seen"));
    }
}
