//! Which process holds a socket, for the error of a second daemon: found in /proc by
//! the socket's inode. A courtesy; what cannot be seen from here, because it is in
//! another process namespace, is said to be so.

use std::fs;
use std::path::{Path, PathBuf};

use super::LOCK;

/// Process and run folder of who has a socket.
pub(super) fn describe(inode: u64) -> String {
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    let mut processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let holder = processes.find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let files = open_files(&entry.path());
        files.contains(&socket).then_some((pid, files))
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

/// What a process has open; nothing for what is no process or not ours to see.
fn open_files(process: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten();
    let links = entries.flatten().map(|entry| fs::read_link(entry.path()));
    links.flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::super::RunDir;
    use super::*;

    #[test]
    fn a_daemon_s_process_is_found_by_its_socket() {
        let folder = tempfile::tempdir().expect("temp folder");
        let _run_dir = RunDir::try_new(folder.path()).expect("takes it");
        let socket = UnixDatagram::unbound().expect("a socket");
        let inode = rustix::fs::fstat(&socket).expect("fstat").st_ino;
        let told = describe(inode);
        let process = format!("process {}", std::process::id());
        assert!(told.starts_with(&process), "{told}");
        assert!(told.contains("--run-dir /"), "{told}");
        drop(socket);
        assert!(describe(inode).contains("cannot be seen"));
    }
}
