//! What the daemon knows of its host, and what it puts there.

use std::path::PathBuf;

use super::groups::HostSettings;
use super::parse::{Parsed, absolute_path, wrong};
use super::reader::Reader;
use super::setting::{Setting, Value, read_by, read_if_set, truth};
use super::variable::DefaultValue;

pub(super) static VENI_HOST_ROOT: Setting<PathBuf> = Setting::new(
    "VENI_HOST_ROOT",
    read_by(absolute_path, DefaultValue::Text("/")),
    "Folder with the host's files, where the daemon looks for a running AWS plugin and for \
     programs that would disturb pods' network.",
);

pub(super) static HOST_CNI_BIN_PATH: Setting<Option<PathBuf>> = Setting::new(
    "HOST_CNI_BIN_PATH",
    folder("/host/opt/cni/bin"),
    "Folder of the runtime's plugins, into which the daemon installs veni-cni.",
);

pub(super) static HOST_CNI_CONFDIR_PATH: Setting<Option<PathBuf>> = Setting::new(
    "HOST_CNI_CONFDIR_PATH",
    folder("/host/etc/cni/net.d"),
    "Folder of the runtime's network configurations, into which the daemon installs \
     10-veni.conflist once it is ready.",
);

pub(super) static VENI_PLUGIN_SOURCE: Setting<Option<PathBuf>> = Setting::new(
    "VENI_PLUGIN_SOURCE",
    read_if_set(
        |text| absolute_path(text).map(Some),
        DefaultValue::InWords("veni-cni beside ipamd"),
    ),
    "The binary to install.",
);

pub(super) static AWS_VPC_K8S_PLUGIN_LOG_FILE: Setting<Option<PathBuf>> = Setting::new(
    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    read_if_set(plugin_log_file, DefaultValue::InWords("none")),
    "pluginLogFile of the network configuration that the daemon installs: a path on the host.",
);

pub(super) static AWS_VPC_K8S_PLUGIN_LOG_LEVEL: Setting<&str> = Setting::new(
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    read_by(plugin_log_level, DefaultValue::Text("info")),
    "pluginLogLevel of it: error, warn, info, debug or trace; from debug on every call gets a \
     line, not only failures.",
);

pub(super) static ENABLE_BANDWIDTH_PLUGIN: Setting<bool> = Setting::new(
    "ENABLE_BANDWIDTH_PLUGIN",
    truth(false),
    "The network configuration that the daemon installs has the runtime pass the limits of pods' \
     annotations kubernetes.io/ingress-bandwidth and kubernetes.io/egress-bandwidth, which Veni \
     keeps by itself.",
);

/// What the daemon's option `--take-over` sets.
pub const TAKE_OVER: &str = "VENI_TAKE_OVER";

pub(super) static VENI_TAKE_OVER: Setting<bool> = Setting::new(
    TAKE_OVER,
    truth(false),
    "Rename configurations of other networks that the runtime would use in place of \
     10-veni.conflist, also when they come back: their names get the ending .veni_bak. Likewise \
     the option --take-over. Otherwise such a file is named, and Veni's is not installed.",
);

/// What the plugin knows as a level of its log.
const PLUGIN_LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// A folder of the host: in a container it is mounted there as in the AWS plugin's
/// manifests, and it counts only when it is there.
const fn folder(default: &'static str) -> Value<Option<PathBuf>> {
    read_if_set(
        |text| absolute_path(text).map(Some),
        DefaultValue::WhereItExists(default),
    )
}

fn plugin_log_file(text: &str) -> Parsed<Option<PathBuf>> {
    match text {
        "stdout" => {
            let reason = "the plugin's standard output is for its result; use stderr or a path";
            Err(wrong(text, reason))
        }
        // Failures go there anyway.
        "stderr" => Ok(None),
        path => absolute_path(path).map(Some),
    }
}

/// The AWS plugin's spelling is upper case or capitalised.
fn plugin_log_level(text: &str) -> Parsed<&'static str> {
    let lower = text.to_lowercase();
    let level = PLUGIN_LOG_LEVELS.into_iter().find(|level| *level == lower);
    level.ok_or_else(|| {
        let words = PLUGIN_LOG_LEVELS.join(", ");
        wrong(text, format_args!("must be one of {words}"))
    })
}

pub(super) fn read(reader: &mut Reader<'_>) -> HostSettings {
    HostSettings {
        root: reader.read(&VENI_HOST_ROOT),
        binaries: read_folder(reader, &HOST_CNI_BIN_PATH),
        configurations: read_folder(reader, &HOST_CNI_CONFDIR_PATH),
        plugin_source: reader.read(&VENI_PLUGIN_SOURCE),
        plugin_log_file: reader.read(&AWS_VPC_K8S_PLUGIN_LOG_FILE),
        plugin_log_level: reader.read(&AWS_VPC_K8S_PLUGIN_LOG_LEVEL),
        bandwidth_limits: reader.read(&ENABLE_BANDWIDTH_PLUGIN),
        take_over: reader.read(&VENI_TAKE_OVER),
    }
}

fn read_folder(reader: &mut Reader<'_>, setting: &Setting<Option<PathBuf>>) -> Option<PathBuf> {
    reader
        .read(setting)
        .or_else(|| match setting.variable.default {
            DefaultValue::WhereItExists(folder) => {
                let folder = PathBuf::from(folder);
                folder.is_dir().then_some(folder)
            }
            _ => None,
        })
}
