//! The plugin's own log: a file that the network configuration names, one line
//! per failure and, at level debug, one per call.
//!
//! It costs an open and a write, and only where it is asked for; whatever is
//! wrong with it never fails a call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use serde_json::Value;
use veni_api::failure::CniFailure;
use veni_api::timestamp::rfc_3339;
use veni_terminal::printable;

use crate::Lookup;

/// Field with the file's path; `stderr` stands for no file of its own.
pub(crate) const FILE_FIELD: &str = "pluginLogFile";
/// Field with the level.
pub(crate) const LEVEL_FIELD: &str = "pluginLogLevel";
/// Where failures go anyway.
pub(crate) const STDERR: &str = "stderr";
/// The levels, in the lower case of whatever is given.
pub(crate) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Longest part of a line that comes from outside, characters.
const LONGEST_PART: usize = 2000;

/// Where to log, and how much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginLog {
    file: Option<PathBuf>,
    every_call: bool,
}

impl PluginLog {
    /// What a configuration asks for. Wrong values ask for nothing: they are
    /// told as problems of the configuration.
    #[must_use]
    pub fn from_config(config: &Value) -> Self {
        let text = |name: &str| config.get(name).and_then(Value::as_str);
        let file = text(FILE_FIELD).map(PathBuf::from);
        let level = text(LEVEL_FIELD).unwrap_or_default().to_lowercase();
        Self {
            file: file.filter(|path| path.is_absolute()),
            every_call: level == "debug" || level == "trace",
        }
    }

    /// Adds the line of a call that has ended.
    ///
    /// # Errors
    /// Those of opening the file and writing to it.
    pub fn note(
        &self,
        lookup: Lookup<'_>,
        failure: Option<&CniFailure>,
        took: Duration,
    ) -> io::Result<()> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        if failure.is_none() && !self.every_call {
            return Ok(());
        }
        let outcome = match failure {
            Some(failure) => format!("failed: {}", crate::error::line(failure)),
            None => "done".to_owned(),
        };
        let line = format!(
            "{} {} container={} interface={} {} after {} ms: {}\n",
            rfc_3339(SystemTime::now()),
            variable(lookup, "CNI_COMMAND"),
            variable(lookup, "CNI_CONTAINERID"),
            variable(lookup, "CNI_IFNAME"),
            pod(lookup),
            took.as_millis(),
            on_one_line(&outcome),
        );
        // One write, so that lines of plugins that run at once do not mix.
        open(path)?.write_all(line.as_bytes())
    }
}

fn variable(lookup: Lookup<'_>, name: &str) -> String {
    on_one_line(&lookup(name).unwrap_or_default().to_string_lossy())
}

fn pod(lookup: Lookup<'_>) -> String {
    let pod = crate::environment::pod(lookup);
    on_one_line(&format!("pod={}/{}", pod.namespace, pod.name))
}

/// What comes from outside must not begin a line of its own, nor steer the
/// terminal of who reads the file.
fn on_one_line(text: &str) -> String {
    printable::line(text).chars().take(LONGEST_PART).collect()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A pipe that nobody reads must not hold the call up.
    let flags = OFlags::NONBLOCK.bits();
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.cast_signed());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            options.open(path)
        }
        opened => opened,
    }
}
