//! The plugin's own log: a file that the network configuration names, one line
//! per failure and, at level debug, one per call.
//!
//! It costs an open and a write, and only where it is asked for; whatever is
//! wrong with it never fails a call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use serde_json::Value;
use veni_api::failure::CniFailure;

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
            timestamp(SystemTime::now()),
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

/// What comes from outside must not begin a line of its own.
fn on_one_line(text: &str) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_PART).map(safe).collect()
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

/// UTC in the form of RFC 3339, to the millisecond.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    )
}

/// The date of a day since 1970-01-01. Years are counted from March, so that
/// the leap day is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_EPOCH: u64 = 719_468; // since 0000-03-01
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let day = days + DAYS_BEFORE_EPOCH;
    let (era, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_rfc_3339_has_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(timestamp(time), expected);
        }
    }
}
