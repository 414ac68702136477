//! Writes down what happens, in the order in which it happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ipamd::replay;
use tokio::sync::broadcast::Receiver;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, ErrorClass, Grant, Interface,
    InterfaceId, Inventory, LocalView, Node, Operation, OperationId, Progress, Provider,
    ProviderError,
};
use veni_provider_mock::{Change, MockProvider};

use super::log::{Line, What};
use crate::world::{World, ranges_of};

struct Open {
    lines: Vec<Line>,
    /// The cloud's own log, as far as it has not been read.
    cloud: Receiver<Change>,
    last_call: u32,
}

/// The book of one history.
#[derive(Clone)]
pub(super) struct Book {
    world: Arc<World>,
    open: Arc<Mutex<Open>>,
}

impl Book {
    /// Begins with what the node holds.
    pub(super) fn new(world: &Arc<World>) -> Self {
        let cloud = world.cloud.subscribe();
        let open = Open {
            lines: Vec::new(),
            cloud,
            last_call: 0,
        };
        Self {
            world: Arc::clone(world),
            open: Arc::new(Mutex::new(open)),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new call.
    pub(super) fn call(&self) -> u32 {
        let mut open = self.open();
        open.last_call += 1;
        open.last_call
    }

    /// Writes a line, after what the cloud did before it.
    pub(super) fn write(&self, what: What) {
        let at = self.world.now_ms();
        let mut open = self.open();
        while let Ok(change) = open.cloud.try_recv() {
            if let Some(what) = of_the_cloud(change) {
                open.lines.push(Line { at, what });
            }
        }
        open.lines.push(Line { at, what });
    }

    /// Orders the last lines, which tell of calls that a daemon's death has cut off. Its
    /// tasks end in the order of their numbers, which count on over all histories.
    pub(super) fn order_what_was_cut_off(&self) {
        let mut open = self.open();
        let cut = |line: &Line| matches!(line.what, What::CloudAnswered { certain: false, .. });
        let whole = open.lines.iter().rposition(|line| !cut(line));
        let from = whole.map_or(0, |last| last + 1);
        open.lines[from..].sort_by_key(|line| match line.what {
            What::CloudAnswered { call, .. } => call,
            _ => 0,
        });
    }

    /// All lines so far.
    pub(super) fn lines(&self) -> Vec<Line> {
        self.open().lines.clone()
    }
}

fn of_the_cloud(change: Change) -> Option<What> {
    match change {
        Change::InterfaceAttached { interface, .. } => Some(What::Holds {
            interface: interface.id.to_string(),
            ranges: ranges(&interface),
        }),
        Change::SourcesChanged {
            interface,
            addresses,
            prefixes,
            ..
        } => {
            let addresses = addresses.iter().map(ToString::to_string);
            let prefixes = prefixes.iter().map(ToString::to_string);
            Some(What::Holds {
                interface: interface.to_string(),
                ranges: addresses.chain(prefixes).collect(),
            })
        }
        Change::InterfaceDetached { interface, .. } => Some(What::Detached {
            interface: interface.to_string(),
        }),
        Change::NodeAdded { .. } | Change::NodeRemoved { .. } => None,
    }
}

/// What an interface holds for pods: addresses without a length, prefixes with one.
pub(super) fn ranges(interface: &Interface) -> Vec<String> {
    let ranges = ranges_of(interface);
    let text = |range: &ipnet::IpNet| match range.prefix_len() == range.max_prefix_len() {
        true => range.addr().to_string(),
        false => range.to_string(),
    };
    ranges.iter().map(text).collect()
}

/// The cloud, with each call of the daemon written down. A daemon that has come to its trap
/// calls nobody.
pub(super) struct Witness {
    pub(super) inner: MockProvider,
    pub(super) book: Book,
}

/// A call under way. Dropped without an answer, it says so.
struct UnderWay<'a> {
    book: &'a Book,
    call: u32,
    certain: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.book.write(What::CloudAnswered {
            call: self.call,
            certain: self.certain,
        });
    }
}

impl Witness {
    async fn call<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        if replay::is_trapped() {
            std::future::pending::<()>().await;
        }
        let number = self.book.call();
        self.book.write(What::CloudCalled {
            call: number,
            operation: operation.label().to_owned(),
            family: operation.family().label().to_owned(),
            changes: operation.mutates(),
        });
        let mut under_way = UnderWay {
            book: &self.book,
            call: number,
            certain: false,
        };
        let answer = call.await;
        let unknown = |error: &ProviderError| error.class == ErrorClass::OutcomeUnknown;
        under_way.certain = !answer.as_ref().is_err_and(unknown);
        answer
    }
}

#[async_trait]
impl Provider for Witness {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        let call = self.inner.node();
        self.call(Operation::Node, call).await
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        let call = self.inner.inventory();
        self.call(Operation::Inventory, call).await
    }

    async fn local_view(&self) -> Option<LocalView> {
        self.inner.local_view().await
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        let call = self.inner.attach_interface(request);
        self.call(Operation::AttachInterface, call).await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        let call = self.inner.detach_interface(interface);
        self.call(Operation::DetachInterface, call).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let call = self.inner.assign(interface, slots);
        self.call(Operation::Assign, call).await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        let call = self.inner.release(interface, grant);
        self.call(Operation::Release, call).await
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        let call = self.inner.begin(change);
        self.call(change.operation(), call).await
    }

    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        let call = self.inner.resume(operation);
        self.call(Operation::Node, call).await
    }
}
