//! What can go wrong with a lab.

use std::io;
use std::path::PathBuf;

/// Why a lab could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The process may not make namespaces: it needs root.
    #[error("a lab makes network namespaces, which needs root: run it with sudo")]
    NotRoot,
    /// Another process runs this lab.
    #[error(
        "the lab in {folder} is running already (process {pid}): stop it with `veni lab down`, or choose another `--name`"
    )]
    Running {
        /// The lab's folder.
        folder: PathBuf,
        /// Id of that process; 0 when its lock file does not name it.
        pid: u32,
    },
    /// The folder belongs to another user, or is not a folder.
    #[error("{folder} is not a lab's folder of ours ({reason}): remove it or choose another name")]
    ForeignFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// A path is too long for a unix socket.
    #[error(
        "{path} is too long for a unix socket ({length} of at most 107 bytes): choose a shorter folder"
    )]
    LongPath {
        /// The socket's path.
        path: PathBuf,
        /// Its length, bytes.
        length: usize,
    },
    /// A program that the lab executes failed.
    #[error("failed to {operation}: {reason}")]
    Tool {
        /// What was to be done.
        operation: String,
        /// What the program said.
        reason: String,
    },
    /// The system refused something.
    #[error("failed to {operation}")]
    Io {
        /// What was to be done, and to what.
        operation: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The control plane refused something.
    #[error("the cloud failed to {operation}: {reason}")]
    Cloud {
        /// What was to be done.
        operation: String,
        /// Its reason.
        reason: String,
    },
    /// LocalStack did not answer at all.
    #[error("LocalStack does not answer {operation}: {reason}")]
    Silent {
        /// What it was asked.
        operation: String,
        /// What became of the question.
        reason: String,
    },
    /// LocalStack did not do what it was asked.
    #[error("LocalStack failed to {operation}: {reason}")]
    Emulator {
        /// What was to be done.
        operation: String,
        /// Why not.
        reason: String,
    },
    /// There is no such node.
    #[error("there is no node {name}: this lab has {known}")]
    NoSuchNode {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl LabError {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }
}

/// An error with its sources.
#[cfg(feature = "aws")]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
