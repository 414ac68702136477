//! The real kernel, by rtnetlink and `nft`.
//!
//! Two threads make changes: endpoints have one of their own, so that no ADD waits
//! behind a dump or a program. The kernel lets one request at a time change links, so
//! a second one for endpoints gained little; and with one, a repeated ADD finds what the
//! one before has done, even if nobody waited for it. A third thread listens to what
//! others change.

mod address;
mod endpoint;
mod errno;
mod inspect;
mod interface;
mod link;
mod main_table;
mod neighbour;
mod netlink;
mod nft;
mod node;
mod others;
mod others_rule;
mod route;
mod rule;
mod settings;
mod sys;
mod watch;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::DataPlane;
use crate::Watch;
use crate::plan::{
    Difference, EndpointLinks, EndpointPlan, InterfacePlan, InterfaceReport, KernelError, LinkKey,
    NodeAddress, NodePlan, NodeReport, Observed, PodAddress,
};
use node::Loaded;
use watch::Listener;
use worker::Worker;

/// The kernel, in the network namespace that this was made in. Linux 5.14 or later.
///
/// What was started is finished, also when its future is dropped.
pub struct Kernel {
    endpoints: Worker,
    slow: Worker,
    listener: Listener,
    loaded: Arc<Mutex<Loaded>>,
}

impl Kernel {
    /// Opens the sockets in the calling thread's network namespace; everything
    /// that is done later is done there, and nothing else is opened for it.
    ///
    /// # Errors
    /// No netlink socket, or no thread. Without CAP_SYS_ADMIN and CAP_NET_ADMIN the
    /// verbs fail, not this.
    pub fn try_new() -> io::Result<Self> {
        let endpoints = Worker::try_new("veni-endpoint")?;
        let slow = Worker::try_new("veni-kernel")?;
        let own = vec![endpoints.port(), slow.port()];
        Ok(Self {
            endpoints,
            slow,
            listener: Listener::try_new(own)?,
            loaded: Arc::default(),
        })
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
        let plan = plan.clone();
        self.slow
            .run(move |host| interface::ensure(host, &plan))
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
        let plan = plan.clone();
        self.endpoints
            .run(move |host| match &namespace {
                Some(namespace) => endpoint::add(host, &plan, namespace),
                None => endpoint::complete_host_side(host, &plan),
            })
            .await
    }

    async fn remove_endpoint(
        &self,
        addresses: &[PodAddress],
        host_link_index: Option<u32>,
    ) -> Result<(), KernelError> {
        let addresses = addresses.to_vec();
        self.endpoints
            .run(move |host| endpoint::remove(host, &addresses, host_link_index))
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
