//! Runs a served cloud from another process: looks at its truth, makes its
//! weather, follows its changes. Each method is [`crate::MockCloud`]'s of the
//! same name.

use std::path::Path;

use veni_provider::{Interface, Operation, SubnetId};

use crate::change::Change;
use crate::cloud::CloudError;
use crate::config::{CloudConfig, Latency, NodeConfig, Throttle};
use crate::connection::{Connection, ConnectionError, OpenRequest};
use crate::dump::CloudDump;
use crate::faults::{Fault, FaultId};
use crate::wire::{AdminRequest, Answer, Message, Request};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No answer.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The cloud refused.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The two sides do not understand each other: they are of different versions.
    #[error("the mock cloud answered something else than was asked: {0}")]
    Protocol(String),
}

/// Whoever runs a served cloud.
#[derive(Debug)]
pub struct AdminClient {
    connection: Connection,
}

/// Why no more changes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The follower was too slow: changes are lost. Follow anew.
    #[error("too far behind the mock cloud's changes; follow anew")]
    Lagged,
    /// The cloud is not served any more, or the connection broke. Follow anew.
    #[error("the connection to the mock cloud broke; follow anew")]
    Broken,
}

/// The changes of a served cloud, in order, from a dump on.
#[derive(Debug)]
pub struct Follower {
    request: OpenRequest,
}

impl Follower {
    /// The next change. May be cancelled without losing one.
    ///
    /// # Errors
    /// No more will come.
    pub async fn next(&mut self) -> Result<Change, FollowError> {
        match self.request.next().await {
            Some(Message::Change(change)) => Ok(change),
            Some(Message::Lagged) => Err(FollowError::Lagged),
            _ => Err(FollowError::Broken),
        }
    }
}

impl AdminClient {
    /// Connects with the first request, and again after the connection broke.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            connection: Connection::new(path.as_ref()),
        }
    }

    /// What the cloud was made of.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn config(&self) -> Result<CloudConfig, AdminError> {
        match self.ask(AdminRequest::Config).await? {
            Answer::Config(config) => Ok(*config),
            other => Err(unexpected(&other)),
        }
    }

    /// The truth now.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn dump(&self) -> Result<CloudDump, AdminError> {
        match self.ask(AdminRequest::Dump).await? {
            Answer::Dump(dump) => Ok(dump),
            other => Err(unexpected(&other)),
        }
    }

    /// The truth now and all changes after it.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn follow(&self) -> Result<(CloudDump, Follower), AdminError> {
        let request = Request::Admin(AdminRequest::Follow);
        let mut request = self.connection.ask(request).await?;
        match request.next().await {
            Some(Message::Answer(Answer::Dump(dump))) => Ok((dump, Follower { request })),
            Some(other) => Err(AdminError::Protocol(format!("{other:?}"))),
            None => Err(AdminError::Connection(ConnectionError::Broken {
                path: request.path().to_owned(),
            })),
        }
    }

    /// Starts a node and returns its primary interface.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn add_node(&self, node: NodeConfig) -> Result<Interface, AdminError> {
        match self.ask(AdminRequest::AddNode(node)).await? {
            Answer::Interface(interface) => Ok(interface),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a node.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn terminate_node(&self, instance_id: &str) -> Result<(), AdminError> {
        self.tell(AdminRequest::TerminateNode(instance_id.to_owned()))
            .await
    }

    /// Puts a fault in force.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn inject(&self, fault: Fault) -> Result<FaultId, AdminError> {
        match self.ask(AdminRequest::Inject(fault)).await? {
            Answer::Fault(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends one fault.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn remove_fault(&self, id: FaultId) -> Result<(), AdminError> {
        self.tell(AdminRequest::RemoveFault(id)).await
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn clear_faults(&self) -> Result<(), AdminError> {
        self.tell(AdminRequest::ClearFaults).await
    }

    /// Takes addresses of a subnet until so many are free.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn fill_subnet(&self, id: &SubnetId, leave_free: u32) -> Result<(), AdminError> {
        let subnet = id.clone();
        self.tell(AdminRequest::FillSubnet { subnet, leave_free })
            .await
    }

    /// Leaves no free block in a subnet.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn fragment_subnet(&self, id: &SubnetId) -> Result<(), AdminError> {
        self.tell(AdminRequest::FragmentSubnet(id.clone())).await
    }

    /// Gives back what filling and fragmenting took.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn unfill(&self, id: &SubnetId) -> Result<(), AdminError> {
        self.tell(AdminRequest::Unfill(id.clone())).await
    }

    /// Sets the time of one operation, or of all.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_latency(
        &self,
        operation: Option<Operation>,
        latency: Latency,
    ) -> Result<(), AdminError> {
        self.tell(AdminRequest::SetLatency { operation, latency })
            .await
    }

    /// Sets how long changes take to show.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_consistency_delay(&self, delay: Latency) -> Result<(), AdminError> {
        self.tell(AdminRequest::SetConsistencyDelay(delay)).await
    }

    /// Sets the account's budget.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_throttle(&self, throttle: Option<Throttle>) -> Result<(), AdminError> {
        self.tell(AdminRequest::SetThrottle(throttle)).await
    }

    /// Takes the permission for an operation away.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn deny(&self, operation: Operation) -> Result<(), AdminError> {
        self.tell(AdminRequest::Deny(operation)).await
    }

    /// Grants it again.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn allow(&self, operation: Operation) -> Result<(), AdminError> {
        self.tell(AdminRequest::Allow(operation)).await
    }

    async fn tell(&self, request: AdminRequest) -> Result<(), AdminError> {
        match self.ask(request).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, request: AdminRequest) -> Result<Answer, AdminError> {
        match self.connection.answer(Request::Admin(request)).await? {
            Message::Answer(answer) => Ok(answer),
            Message::CloudError(error) => Err(AdminError::Cloud(error)),
            other => Err(AdminError::Protocol(format!("{other:?}"))),
        }
    }
}

fn unexpected(answer: &Answer) -> AdminError {
    AdminError::Protocol(format!("{answer:?}"))
}
