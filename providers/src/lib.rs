//! The provider trait: what Veni asks of a cloud, in the pool's nouns
//! (interface, secondary address, prefix, subnet), and the classes of errors a
//! planner can act on.
//!
//! A provider speaks for one node: the instance that the daemon runs on. It
//! keeps no pool, makes no plan and never retries on its own: every call
//! passes a limiter once, and its error tells the caller what to do next.

pub mod change;
pub mod error;
pub mod limiter;
pub mod nouns;
pub mod operation;
pub mod random;

#[cfg(feature = "conformance")]
pub mod conformance;

use std::time::Duration;

use async_trait::async_trait;

pub use change::{ChangeRequest, ChangeResult, Progress, Running};
pub use error::{ErrorClass, Limit, ProviderError, Scarcity};
pub use limiter::{Adaptation, Budget, CallObserver, Limited, LimiterConfig, NoObserver, Rate};
pub use nouns::{
    AddressSlots, AttachRequest, Capabilities, Grant, Interface, Inventory, Limits, LocalView, Mac,
    Node, SourceRouting, Subnet,
};
pub use operation::{ApiFamily, Operation};
pub use veni_nouns::{
    DEFAULT_NETWORK_CARD, Family, InterfaceId, InterfaceState, OperationId, SlotKind, SubnetId,
};

/// A cloud, as seen from one node.
///
/// Calls may be made in parallel for different interfaces; for one interface
/// the caller makes one call at a time. A call may be dropped (its future
/// cancelled) at any point: the cloud may or may not have done it, and the next
/// [`Provider::inventory`] tells.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// `aws`, `azure` or `mock`.
    fn name(&self) -> &'static str;

    /// What this cloud can do. Constant over the life of the provider.
    fn capabilities(&self) -> &Capabilities;

    /// The node itself and its limits. Answered from what was read at start
    /// where the cloud guarantees that it does not change.
    ///
    /// # Errors
    /// Any class; `Denied` and `Fatal` will not go away by themselves.
    async fn node(&self) -> Result<Node, ProviderError>;

    /// All interfaces of this node with their addresses and prefixes, and the
    /// subnets the node may take addresses from.
    ///
    /// The answer may lag behind a change by as long as the cloud's eventual
    /// consistency takes; [`Capabilities::settle_time`] bounds that.
    ///
    /// # Errors
    /// Any class.
    async fn inventory(&self) -> Result<Inventory, ProviderError>;

    /// What the node can see of its interfaces without a call to the cloud:
    /// cheap enough to be asked for twice a minute, for ever. `None` where there
    /// is nothing of the kind, or where it does not answer now, which is
    /// nobody's trouble.
    ///
    /// It may lag behind [`Provider::inventory`] and run ahead of it.
    async fn local_view(&self) -> Option<LocalView> {
        None
    }

    /// Attaches one more interface, with addresses or prefixes from the start
    /// where the cloud can do both in one call. What it returns is attached
    /// and holds what [`Interface`] says, which may be less than was asked.
    ///
    /// A failure after the interface was made is compensated: nothing is left
    /// behind, or [`ErrorClass::OutcomeUnknown`] is returned.
    ///
    /// # Errors
    /// `Unsupported` where the cloud cannot attach while running;
    /// `Exhausted`, `LimitReached`, and any other class.
    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError>;

    /// Detaches and deletes an interface. An interface that is gone already is
    /// success.
    ///
    /// # Errors
    /// Any class but `NotFound`; the primary interface is `Invalid`.
    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError>;

    /// Assigns addresses or prefixes to an interface and returns those that are
    /// new. Fewer than asked may come; none at all is an error.
    ///
    /// # Errors
    /// `Exhausted`, `LimitReached`, `NotFound` (the interface), and any other class.
    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError>;

    /// Gives addresses and prefixes of an interface back. What it does not hold
    /// any more is success; the interface's own address is `Invalid`.
    ///
    /// # Errors
    /// Any class but `NotFound` for an address.
    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError>;

    /// Begins a change. A cloud that answers when a change is made needs nothing more
    /// than the four calls above, which this default makes. A cloud whose changes run
    /// for minutes answers [`Progress::Running`] as soon as it has accepted one. Until
    /// that has ended it shows the interface as [`InterfaceState::Updating`], and
    /// another change of it is refused as `Transient`.
    ///
    /// # Errors
    /// Those of the call that stands for the change.
    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        change::carry_out(self, change).await
    }

    /// Asks how far a change is that was begun, by this daemon or one before it. What
    /// it answers may be asked for again.
    ///
    /// # Errors
    /// `NotFound`: the cloud does not know the operation (any more), and the inventory
    /// tells what came of it. The errors of the change itself, when it has failed and
    /// nothing was changed. `Throttled` and `Transient` where the question failed: the
    /// change goes on. A change that failed for one of these two reasons is told as
    /// `OutcomeUnknown`.
    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        let reason = format!("no operation {operation}: this cloud's calls end with the change");
        Err(ProviderError::new(ErrorClass::NotFound, "resume", reason))
    }

    /// Returns the longest time that a call of this kind may take, where the cloud needs
    /// another one than the daemon's setting. Constant over the life of the provider.
    fn deadline(&self, _: Operation) -> Option<Duration> {
        None
    }
}
