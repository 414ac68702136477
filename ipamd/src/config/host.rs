//! What the daemon knows of its host and puts there, where it logs, and where
//! it can be looked into.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::reader::Reader;

/// Where the host's folders are mounted in a container, as in the AWS plugin's
/// manifests; they count only when they are there.
const BINARIES: &str = "/host/opt/cni/bin";
const CONFIGURATIONS: &str = "/host/etc/cni/net.d";

/// The host: its files, and what is installed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// `VENI_HOST_ROOT`.
    pub root: PathBuf,
    /// `HOST_CNI_BIN_PATH`, or the default where that exists.
    pub binaries: Option<PathBuf>,
    /// `HOST_CNI_CONFDIR_PATH`, or the default where that exists.
    pub configurations: Option<PathBuf>,
    /// `VENI_PLUGIN_SOURCE`.
    pub plugin_source: Option<PathBuf>,
    /// `AWS_VPC_K8S_PLUGIN_LOG_FILE`.
    pub plugin_log_file: Option<PathBuf>,
    /// `AWS_VPC_K8S_PLUGIN_LOG_LEVEL`, in lower case.
    pub plugin_log_level: &'static str,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// Where introspection is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntrospectionAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket, given as `unix:` and its path.
    Unix(PathBuf),
}

impl FromStr for IntrospectionAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err("no absolute path after unix:"),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "no address with a port"),
        }
    }
}

impl fmt::Display for IntrospectionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const PLUGIN_LOG_LEVELS: [(&str, &str); 5] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

pub(super) fn read_host(reader: &mut Reader<'_>) -> HostSettings {
    HostSettings {
        root: absolute(reader, "VENI_HOST_ROOT").unwrap_or_else(|| PathBuf::from("/")),
        binaries: folder(reader, "HOST_CNI_BIN_PATH", BINARIES),
        configurations: folder(reader, "HOST_CNI_CONFDIR_PATH", CONFIGURATIONS),
        plugin_source: absolute(reader, "VENI_PLUGIN_SOURCE"),
        plugin_log_file: read_plugin_log_file(reader),
        plugin_log_level: read_plugin_log_level(reader),
    }
}

fn folder(reader: &mut Reader<'_>, name: &'static str, default: &str) -> Option<PathBuf> {
    absolute(reader, name).or_else(|| {
        let default = PathBuf::from(default);
        (reader.text(name).is_none() && default.is_dir()).then_some(default)
    })
}

fn absolute(reader: &mut Reader<'_>, name: &'static str) -> Option<PathBuf> {
    let text = reader.text(name)?;
    let path = PathBuf::from(&text);
    if path.is_absolute() {
        return Some(path);
    }
    reader.problem(name, &text, "must be an absolute path");
    None
}

fn read_plugin_log_file(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let name = "AWS_VPC_K8S_PLUGIN_LOG_FILE";
    match reader.text(name).as_deref() {
        Some("stdout") => {
            let reason = "the plugin's standard output is for its result; use stderr or a path";
            reader.problem(name, "stdout", reason);
            None
        }
        // Failures go there anyway.
        Some("stderr") => None,
        _ => absolute(reader, name),
    }
}

fn read_plugin_log_level(reader: &mut Reader<'_>) -> &'static str {
    let name = "AWS_VPC_K8S_PLUGIN_LOG_LEVEL";
    let Some(text) = reader.text(name) else {
        return "info";
    };
    // The AWS plugin's spelling is upper case or capitalised.
    let lower = text.to_lowercase();
    if let Some((_, level)) = PLUGIN_LOG_LEVELS.iter().find(|(word, _)| *word == lower) {
        return level;
    }
    let words = PLUGIN_LOG_LEVELS.map(|(word, _)| word).join(", ");
    reader.problem(name, &text, format_args!("must be one of {words}"));
    "info"
}

/// Where the daemon keeps what must outlive a reboot.
const STATE_DIR: &str = "/var/lib/veni";

pub(super) fn read_state_dir(reader: &mut Reader<'_>) -> PathBuf {
    absolute(reader, "VENI_STATE_DIR").unwrap_or_else(|| PathBuf::from(STATE_DIR))
}

pub(super) fn read_log_target(reader: &mut Reader<'_>) -> LogTarget {
    let name = "AWS_VPC_K8S_CNI_LOG_FILE";
    match reader.text(name).as_deref() {
        None | Some("stderr") => LogTarget::Stderr,
        Some("stdout") => LogTarget::Stdout,
        Some(_) => absolute(reader, name).map_or(LogTarget::Stderr, LogTarget::File),
    }
}

pub(super) fn read_introspection(reader: &mut Reader<'_>) -> Option<IntrospectionAddress> {
    let address = reader
        .parsed(
            "INTROSPECTION_BIND_ADDRESS",
            "an address and a port, as 127.0.0.1:61679, or unix: and an absolute path",
        )
        .unwrap_or_else(|| {
            IntrospectionAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 61_679)))
        });
    let disabled = reader.boolean("DISABLE_INTROSPECTION", false);
    (!disabled).then_some(address)
}
