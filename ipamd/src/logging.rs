//! The log: to standard error, standard output or a file, as text or JSON.
//!
//! A file is only ever added to, and opened anew after `SIGHUP` or when another
//! program has moved it away, so that any way of rotating it works.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};
use veni_terminal::{eprintln, printable};

use crate::config::{Config, LogFormat, LogTarget};
use crate::log_levels::LogLevels;

/// How often it is looked whether the file is still in its place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Set by [`reopen`]; the next line opens the file anew.
static REOPEN: AtomicBool = AtomicBool::new(false);

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("AWS_VPC_K8S_CNI_LOGLEVEL={filter}: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it does not parse.
        reason: String,
    },
    /// The file cannot be opened.
    #[error(
        "AWS_VPC_K8S_CNI_LOG_FILE={path}: failed to open it; name a file in a folder that can be \
         written, or unset the variable for standard error"
    )]
    File {
        /// What was given.
        path: String,
        /// Reason.
        source: io::Error,
    },
    /// Another log was set up before.
    #[error("the log was set up twice")]
    Twice,
}

/// Reads a filter. Unless it names them, it has no lines of the client of Kubernetes: that
/// calls each failed try an error, which the daemon tells once, when it repeats.
///
/// # Errors
/// It is none.
pub(crate) fn filter_of(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("kube_client=off,{text}"))
}

/// Sets the log of the process up, once. Its levels can be changed while it runs.
///
/// # Errors
/// See [`LoggingError`].
pub fn init(config: &Config) -> Result<LogLevels, LoggingError> {
    let filter = filter_of(&config.log_filter).map_err(|error| LoggingError::Filter {
        filter: config.log_filter.clone(),
        reason: error.to_string(),
    })?;
    let format = config.log_format;
    let writer = match &config.log_target {
        LogTarget::Stderr => BoxMakeWriter::new(move || Edge::new(io::stderr(), format)),
        LogTarget::Stdout => BoxMakeWriter::new(move || Edge::new(io::stdout(), format)),
        LogTarget::File(path) => {
            let file = LogFile::try_new(path).map_err(|source| LoggingError::File {
                path: path.display().to_string(),
                source,
            })?;
            // For who looks where logs usually are.
            let path = path.display();
            eprintln!("ipamd: the log is in {path}, as AWS_VPC_K8S_CNI_LOG_FILE says");
            let file = Arc::new(Mutex::new(file));
            BoxMakeWriter::new(move || Edge::new(Shared(Arc::clone(&file)), format))
        }
    };
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter);
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber.try_init().map_err(|_| LoggingError::Twice)?;
    let apply = move |new| handle.reload(new).map_err(|error| error.to_string());
    Ok(LogLevels::new(config.log_filter.clone(), apply))
}

/// Where events leave the daemon, one in each write: nothing in them steers a
/// terminal or forges a line, and a log that cannot be written (its reader is gone,
/// the disk is full) never ends the daemon, which has pods to serve.
struct Edge<W> {
    writer: W,
    format: LogFormat,
}

impl<W: Write> Edge<W> {
    fn new(writer: W, format: LogFormat) -> Self {
        Self { writer, format }
    }
}

impl<W: Write> Write for Edge<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = match self.format {
            LogFormat::Text => printable::line(text),
            LogFormat::Json => printable::json(text),
        }
        .into_owned();
        line.push('\n');
        // The subscriber would tell of the failure on standard error, and panic
        // where nobody reads that either.
        let _unheard = self.writer.write_all(line.as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _unheard = self.writer.flush();
        Ok(())
    }
}

/// The log's file, to which all threads write.
struct Shared(Arc<Mutex<LogFile>>);

impl Write for Shared {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the log's file anew, if there is one, and says so in it.
pub fn reopen() {
    REOPEN.store(true, Ordering::Relaxed);
    tracing::info!("the log goes on after SIGHUP");
}

/// A file that lines are added to, wherever its name leads at the time.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    fn try_new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
            looked: Instant::now(),
        })
    }

    /// Follows the name when it leads to another file. Where that cannot be
    /// opened, the one at hand goes on.
    fn follow(&mut self) {
        let asked = REOPEN.swap(false, Ordering::Relaxed);
        if !asked && self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        if (asked || self.moved())
            && let Ok(file) = open(&self.path)
        {
            self.file = file;
        }
    }

    fn moved(&self) -> bool {
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        let (named, held) = (fs::metadata(&self.path), self.file.metadata());
        named.map(identity).ok() != held.map(identity).ok()
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.follow();
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).expect("a readable log")
    }

    #[test]
    fn an_event_is_one_line_that_steers_no_terminal() {
        let event = "pod added pod.name=a\u{1b}[2J\nb\u{202e}\n";
        let written = |format, event: &str| {
            let mut into = Vec::new();
            let taken = Edge::new(&mut into, format).write(event.as_bytes());
            assert_eq!(taken.expect("never fails"), event.len());
            String::from_utf8(into).expect("is text")
        };
        assert_eq!(
            written(LogFormat::Text, event),
            "pod added pod.name=a\\u{1b}[2J\\nb\\u{202e}\n"
        );
        let json = "{\"pod.name\":\"a\u{9b}\"}\n";
        assert_eq!(
            written(LogFormat::Json, json),
            "{\"pod.name\":\"a\\u009b\"}\n"
        );
    }

    #[test]
    fn a_log_that_cannot_be_written_is_no_failure_of_what_is_logged() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let mut edge = Edge::new(Full, LogFormat::Text);
        edge.write_all(b"one\n").expect("is taken");
        edge.flush().expect("is taken");
    }

    #[test]
    fn the_folder_is_made_and_lines_are_added_to_what_is_there() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("made/ipamd.log");
        for line in ["one\n", "two\n"] {
            let mut log = LogFile::try_new(&path).expect("opens");
            log.write_all(line.as_bytes()).expect("writes");
        }
        assert_eq!(text(&path), "one\ntwo\n");
    }

    #[test]
    fn a_log_that_was_rotated_away_is_begun_anew_in_its_place() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("ipamd.log");
        let rotated = folder.path().join("ipamd.log.1");
        let mut log = LogFile::try_new(&path).expect("opens");
        log.write_all(b"one\n").expect("writes");
        fs::rename(&path, &rotated).expect("rotates");
        assert!(log.moved());
        // As if the interval had passed.
        log.looked -= LOOK_EVERY;
        log.write_all(b"two\n").expect("writes");
        assert_eq!(text(&rotated), "one\n");
        assert_eq!(text(&path), "two\n");
    }

    #[test]
    fn a_log_whose_place_cannot_be_written_goes_on_where_it_is() {
        let folder = tempfile::tempdir().expect("temp folder");
        let inner = folder.path().join("logs");
        let path = inner.join("ipamd.log");
        let moved = folder.path().join("moved");
        let mut log = LogFile::try_new(&path).expect("opens");
        fs::rename(&inner, &moved).expect("moves the folder away");
        fs::write(&inner, "in the way").expect("puts a file in its place");
        log.looked -= LOOK_EVERY;
        log.write_all(b"one\n").expect("writes");
        assert_eq!(text(&moved.join("ipamd.log")), "one\n");
    }
}
