//! One node's containerd: configured, started in the node's namespace, killed
//! and started again. Its shims outlive it, as on a real node.

use std::fs::OpenOptions;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use veni_testbed::cloudlab::command_in;
use veni_testbed::{binaries, eventually};

use crate::cri::Runtime;

/// The pod image, which is the sandbox image as well.
pub(crate) const IMAGE: &str = "localhost/veni/pod:1";

/// A line of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// 1.6: CNI up to 1.0.0.
    One,
    /// 2: CNI 1.1.0, with STATUS.
    Two,
}

impl Line {
    fn bin(self) -> PathBuf {
        match self {
            Self::One => fetched("containerd").join("usr/bin"),
            Self::Two => fetched("containerd2").join("bin"),
        }
    }

    /// Its own shim, and Debian's runc for both.
    fn path(self) -> String {
        let inherited = std::env::var("PATH").unwrap_or_default();
        let runc = fetched("containerd").join("usr/sbin");
        format!("{}:{}:{inherited}", self.bin().display(), runc.display())
    }
}

/// containerd on one node.
pub(crate) struct Containerd {
    line: Line,
    folder: PathBuf,
    namespace: PathBuf,
    child: Child,
    /// What a kubelet would talk to.
    pub(crate) runtime: Runtime,
}

impl Containerd {
    /// Starts it in `folder`, with the plugin calling the daemon of `run_dir`,
    /// and imports the pod image.
    pub(crate) async fn start(line: Line, folder: &Path, namespace: &Path, run_dir: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the node's folder can be made");
        plugins(&folder.join("bin"));
        write_conflist(&folder.join("net.d"), run_dir);
        let template = include_str!("../../../tools/containerd-config.toml");
        let config = template
            .replace("@NODE@", text(folder))
            .replace("@CNI_BIN@", text(&folder.join("bin")))
            .replace("@CNI_CONF@", text(&folder.join("net.d")));
        std::fs::write(folder.join("config.toml"), config).expect("the configuration is written");
        let containerd = Self {
            line,
            child: spawn(line, folder, namespace),
            runtime: Runtime::new(&socket(folder)),
            folder: folder.to_owned(),
            namespace: namespace.to_owned(),
        };
        containerd.ready().await;
        let image = fetched("pod-image").join("pod.tar");
        containerd
            .ctr(&["-n", "k8s.io", "images", "import", text(&image)])
            .await
            .expect("the pod image is imported");
        containerd
    }

    /// Kills it and starts it again; it finds its pods.
    pub(crate) async fn kill_and_restart(&mut self) {
        let pid = self.child.id().expect("containerd runs");
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("containerd can be killed");
        self.child.wait().await.expect("it has ended");
        self.child = spawn(self.line, &self.folder, &self.namespace);
        self.ready().await;
    }

    async fn ready(&self) {
        eventually("containerd's network", async || {
            self.runtime.network_ready().await
        })
        .await;
    }

    /// Runs `ctr` against it.
    pub(crate) async fn ctr(&self, arguments: &[&str]) -> Result<String, String> {
        let output = command_in(&self.namespace, self.line.bin().join("ctr"))
            .arg("--address")
            .arg(socket(&self.folder))
            .args(arguments)
            .env("PATH", self.line.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("containerd.log")).unwrap_or_default()
    }
}

fn spawn(line: Line, folder: &Path, namespace: &Path) -> Child {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("containerd.log"))
        .expect("containerd's log can be written");
    let mut command: Command = command_in(namespace, line.bin().join("containerd"));
    command
        .arg("--config")
        .arg(folder.join("config.toml"))
        .env("PATH", line.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("containerd can be executed")
}

/// The folder of plugins: ours, and the one that every runtime calls for `lo`.
pub(crate) fn plugins(folder: &Path) {
    std::fs::create_dir_all(folder).expect("the plugins' folder can be made");
    let reference = fetched("plugins").join("usr/lib/cni");
    link(&reference.join("loopback"), &folder.join("loopback"));
    link(&binaries::plugin(), &folder.join("veni-cni"));
}

fn link(to: &Path, at: &Path) {
    assert!(to.exists(), "{} is missing", to.display());
    symlink(to, at).expect("a plugin can be linked");
}

/// The shipped configuration, for another run folder.
pub(crate) fn write_conflist(folder: &Path, run_dir: &Path) {
    let shipped = include_str!("../../../../deploy/10-veni.conflist");
    let mut conflist: serde_json::Value = serde_json::from_str(shipped).expect("it is JSON");
    conflist["plugins"][0]["runDir"] = json!(run_dir);
    conflist["plugins"][0]["mtu"] = json!(1500);
    // As with ENABLE_BANDWIDTH_PLUGIN=true.
    conflist["plugins"][0]["capabilities"]["bandwidth"] = json!(true);
    std::fs::create_dir_all(folder).expect("the configuration's folder can be made");
    std::fs::write(folder.join("10-veni.conflist"), conflist.to_string())
        .expect("the conflist is written");
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

/// What `tests/tools/fetch` has unpacked.
pub(crate) fn fetched(name: &str) -> PathBuf {
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/fetch");
    let output = std::process::Command::new(&fetch)
        .args(["path", name])
        .output()
        .expect("tests/tools/fetch can be executed");
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        output.status.success() && path.exists(),
        "{name} is not unpacked: run `tests/tools/fetch {name}` (`make test` does)"
    );
    path
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}
