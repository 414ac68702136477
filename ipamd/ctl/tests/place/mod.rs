//! A place where `veni lab` is run as a user runs it, and nobody else's labs are.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for anything that will happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of labs. Those that are left are taken down with it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut veni = Command::new(env!("CARGO_BIN_EXE_veni"));
        veni.args(line.split(' '))
            .env("XDG_RUNTIME_DIR", self.0.path())
            // A user's own account must not come into it.
            .env("AWS_ACCESS_KEY_ID", "the-user-s-own")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        veni
    }

    fn veni(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// What a line prints that must succeed.
    pub(crate) fn good(&self, line: &str) -> String {
        let output = self.veni(line);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "veni {line}: {error}{told}");
        told
    }

    /// What a line complains that must fail.
    pub(crate) fn bad(&self, line: &str) -> String {
        let output = self.veni(line);
        assert!(!output.status.success(), "veni {line} must fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("veni-lab-{name}"))
    }

    /// The process that owns a lab.
    pub(crate) fn owner(&self, name: &str) -> u32 {
        let text = std::fs::read_to_string(self.folder(name).join("lock")).unwrap();
        text.trim().parse().unwrap()
    }

    /// Ends a lab's process as nothing can be prepared for; its pid.
    pub(crate) fn kill(&self, name: &str) -> u32 {
        let owner = self.owner(name);
        let mut kill = Command::new("kill");
        kill.args(["-KILL", &owner.to_string()]);
        assert!(kill.status().unwrap().success());
        owner
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.0.path()).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_prefix("veni-lab-") {
                self.veni(&format!("lab --name {name} down"));
            }
        }
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
