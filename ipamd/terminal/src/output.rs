//! Standard output and standard error, whose readers may go away.
//!
//! A reader that goes away (`veni status | head -1`) is no failure: what it would
//! have read is dropped, the program does what else it has to do, and ends with
//! the status that it would have ended with. SIGPIPE stays ignored, as Rust's start
//! leaves it: its default action would also kill a daemon over a socket, and a
//! lab's program before it has tidied up. Any other failure to write (a full
//! disk) makes the program fail at its end.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::printable;

/// Why standard output cannot be written any more.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

fn failure() -> MutexGuard<'static, Option<io::Error>> {
    FAILURE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes text for people to standard output; [`crate::print!`] calls it.
pub fn write(text: fmt::Arguments<'_>) {
    write_raw(printable::lines(&text.to_string()).as_bytes());
}

/// Likewise, and a newline; [`crate::println!`] calls it.
pub fn write_line(text: fmt::Arguments<'_>) {
    write(format_args!("{text}\n"));
}

/// Writes JSON to standard output, and a newline.
pub fn write_json(json: &str) {
    write_raw(format!("{}\n", printable::json(json)).as_bytes());
}

/// Writes what another program reads (a shell's completions), as it is.
pub fn write_program(text: &str) {
    write_raw(text.as_bytes());
}

fn write_raw(bytes: &[u8]) {
    let mut failure = failure();
    if failure.is_none() {
        *failure = io::stdout().lock().write_all(bytes).err();
    }
}

/// Writes text for people to standard error, and a newline; [`crate::eprintln!`]
/// calls it. There is nobody to tell of a failure.
pub fn write_error_line(text: fmt::Arguments<'_>) {
    let text = format!("{text}\n");
    // In one piece, so that lines of several programs do not mix.
    let _unheard = io::stderr().write_all(printable::lines(&text).as_bytes());
}

/// Whether the reader of standard output has been found to be gone.
pub fn reader_is_gone() -> bool {
    failure()
        .as_ref()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// What a program ends with: `status`, or a failure where its output could not
/// be written though somebody may wait for it.
pub fn finish(program: &str, status: ExitCode) -> ExitCode {
    let mut failure = failure();
    let failed = failure.take().or_else(|| io::stdout().flush().err());
    match failed {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            write_error_line(format_args!(
                "{program}: failed to write to standard output: {error}"
            ));
            ExitCode::FAILURE
        }
        _ => status,
    }
}
