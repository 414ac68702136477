//! The node's other software, as its files and processes show it: another plugin that runs,
//! and programs that would fight for links, routes and rules. Also installs the CNI
//! plugin into the container runtime's folders.
//!
//! All files are read below a root folder. A daemon in a container sees its node's files
//! where they are mounted, and a test makes a root of its own. Nothing here changes a
//! setting of the host.

pub mod aws_plugin;
pub mod azure_plugin;
mod cloud_init;
mod configurations;
mod ec2_net_utils;
mod finding;
mod firewall;
mod ini;
pub mod install;
mod network_manager;
mod networkd;
pub mod other_plugin;
pub mod uninstall;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

pub use finding::{Finding, Gravity};
pub use watch::{HostChecks, HostWatch};

/// Bytes to which the kernel cuts a process's name (`TASK_COMM_LEN` less its final zero).
const LONGEST_PROCESS_NAME: usize = 15;

/// Most symbolic links to follow for one path.
const MOST_LINKS: usize = 8;

/// The node's files.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The host whose files are found below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Everything on this host that would disturb Veni's network, the gravest first.
    pub fn interferers(&self) -> Vec<Finding> {
        let mut findings = networkd::findings(self);
        findings.extend(network_manager::findings(self));
        findings.extend(cloud_init::findings(self));
        findings.extend(ec2_net_utils::findings(self));
        findings.extend(firewall::findings(self));
        findings.sort_by_key(|finding| finding.gravity);
        findings
    }

    /// The place of a host's path below the root. Follows the last part if it is a symbolic
    /// link, and stays within the root.
    fn path(&self, absolute: &str) -> PathBuf {
        let mut path = self.below(Path::new(absolute));
        for _ in 0..MOST_LINKS {
            let Ok(target) = fs::read_link(&path) else {
                break;
            };
            path = if target.is_absolute() {
                self.below(&target)
            } else {
                path.parent().unwrap_or(&self.root).join(target)
            };
        }
        path
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A file's text; `None` when it cannot be read, for whatever reason. Without evidence,
    /// there is no warning.
    fn read(&self, path: &str) -> Option<String> {
        let path = self.path(path);
        // A link to /dev/null stands for an empty file. The root need not contain /dev/null.
        if path == self.below(Path::new("/dev/null")) {
            return Some(String::new());
        }
        let bytes = path.is_file().then(|| fs::read(path).ok())??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder, sorted; none when it cannot be read.
    fn names_in(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Whether a program of this name runs.
    fn runs(&self, program: &str) -> bool {
        let name = &program[..program.len().min(LONGEST_PROCESS_NAME)];
        self.names_in("/proc")
            .into_iter()
            .filter(|entry| entry.bytes().all(|byte| byte.is_ascii_digit()))
            .filter_map(|id| self.read(&format!("/proc/{id}/comm")))
            .any(|running| running.trim() == name)
    }
}

#[cfg(test)]
mod tests;
