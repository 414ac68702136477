//! Which daemon a command asks, and how.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tonic::Status;
use veni_api::client::{Connection, connect_operator};
use veni_api::v1::operator_client::OperatorClient;

/// Which daemon is asked.
#[derive(Debug, Default, Args)]
pub(crate) struct DaemonArguments {
    /// Run folder of the daemon
    #[arg(long, default_value = veni_api::DEFAULT_RUN_DIR, value_name = "FOLDER")]
    run_dir: PathBuf,
    /// Operators' socket of the daemon, instead of the one in its run folder
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl DaemonArguments {
    /// Its operators' socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let socket = self.socket.clone();
        socket.unwrap_or_else(|| self.run_dir.join(veni_api::OPERATOR_SOCKET))
    }

    /// Its run folder.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Connects to it.
    ///
    /// # Errors
    /// It does not answer; the error says what to look at.
    pub(crate) async fn connect(&self) -> anyhow::Result<OperatorClient<Connection>> {
        connect(&self.socket()).await
    }
}

/// Connects to the daemon behind a socket.
///
/// # Errors
/// It does not answer; the error says what to look at.
pub(crate) async fn connect(socket: &Path) -> anyhow::Result<OperatorClient<Connection>> {
    connect_operator(socket).await.context(
        "is ipamd running on this node? Its log tells. Only root may ask it, and `--run-dir` \
         must be its own (of a node of a lab: see what `veni lab up` printed)",
    )
}

/// Why a daemon has not answered, in words: that it is not ready and what it waits for,
/// that it is older than this tool, or what went wrong with `what` was asked for.
pub(crate) fn refused(status: Status, what: &str) -> anyhow::Error {
    // The status' message says what the daemon's start waits for.
    if status.message().starts_with("not ready") {
        return anyhow::anyhow!("ipamd is {}", status.message());
    }
    if status.code() == tonic::Code::Unimplemented {
        return anyhow::anyhow!(
            "this node's ipamd is older than veni and cannot be asked for {what}: upgrade it, or \
             use the veni of its own version"
        );
    }
    if status.code() == tonic::Code::InvalidArgument {
        return anyhow::anyhow!("{}", status.message());
    }
    anyhow::Error::new(status).context(format!("failed to ask the daemon for {what}"))
}
