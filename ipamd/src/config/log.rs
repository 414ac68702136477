//! The daemon's log: where it goes, which lines it has, and what they look like.

use tracing_subscriber::EnvFilter;

use super::groups::{LogFormat, LogTarget};
use super::parse::{Parsed, absolute_path, wrong};
use super::setting::{Setting, one_of, read_by};
use super::variable::DefaultValue;

pub(super) static AWS_VPC_K8S_CNI_LOG_FILE: Setting<LogTarget> = Setting::new(
    "AWS_VPC_K8S_CNI_LOG_FILE",
    read_by(target, DefaultValue::Text("stderr")),
    "Where the daemon logs: stderr, stdout or a path, whose folder is made; opened anew by SIGHUP \
     and after a rotation.",
);

pub(super) static AWS_VPC_K8S_CNI_LOGLEVEL: Setting<String> = Setting::new(
    "AWS_VPC_K8S_CNI_LOGLEVEL",
    read_by(filter, DefaultValue::Text("info")),
    "error, warn, info, debug, trace, or a filter such as `ipamd::pool=debug`.",
);

pub(super) static VENI_LOG_FORMAT: Setting<LogFormat> = Setting::new(
    "VENI_LOG_FORMAT",
    one_of(
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        "text",
    ),
    "text or json.",
);

/// What the log may be told in one word.
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn target(text: &str) -> Parsed<LogTarget> {
    match text {
        "stderr" => Ok(LogTarget::Stderr),
        "stdout" => Ok(LogTarget::Stdout),
        path => absolute_path(path).map(LogTarget::File),
    }
}

/// The AWS plugin's spelling is upper case or capitalised.
fn filter(text: &str) -> Parsed<String> {
    let filter = text.to_lowercase();
    // A filter takes any bare word as a module's name, and a typo would silence the log.
    let bare = !filter.contains(['=', ',']);
    if bare && !LOG_LEVELS.contains(&filter.as_str()) {
        let levels = LOG_LEVELS.join(", ");
        let must_be =
            format_args!("must be one of {levels}, or a filter such as ipamd::pool=debug");
        return Err(wrong(&filter, must_be));
    }
    match EnvFilter::try_new(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(wrong(&filter, error)),
    }
}
