//! Paths of the programs under test: those of the build that the running test belongs to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What an error tells the reader to do when a program is missing.
const BUILD: &str = "run `cargo build --workspace --all-targets` first (`make test` does)";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let own = std::env::current_exe().expect("the path of the running program");
    let folder = own.parent().expect("a program lies in a folder");
    // target/debug/deps/netns-0123 → target/debug; a benchmark lies beside the programs.
    let folder = match folder.ends_with("deps") {
        true => folder.parent().expect("deps lies in a folder"),
        false => folder,
    };
    folder.to_owned()
});

static CRASH_POINTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let output = Command::new(ipamd())
        .arg("--list-crash-points")
        .output()
        .expect("ipamd can be executed");
    assert!(
        output.status.success(),
        "{} was built without the feature crash-points: {BUILD}",
        ipamd().display()
    );
    let points = String::from_utf8(output.stdout).expect("names of points are text");
    points.lines().map(str::to_owned).collect()
});

/// Folder of the programs; good as `CNI_PATH`.
pub fn folder() -> &'static Path {
    &FOLDER
}

/// The daemon.
///
/// # Panics
/// When it was not built.
pub fn ipamd() -> PathBuf {
    built("ipamd")
}

/// The plugin.
///
/// # Panics
/// When it was not built.
pub fn plugin() -> PathBuf {
    built("veni-cni")
}

/// The operator's tool.
///
/// # Panics
/// When it was not built.
pub fn veni() -> PathBuf {
    built("veni")
}

/// All points at which the daemon can be killed, as it lists them itself.
///
/// # Panics
/// When it was built without the feature.
pub fn crash_points() -> &'static [String] {
    &CRASH_POINTS
}

fn built(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.exists(), "{} is missing: {BUILD}", path.display());
    path
}

/// The CNI project's own client, out of the cache folder of `tests/tools/fetch`.
///
/// # Panics
/// When it is not there.
pub fn cnitool() -> PathBuf {
    fetched("cnitool", "bin/cnitool")
}

/// Folder of the reference plugins (`ptp`, `host-local`, `portmap`), out of the same
/// cache folder.
///
/// # Panics
/// When it is not there.
pub fn reference_plugins() -> PathBuf {
    fetched("plugins", "usr/lib/cni")
}

/// Prometheus' own checker of rules and of what is exposed, out of the same cache folder.
///
/// # Panics
/// When it is not there.
pub fn promtool() -> PathBuf {
    fetched("prometheus", "usr/bin/promtool")
}

/// Prometheus itself, out of the same cache folder.
///
/// # Panics
/// When it is not there.
pub fn prometheus() -> PathBuf {
    fetched("prometheus", "usr/bin/prometheus")
}

/// Helm, which renders the chart, out of the same cache folder.
///
/// # Panics
/// When it is not there.
pub fn helm() -> PathBuf {
    fetched("helm", "bin/helm")
}

/// A program of Kubernetes, or etcd, out of the same cache folder.
///
/// # Panics
/// When it is not there.
pub fn kubernetes(program: &str) -> PathBuf {
    fetched("kubernetes", "bin").join(program)
}

/// A file or a folder of an item of the cache folder.
///
/// # Panics
/// When it is not there.
pub fn fetched(item: &str, path: &str) -> PathBuf {
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/fetch");
    let output = Command::new(&fetch)
        .args(["path", item])
        .output()
        .expect("tests/tools/fetch can be executed");
    let folder = String::from_utf8(output.stdout).expect("a path");
    let path = Path::new(folder.trim()).join(path);
    assert!(
        path.exists(),
        "{} is missing: run `tests/tools/fetch {item}` first",
        path.display()
    );
    path
}
