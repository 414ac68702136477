//! A node's view of a cloud that another process serves. It adds what a
//! network adds: a broken connection leaves a change in doubt, an unreachable
//! cloud is passing trouble.

use std::path::Path;

use async_trait::async_trait;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, ErrorClass, Grant, Interface,
    InterfaceId, Inventory, Node, Operation, OperationId, Progress, Provider, ProviderError,
};

use crate::connection::{Connection, ConnectionError};
use crate::wire::{Answer, Message, Request};

/// A served cloud as one node sees it.
#[derive(Debug)]
pub struct RemoteMock {
    connection: Connection,
    instance: String,
    capabilities: Capabilities,
}

impl RemoteMock {
    /// Connects and asks what the cloud can do.
    ///
    /// # Errors
    /// The cloud cannot be reached or broke off.
    pub async fn connect(
        path: impl AsRef<Path>,
        instance_id: &str,
    ) -> Result<Self, ConnectionError> {
        let path = path.as_ref();
        let connection = Connection::new(path);
        match connection.answer(Request::Capabilities).await? {
            Message::Answer(Answer::Capabilities(capabilities)) => Ok(Self {
                connection,
                instance: instance_id.to_owned(),
                capabilities,
            }),
            _ => Err(ConnectionError::Broken {
                path: path.to_owned(),
            }),
        }
    }

    /// Connects with the first call: a daemon has to start while its cloud is
    /// unreachable.
    pub fn lazy(path: impl AsRef<Path>, instance_id: &str, capabilities: Capabilities) -> Self {
        Self {
            connection: Connection::new(path.as_ref()),
            instance: instance_id.to_owned(),
            capabilities,
        }
    }

    async fn call<T>(
        &self,
        operation: Operation,
        request: Request,
        expected: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, ProviderError> {
        let fail = |class, reason: String| ProviderError::new(class, operation.label(), reason);
        let message = self.connection.answer(request).await.map_err(|error| {
            let class = match error {
                ConnectionError::Broken { .. } if operation.mutates() => ErrorClass::OutcomeUnknown,
                _ => ErrorClass::Transient,
            };
            fail(class, error.to_string())
        })?;
        match message {
            Message::Answer(answer) => expected(answer).ok_or_else(|| {
                let text = "the mock cloud's answer is to another question";
                fail(ErrorClass::Invalid, text.to_owned())
            }),
            Message::ProviderError(error) => Err(error),
            Message::CloudError(error) => Err(fail(ErrorClass::Invalid, error.to_string())),
            Message::NotUnderstood(reason) => Err(fail(ErrorClass::Invalid, reason)),
            Message::Change(_) | Message::Lagged => Err(fail(
                ErrorClass::Invalid,
                "the mock cloud takes this node for a follower".to_owned(),
            )),
        }
    }

    async fn done(&self, operation: Operation, request: Request) -> Result<(), ProviderError> {
        self.call(operation, request, |answer| {
            matches!(answer, Answer::Done).then_some(())
        })
        .await
    }
}

#[async_trait]
impl Provider for RemoteMock {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        let instance = self.instance.clone();
        self.call(
            Operation::Node,
            Request::Node { instance },
            |answer| match answer {
                Answer::Node(node) => Some(node),
                _ => None,
            },
        )
        .await
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        let instance = self.instance.clone();
        let request = Request::Inventory { instance };
        self.call(Operation::Inventory, request, |answer| match answer {
            Answer::Inventory(inventory) => Some(inventory),
            _ => None,
        })
        .await
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        let request = Request::AttachInterface {
            instance: self.instance.clone(),
            request: request.clone(),
        };
        self.call(Operation::AttachInterface, request, |answer| match answer {
            Answer::Interface(interface) => Some(interface),
            _ => None,
        })
        .await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        let request = Request::DetachInterface {
            instance: self.instance.clone(),
            interface: interface.clone(),
        };
        self.done(Operation::DetachInterface, request).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let request = Request::Assign {
            instance: self.instance.clone(),
            interface: interface.clone(),
            slots,
        };
        self.call(Operation::Assign, request, |answer| match answer {
            Answer::Grant(grant) => Some(grant),
            _ => None,
        })
        .await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        let request = Request::Release {
            instance: self.instance.clone(),
            interface: interface.clone(),
            grant: grant.clone(),
        };
        self.done(Operation::Release, request).await
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        let request = Request::Begin {
            instance: self.instance.clone(),
            change: change.clone(),
        };
        self.call(change.operation(), request, progress).await
    }

    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        let request = Request::Resume {
            instance: self.instance.clone(),
            operation: operation.clone(),
        };
        self.call(Operation::Node, request, progress).await
    }
}

fn progress(answer: Answer) -> Option<Progress> {
    match answer {
        Answer::Progress(progress) => Some(progress),
        _ => None,
    }
}
