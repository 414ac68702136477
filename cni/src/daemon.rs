//! One call to the node daemon: connecting to one that is being restarted,
//! deadlines, and what each way of failing means to the runtime.

use std::error::Error;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, Request, Response, Status};
use veni_api::client::{ConnectError, Connection, connect_cni};
use veni_api::failure::{CniFailure, code};
use veni_api::v1::cni_client::CniClient;

use crate::environment::Command;

/// How often a socket that does not answer is tried.
const RETRY_EVERY: Duration = Duration::from_millis(25);

/// What the daemon gets beyond the deadline that it knows of, to say that it has passed.
const GRACE: Duration = Duration::from_secs(1);

/// Why a call has brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens on the socket.
    Down(io::Error),
    /// The connection ended before the answer.
    Broken(String),
    /// The deadline passed.
    Late,
    /// The daemon answered with an error.
    Answered(Box<Status>),
}

/// The daemon as one command sees it.
#[derive(Debug)]
pub struct Daemon {
    socket: PathBuf,
    command: Command,
    /// How long to wait, in all, for a socket on which nobody listens.
    patience: Duration,
    deadline: Duration,
}

impl Daemon {
    /// The daemon behind `socket`, with the waiting that suits `command`.
    ///
    /// A daemon that is being replaced is back after a second or so, and an ADD
    /// that waits for it spares the pod a failed start. DEL has its note and
    /// STATUS its file, so they hardly wait.
    pub fn new(socket: PathBuf, command: Command) -> Self {
        let (patience, deadline) = match command {
            // The daemon itself waits up to 60 s for an address.
            Command::Add => (1500, 90),
            Command::Del => (300, 60),
            Command::Check | Command::Gc => (1500, 30),
            Command::Status | Command::Version => (300, 5),
        };
        Self {
            socket,
            command,
            patience: Duration::from_millis(patience),
            deadline: Duration::from_secs(deadline),
        }
    }

    /// Makes `call`, with the pod's namespace in front where there is one.
    ///
    /// A connection that ends before the answer belonged to a daemon that was
    /// stopped or killed; all calls may be repeated, so it is made once more.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<Q: Clone, A>(
        &mut self,
        namespace: Option<BorrowedFd<'_>>,
        request: Q,
        call: impl AsyncFn(&mut CniClient<Connection>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, CallError> {
        match self.attempt(namespace, request.clone(), &call).await {
            Err(CallError::Broken(_)) => self.attempt(namespace, request, &call).await,
            other => other,
        }
    }

    async fn attempt<Q, A>(
        &mut self,
        namespace: Option<BorrowedFd<'_>>,
        request: Q,
        call: &impl AsyncFn(&mut CniClient<Connection>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, CallError> {
        let mut client = self.connect(namespace).await?;
        let mut request = Request::new(request);
        request.set_timeout(self.deadline);
        let answered = tokio::time::timeout(self.deadline + GRACE, call(&mut client, request));
        match answered.await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(classify(status)),
            Err(_) => Err(CallError::Late),
        }
    }

    async fn connect(
        &mut self,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Result<CniClient<Connection>, CallError> {
        loop {
            let source = match connect_cni(&self.socket, namespace).await {
                Ok(client) => return Ok(client),
                Err(ConnectError::Connect { source, .. }) => source,
                Err(error) => return Err(CallError::Broken(chain(&error))),
            };
            let may_come_back = matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::WouldBlock
            );
            if !may_come_back || self.patience.is_zero() {
                return Err(CallError::Down(source));
            }
            tokio::time::sleep(RETRY_EVERY.min(self.patience)).await;
            self.patience = self.patience.saturating_sub(RETRY_EVERY);
        }
    }

    /// The failure that the runtime is told of.
    pub fn failure(&self, error: CallError) -> CniFailure {
        let socket = self.socket.display();
        let command = self.command.as_str();
        let seconds = self.deadline.as_secs();
        match error {
            CallError::Down(reason) if reason.kind() == io::ErrorKind::PermissionDenied => {
                CniFailure::new(
                    code::IO_FAILURE,
                    format!("failed to connect to the node daemon at {socket}"),
                    format!("{reason}; only root may call the plugin"),
                )
            }
            CallError::Down(reason) => CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!("failed to connect to the node daemon at {socket}"),
                format!(
                    "{reason}; check that ipamd runs on this node, what its log says, and that \
                     its run folder is runDir of the network configuration"
                ),
            ),
            CallError::Broken(reason) => CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!("the node daemon at {socket} ended the connection during {command}"),
                format!("{reason}; check the log of ipamd on this node for a restart"),
            ),
            CallError::Late => CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!("the node daemon at {socket} did not answer {command} in {seconds} s"),
                "check the log of ipamd on this node for what it waits for",
            ),
            CallError::Answered(status) => {
                let mut failure = CniFailure::from_status(&status);
                if failure.message.is_empty() {
                    failure.message =
                        format!("the node daemon refused {command}: {}", status.code());
                }
                failure
            }
        }
    }
}

/// A status that has a source was made on this side, out of a connection's
/// error; an answer of the daemon has none. gRPC servers end a call whose
/// deadline has passed as "cancelled" or as "deadline exceeded".
fn classify(status: Status) -> CallError {
    if let Some(source) = status.source() {
        CallError::Broken(chain(source))
    } else if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
        CallError::Late
    } else {
        CallError::Answered(Box::new(status))
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(reason: CallError) -> (u32, String) {
        let daemon = Daemon::new(PathBuf::from("/run/veni/cni.sock"), Command::Add);
        let failure = daemon.failure(reason);
        (failure.code, failure.details)
    }

    #[test]
    fn who_may_not_connect_is_told_so_and_not_to_try_again() {
        let down = |kind| details(CallError::Down(io::Error::from(kind)));
        let (refused, text) = down(io::ErrorKind::PermissionDenied);
        assert_eq!(refused, code::IO_FAILURE);
        assert!(text.contains("only root may call the plugin"), "{text}");
        assert_eq!(down(io::ErrorKind::NotFound).0, code::TRY_AGAIN_LATER);
    }

    #[test]
    fn an_error_is_told_with_its_sources() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the call failed")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = Outer(io::Error::other("the pipe broke"));
        assert_eq!(chain(&error), "the call failed: the pipe broke");
    }
}
