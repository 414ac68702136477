//! The real kernel, by rtnetlink and `nft`.
//!
//! Two threads make changes: endpoints have one of their own, so that no ADD waits
//! behind a dump or a program. The kernel lets one request at a time change links, so
//! a second one for endpoints gained little; and with one, a repeated ADD finds what the
//! one before has done, even if nobody waited for it. A third thread compares and makes no
//! change, so that no ADD waits for an operator's question; a repair of the node does, as
//! the two must not look at one nftables table while it is loaded. A fourth listens to what
//! others change.

mod address;
mod bandwidth;
mod endpoint;
mod errno;
mod firewall;
mod flows;
mod host_ports;
mod inspect;
mod interface;
mod link;
mod main_table;
mod neighbour;
mod netlink;
mod nft;
pub mod nft_elements;
mod node;
mod others;
mod others_rule;
mod qdisc;
#[cfg(feature = "fuzz")]
mod reading;
mod route;
mod rule;
mod settings;
mod statistics;
mod sys;
mod watch;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::plan::{
    Difference, EndpointLinks, EndpointPlan, InterfacePlan, InterfaceReport, KernelError, LinkKey,
    NodeAddress, NodePlan, NodeReport, Observed, PodAddress, Repair,
};
use crate::{DataPlane, Enforcement, HostPort, PortProtocol, Unenforced, Watch, enforcement};
use flows::Flows;
use node::Loaded;
#[cfg(feature = "fuzz")]
pub use reading::read_datagram;
pub use statistics::{Statistic, link_statistics};
use watch::Listener;
use worker::Worker;

/// The kernel, in the network namespace that this was made in. Linux 5.14 or later.
///
/// What was started is finished, also when its future is dropped.
pub struct Kernel {
    endpoints: Worker,
    slow: Worker,
    comparing: Worker,
    listener: Listener,
    loaded: Arc<Mutex<Loaded>>,
    enforcement: Arc<dyn Enforcement>,
}

impl Kernel {
    /// A kernel whose pods nobody enforces anything on; see [`Kernel::try_enforcing`].
    ///
    /// # Errors
    /// As [`Kernel::try_enforcing`].
    pub fn try_new() -> io::Result<Self> {
        Self::try_enforcing(Arc::new(Unenforced))
    }

    /// Opens the sockets in the calling thread's network namespace; everything
    /// that is done later is done there, and nothing else is opened for it. Every
    /// endpoint is admitted and dismissed by `enforcement`.
    ///
    /// # Errors
    /// No netlink socket, or no thread. Without CAP_SYS_ADMIN and CAP_NET_ADMIN the
    /// verbs fail, not this.
    pub fn try_enforcing(enforcement: Arc<dyn Enforcement>) -> io::Result<Self> {
        let endpoints = Worker::try_new("veni-endpoint", &*enforcement)?;
        let slow = Worker::try_new("veni-kernel", &*enforcement)?;
        let own = [endpoints.ports(), slow.ports()];
        Ok(Self {
            endpoints,
            slow,
            comparing: Worker::try_comparing("veni-compare", &*enforcement)?,
            listener: Listener::try_new(&own)?,
            loaded: Arc::default(),
            enforcement,
        })
    }
}

impl Kernel {
    /// Lets the kernel forget flows of UDP, whose clients go on and on where they were first
    /// led. Nobody waits for it: it may take as long as conntrack has entries.
    fn forget_flows(&self, mut ports: Vec<HostPort>, which: Flows) {
        ports.retain(|port| port.protocol == PortProtocol::Udp);
        if !ports.is_empty() {
            self.slow
                .start(move |host| flows::forget(host, &ports, which));
        }
    }
}

#[async_trait]
impl DataPlane for Kernel {
    async fn prepare_node(&self, plan: &NodePlan) -> Result<NodeReport, KernelError> {
        let (plan, loaded) = (plan.clone(), Arc::clone(&self.loaded));
        self.slow
            .run(move |host| {
                let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                node::prepare(host, &plan, &mut loaded)
            })
            .await
    }

    async fn ensure_interface(&self, plan: &InterfacePlan) -> Result<InterfaceReport, KernelError> {
        let (plan, enforcement) = (plan.clone(), Arc::clone(&self.enforcement));
        self.slow
            .run(move |host| interface::ensure(host, &*enforcement, &plan))
            .await
    }

    async fn remove_interface(&self, table: u32) -> Result<(), KernelError> {
        self.slow
            .run(move |host| interface::remove(host, table))
            .await
    }

    async fn add_endpoint(
        &self,
        plan: &EndpointPlan,
        namespace: Option<OwnedFd>,
    ) -> Result<EndpointLinks, KernelError> {
        let ports = plan.host_ports();
        let (plan, enforcement) = (plan.clone(), Arc::clone(&self.enforcement));
        let links = self
            .endpoints
            .run(move |host| match &namespace {
                Some(namespace) => endpoint::add(host, &*enforcement, &plan, namespace),
                None => endpoint::complete_host_side(host, &*enforcement, &plan),
            })
            .await?;
        self.forget_flows(ports, Flows::PastTheirPods);
        Ok(links)
    }

    async fn remove_endpoint(
        &self,
        addresses: &[PodAddress],
        host_ports: &[HostPort],
        host_link_index: Option<u32>,
    ) -> Result<(), KernelError> {
        let (addresses, enforcement) = (addresses.to_vec(), Arc::clone(&self.enforcement));
        let (ports, gone) = (host_ports.to_vec(), host_ports.to_vec());
        self.endpoints
            .run(move |host| {
                endpoint::remove(host, &*enforcement, &addresses, &ports, host_link_index)
            })
            .await?;
        self.forget_flows(gone, Flows::ToTheirPods);
        Ok(())
    }

    async fn ensure_limits(
        &self,
        plan: &EndpointPlan,
        host_index: u32,
    ) -> Result<Vec<Repair>, KernelError> {
        let (plan, enforcement) = (plan.clone(), Arc::clone(&self.enforcement));
        self.endpoints
            .run(move |host| {
                let repairs = bandwidth::ensure(host, &plan, host_index)?;
                if !repairs.is_empty() && enforcement.redirects() {
                    // It leads to the device that was there before.
                    let links = EndpointLinks {
                        host_index,
                        pod_index: 0,
                        namespace_cookie: 0,
                    };
                    enforcement::admit(&*enforcement, &plan, &links)?;
                }
                Ok(repairs)
            })
            .await
    }

    async fn remove_limits(&self, host_index: u32) -> Result<(), KernelError> {
        self.endpoints
            .run(move |host| bandwidth::remove(host, host_index))
            .await
    }

    async fn remove_stray_ifb(&self, index: u32) -> Result<bool, KernelError> {
        self.slow
            .run(move |host| bandwidth::remove_stray(host, index))
            .await
    }

    async fn clear_namespace(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        namespace: OwnedFd,
    ) -> Result<(), KernelError> {
        let (plan, links) = (plan.clone(), *links);
        self.endpoints
            .run(move |host| endpoint::clear_namespace(host, &plan, &links, &namespace))
            .await
    }

    async fn check_endpoint(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        namespace: Option<OwnedFd>,
    ) -> Result<Vec<Difference>, KernelError> {
        let (plan, links) = (plan.clone(), *links);
        self.slow
            .run(move |host| inspect::check(host, &plan, &links, namespace.as_ref()))
            .await
    }

    async fn compare_node(&self, plan: &NodePlan) -> Result<NodeReport, KernelError> {
        let (plan, loaded) = (plan.clone(), Arc::clone(&self.loaded));
        self.comparing
            .run(move |host| {
                let loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let mut loaded = loaded.clone();
                node::prepare(host, &plan, &mut loaded)
            })
            .await
    }

    async fn compare_interface(
        &self,
        plan: &InterfacePlan,
    ) -> Result<InterfaceReport, KernelError> {
        let plan = plan.clone();
        self.comparing
            .run(move |host| interface::ensure(host, &Unenforced, &plan))
            .await
    }

    async fn compare_endpoints(
        &self,
        endpoints: &[(EndpointPlan, EndpointLinks)],
    ) -> Result<Vec<Vec<Difference>>, KernelError> {
        let endpoints = endpoints.to_vec();
        self.comparing
            .run(move |host| inspect::check_all(host, &endpoints))
            .await
    }

    async fn observe(&self, known: &[LinkKey]) -> Result<Observed, KernelError> {
        let known = known.to_vec();
        self.slow
            .run(move |host| inspect::observe(host, &known))
            .await
    }

    async fn node_addresses(&self) -> Result<Vec<NodeAddress>, KernelError> {
        self.slow.run(inspect::node_addresses).await
    }

    async fn reap(&self, dying: &[u32]) -> Result<Vec<u32>, KernelError> {
        let dying = dying.to_vec();
        self.slow
            .run(move |host| endpoint::reap(host, &dying))
            .await
    }

    fn watch(&self) -> Watch {
        self.listener.teller().watch()
    }
}
