//! A provider between the daemon and its cloud. It records which calls were made, how many
//! at once, and whether two changes ever met on one interface. It can also falsify what the
//! daemon sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, Grant, Interface, InterfaceId,
    Inventory, Limits, LocalView, Node, Operation, OperationId, Progress, Provider, ProviderError,
};

/// The calls that it has seen.
#[derive(Debug, Default)]
struct Seen {
    changes_under_way: BTreeMap<InterfaceId, u32>,
    most_changes_at_once: usize,
    all_under_way: usize,
    collisions: Vec<String>,
    calls: Vec<(Operation, Instant)>,
    local_views: usize,
    /// The local view to show instead of the true one.
    old_view: Option<Option<LocalView>>,
    subnets_hidden: bool,
    hidden: BTreeSet<IpNet>,
    hidden_interface: Option<InterfaceId>,
    lists_hidden: bool,
    limits: Option<Limits>,
}

/// The record, shared by all providers of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Seen>>);

impl Calls {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of an operation so far.
    pub(crate) fn of(&self, operation: Operation) -> usize {
        let seen = self.seen();
        seen.calls.iter().filter(|call| call.0 == operation).count()
    }

    /// Calls so far that change something.
    pub(crate) fn changes(&self) -> usize {
        let seen = self.seen();
        seen.calls.iter().filter(|call| call.0.mutates()).count()
    }

    /// When the calls of an operation began.
    pub(crate) fn times(&self, operation: Operation) -> Vec<Instant> {
        let seen = self.seen();
        let of = seen.calls.iter().filter(|call| call.0 == operation);
        of.map(|call| call.1).collect()
    }

    /// Local views so far.
    pub(crate) fn local_views(&self) -> usize {
        self.seen().local_views
    }

    /// Replaces local views from now on; `None` shows the truth again.
    pub(crate) fn freeze_local_view(&self, view: Option<Option<LocalView>>) {
        self.seen().old_view = view;
    }

    /// Removes all subnets from inventories from now on, as without the permission to see
    /// them.
    pub(crate) fn hide_subnets(&self) {
        self.seen().subnets_hidden = true;
    }

    /// Removes exactly these addresses and prefixes from inventories from now on.
    pub(crate) fn hide(&self, ranges: impl IntoIterator<Item = IpNet>) {
        self.seen().hidden = ranges.into_iter().collect();
    }

    /// Removes exactly this interface from inventories from now on.
    pub(crate) fn hide_interface(&self, interface: Option<InterfaceId>) {
        self.seen().hidden_interface = interface;
    }

    /// Sets whether inventories show interfaces without their lists of addresses, as instance
    /// metadata may for a moment.
    pub(crate) fn hide_lists(&self, hide: bool) {
        self.seen().lists_hidden = hide;
    }

    /// Replaces the node's limits from now on, as a wrong table would.
    pub(crate) fn replace_limits(&self, limits: Limits) {
        self.seen().limits = Some(limits);
    }

    /// All calls so far.
    pub(crate) fn all(&self) -> usize {
        self.seen().calls.len()
    }

    /// The most changes that were under way at one time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen().most_changes_at_once
    }

    /// Changes that met another one on their interface.
    pub(crate) fn collisions(&self) -> Vec<String> {
        self.seen().collisions.clone()
    }
}

/// A change under way. It ends when this is dropped, also when the call is cancelled.
struct UnderWay {
    calls: Calls,
    interface: Option<InterfaceId>,
}

impl UnderWay {
    fn new(calls: &Calls, operation: Operation, interface: Option<&InterfaceId>) -> Self {
        let mut seen = calls.seen();
        seen.calls.push((operation, Instant::now()));
        seen.all_under_way += 1;
        seen.most_changes_at_once = seen.most_changes_at_once.max(seen.all_under_way);
        if let Some(interface) = interface {
            let count = seen.changes_under_way.entry(interface.clone()).or_default();
            *count += 1;
            if *count > 1 {
                let text = format!("{operation} met another change of {interface}");
                seen.collisions.push(text);
            }
        }
        Self {
            calls: calls.clone(),
            interface: interface.cloned(),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut seen = self.calls.seen();
        seen.all_under_way -= 1;
        let interface = self.interface.as_ref();
        if let Some(count) = interface.and_then(|id| seen.changes_under_way.get_mut(id)) {
            *count -= 1;
        }
    }
}

/// The provider.
pub(crate) struct Recorded {
    pub(crate) inner: Arc<dyn Provider>,
    pub(crate) calls: Calls,
}

impl Recorded {
    fn read(&self, operation: Operation) {
        self.calls.seen().calls.push((operation, Instant::now()));
    }
}

#[async_trait]
impl Provider for Recorded {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        self.read(Operation::Node);
        let mut node = self.inner.node().await?;
        if let Some(limits) = self.calls.seen().limits {
            node.limits = limits;
        }
        Ok(node)
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.read(Operation::Inventory);
        let mut inventory = self.inner.inventory().await?;
        let seen = self.calls.seen();
        if seen.subnets_hidden {
            inventory.subnets.clear();
        }
        let hidden = |range: &IpNet| seen.hidden.contains(range);
        let interfaces = &mut inventory.interfaces;
        interfaces.retain(|one| seen.hidden_interface.as_ref() != Some(&one.id));
        for one in interfaces {
            one.addresses
                .retain(|address| !hidden(&IpNet::from(*address)));
            one.prefixes.retain(|prefix| !hidden(prefix));
            if seen.lists_hidden {
                one.own_addresses.clear();
                one.gateways.clear();
                one.subnet_cidrs.clear();
                one.addresses.clear();
                one.prefixes.clear();
            }
        }
        Ok(inventory)
    }

    async fn local_view(&self) -> Option<LocalView> {
        let frozen = {
            let mut seen = self.calls.seen();
            seen.local_views += 1;
            seen.old_view.clone()
        };
        match frozen {
            Some(view) => view,
            None => self.inner.local_view().await,
        }
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        let _under_way = UnderWay::new(&self.calls, Operation::AttachInterface, None);
        self.inner.attach_interface(request).await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        let _under_way = UnderWay::new(&self.calls, Operation::DetachInterface, Some(interface));
        self.inner.detach_interface(interface).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let _under_way = UnderWay::new(&self.calls, Operation::Assign, Some(interface));
        self.inner.assign(interface, slots).await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        let _under_way = UnderWay::new(&self.calls, Operation::Release, Some(interface));
        self.inner.release(interface, grant).await
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        let _under_way = UnderWay::new(&self.calls, change.operation(), change.interface());
        self.inner.begin(change).await
    }

    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        self.inner.resume(operation).await
    }
}
