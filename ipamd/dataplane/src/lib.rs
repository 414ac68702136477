//! The kernel side of a pod's network: links, addresses, routes, rules and
//! nftables, behind one trait of idempotent verbs ([`DataPlane`]), and a watch of what
//! others change.
//!
//! It keeps no state but its sockets: what it has made, it finds again by its
//! own protocol number and link groups. It decides nothing about addresses.

mod bandwidth;
#[cfg(feature = "memory")]
pub mod conformance;
mod enforcement;
pub mod host_ports;
mod kernel;
#[cfg(feature = "memory")]
pub mod memory;
pub mod plan;
mod watch;

use std::os::fd::OwnedFd;

use async_trait::async_trait;

pub use bandwidth::{Bandwidth, Limit, NoSuchRate, RATES, TokenBucket, ifb_name};
pub use enforcement::{Enforcement, EnforcementError, Unenforced};
pub use host_ports::{HostPort, PortMapping, PortProtocol};
pub use kernel::Kernel;
pub use kernel::nft_elements;
#[cfg(feature = "fuzz")]
pub use kernel::read_datagram;
pub use kernel::{Statistic, link_statistics};
pub use plan::{
    Aspect, DefaultRoute, Difference, EndpointLinks, EndpointPlan, ForeignRule, HalfPort,
    InterfacePlan, InterfaceReport, KernelError, LinkKey, Mark, NodeAddress, NodePlan, NodeReport,
    Observed, ObservedEndpoint, ObservedLink, PodAddress, Repair, RepairKind, SourceRouting,
};
pub use watch::{Changes, Watch};

/// The kernel, as far as the daemon needs it.
///
/// Two implementations pass one conformance suite: the real kernel by netlink,
/// and an in-memory one with the same rules for tests on a paused clock. All
/// verbs are idempotent; a verb that fails half way can be repeated or undone
/// by its opposite.
#[async_trait]
pub trait DataPlane: Send + Sync + 'static {
    /// Makes the node ready: host settings, the pod table's rule, marks and
    /// source NAT. Run at start and again whenever the plan has changed.
    ///
    /// # Errors
    /// What the kernel refused. A setting that could not be made but is not
    /// needed by every pod is reported in the answer instead.
    async fn prepare_node(&self, plan: &NodePlan) -> Result<NodeReport, KernelError>;

    /// Brings an interface into service: link up, its table, the rule for its
    /// own addresses, and those of `plan.source_routing`; rules
    /// of ours for the same table that are not in the plan are removed.
    ///
    /// # Errors
    /// [`KernelError::NoSuchLink`] while the interface has not appeared.
    async fn ensure_interface(&self, plan: &InterfacePlan) -> Result<InterfaceReport, KernelError>;

    /// Takes an interface out of service: its table's rules and routes.
    ///
    /// # Errors
    /// What the kernel refused; an interface that is gone is success.
    async fn remove_interface(&self, table: u32) -> Result<(), KernelError>;

    /// Gives a pod its network, in the order of the plan: veth pair with the
    /// peer in the pod's namespace, addresses, routes and neighbour there; the endpoint
    /// admitted by the [`Enforcement`]; the host's end up, the pod's routes on the host;
    /// the ports of the node that lead to it. For UDP, flows that would go on past those
    /// ports are forgotten.
    /// Undoes everything if a step fails, but
    /// for IPv6 that it has switched off in the namespace.
    /// Repeated for the same plan it changes nothing.
    ///
    /// Without a namespace it only completes the host's side of an endpoint
    /// whose veth pair exists: the audit repairs routes and ports that somebody removed, and
    /// the MAC of the host's end, which the pod sends to.
    /// The answer's namespace cookie is then 0.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`], [`KernelError::LinkTaken`] when a link
    /// of the pod's interface name exists that is not ours,
    /// [`KernelError::NotEnforced`], [`KernelError::NoSuchSet`] where the plan has ports
    /// of the node and the table for them is not there, and what the kernel refused.
    async fn add_endpoint(
        &self,
        plan: &EndpointPlan,
        namespace: Option<OwnedFd>,
    ) -> Result<EndpointLinks, KernelError>;

    /// Takes a pod's network away: the ports of the node that lead to it, and no port of
    /// the same number that leads elsewhere by now; its routes, then the host's end of its
    /// veth pair into the dying group with the link down; then the [`Enforcement`] dismisses
    /// it. Does not wait for the link to go.
    ///
    /// # Errors
    /// What the kernel refused, and [`KernelError::NotEnforced`]; what is gone already is
    /// success.
    async fn remove_endpoint(
        &self,
        addresses: &[PodAddress],
        host_ports: &[HostPort],
        host_link_index: Option<u32>,
    ) -> Result<(), KernelError>;

    /// Makes an endpoint's limits ([`EndpointPlan::bandwidth`]) as its plan has them, and
    /// answers what was not. `host_index` is that of its host's end. Makes what
    /// [`DataPlane::add_endpoint`] makes of limits, and nothing else.
    ///
    /// # Errors
    /// [`KernelError::LinkTaken`] where a link that is not ours has the name of the
    /// endpoint's ifb device, and what the kernel refused.
    async fn ensure_limits(
        &self,
        plan: &EndpointPlan,
        host_index: u32,
    ) -> Result<Vec<Repair>, KernelError>;

    /// Takes what an endpoint's limits do not take along when its link goes: the ifb device
    /// that its packets pass through, into the dying group. `host_index` is that of its
    /// host's end, which may be gone. What it has not is success.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn remove_limits(&self, host_index: u32) -> Result<(), KernelError>;

    /// Deletes an ifb device of ours ([`Observed::stray_ifbs`]) if its endpoint's link is
    /// gone still, and says whether it did.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn remove_stray_ifb(&self, index: u32) -> Result<bool, KernelError>;

    /// Takes out of a pod's namespace what an endpoint's link does not take along when
    /// it goes: the rules for its addresses, where the plan has some; and a default route
    /// in front of others at once. A pod may lose one interface and live on. A namespace that is gone or another pod's is left alone.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn clear_namespace(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        namespace: OwnedFd,
    ) -> Result<(), KernelError>;

    /// Compares a pod's network with its plan. The pod's side is compared when
    /// its namespace is given.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn check_endpoint(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        namespace: Option<OwnedFd>,
    ) -> Result<Vec<Difference>, KernelError>;

    /// Compares the node with its plan, as [`DataPlane::prepare_node`] does, and changes
    /// nothing: the repairs in the answer are what that would mend.
    ///
    /// # Errors
    /// What the kernel refused; [`KernelError::NoSuchLink`] without the primary interface.
    async fn compare_node(&self, plan: &NodePlan) -> Result<NodeReport, KernelError>;

    /// Compares an interface with its plan, as [`DataPlane::ensure_interface`] does, and
    /// changes nothing: the repairs in the answer are what that would mend.
    ///
    /// # Errors
    /// [`KernelError::NoSuchLink`] while the interface has no link.
    async fn compare_interface(&self, plan: &InterfacePlan)
    -> Result<InterfaceReport, KernelError>;

    /// Compares the node's side of many pods' networks at once, as
    /// [`DataPlane::check_endpoint`] does of one: links and routes are listed once. The
    /// answer has the differences of each, in the same order.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn compare_endpoints(
        &self,
        endpoints: &[(EndpointPlan, EndpointLinks)],
    ) -> Result<Vec<Vec<Difference>>, KernelError>;

    /// Everything of ours that is in the kernel now. Dumps tables: for start
    /// and the slow audit, never on the way of an ADD or DEL. A link of `known` that the
    /// dump lacks is asked for by itself, so that what is missing in the answer is gone.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn observe(&self, known: &[LinkKey]) -> Result<Observed, KernelError>;

    /// The addresses of all links of the node itself, whoever put them there, in order.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn node_addresses(&self) -> Result<Vec<NodeAddress>, KernelError>;

    /// Deletes all links of the dying group in one request and returns which are
    /// left of those asked about.
    ///
    /// # Errors
    /// What the kernel refused.
    async fn reap(&self, dying: &[u32]) -> Result<Vec<u32>, KernelError>;

    /// Listens to what others change from now on. Our own changes are not told, but for
    /// those of nftables and of links: the kernel does not always say who made them. That
    /// costs one comparison.
    fn watch(&self) -> Watch;
}
