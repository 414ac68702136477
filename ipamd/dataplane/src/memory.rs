//! An in-memory kernel with the real one's rules, for tests on a paused clock.
//!
//! Names are taken once per namespace, indexes are never used again, a link goes
//! with its namespace and takes its routes along, groups are deleted whole. What it
//! accepts and refuses is held against the real kernel by one conformance suite.
//! Like there, what was started is finished, also when its future is dropped.

mod faults;
mod state;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;

use crate::plan::{
    Difference, EndpointLinks, EndpointPlan, InterfacePlan, InterfaceReport, KernelError, LinkKey,
    NodeAddress, NodePlan, NodeReport, Observed, PodAddress, Repair,
};
use crate::watch::{Changes, Teller, Watch};
use crate::{DataPlane, Enforcement, HostPort, Unenforced, enforcement};
use faults::Faults;
pub use faults::Step;
use state::State;
pub use state::{NamespaceId, PodLink};

/// For how long notifications gather, as those of the real kernel do.
const GATHERING: Duration = Duration::from_millis(50);

/// The in-memory kernel. Clones are the same kernel.
#[derive(Debug, Clone)]
pub struct MemoryKernel {
    state: Arc<Mutex<State>>,
    faults: Arc<Mutex<Faults>>,
    teller: Arc<Teller>,
    enforcement: Arc<dyn Enforcement>,
}

impl Default for MemoryKernel {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            faults: Arc::default(),
            teller: Arc::new(Teller::gathering(GATHERING)),
            enforcement: Arc::new(Unenforced),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryKernel {
    /// A kernel with a primary interface `eth0` of the MAC 02:00:00:00:00:10.
    pub fn new() -> Self {
        let kernel = Self::default();
        kernel.plug("eth0", [0x02, 0, 0, 0, 0, 0x10]);
        kernel
    }

    /// The same kernel, with its endpoints admitted and dismissed by `enforcement`.
    pub fn enforcing(self, enforcement: Arc<dyn Enforcement>) -> Self {
        Self {
            enforcement,
            ..self
        }
    }

    /// Makes a pod's namespace. The descriptor stands for it, as its duplicates do.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn namespace(&self) -> io::Result<(OwnedFd, NamespaceId)> {
        let (descriptor, kept) = rustix::pipe::pipe()?;
        let id = locked(&self.state).add_namespace(&descriptor, Some(kept))?;
        Ok((descriptor, id))
    }

    /// Makes a namespace for which a descriptor of the caller's stands. The file
    /// behind it must stay open for as long as the namespace is used.
    ///
    /// # Errors
    /// The descriptor is closed.
    pub fn register_namespace(&self, descriptor: impl AsFd) -> io::Result<NamespaceId> {
        locked(&self.state).add_namespace(descriptor, None)
    }

    /// Ends a namespace: its links go, and with them the host's ends and routes.
    pub fn destroy_namespace(&self, namespace: NamespaceId) {
        locked(&self.state).destroy_namespace(namespace);
    }

    /// Plugs an interface of the cloud in.
    pub fn plug(&self, name: &str, mac: [u8; 6]) {
        locked(&self.state).plug(name, mac);
        self.tell_of_links();
    }

    /// Unplugs an interface; its routes go, its rules stay.
    pub fn unplug(&self, mac: [u8; 6]) {
        locked(&self.state).unplug(mac);
        self.tell_of_links();
    }

    /// Makes a link that is not ours, in a namespace or on the host.
    pub fn add_foreign_link(&self, namespace: Option<NamespaceId>, name: &str) {
        locked(&self.state).add_foreign_link(namespace, name);
        if namespace.is_none() {
            self.tell_of_links();
        }
    }

    /// Deletes a link of the host's by its index, as an operator might.
    pub fn delete_link(&self, index: u32) {
        let mut state = locked(&self.state);
        let ifb = state.is_our_ifb(index);
        if state.delete_link(index) {
            self.tell_of_links();
        }
        if ifb {
            self.tell_of_limits();
        }
    }

    /// Deletes the route to a pod, as an operator might.
    pub fn delete_route(&self, address: std::net::IpAddr) {
        locked(&self.state).delete_route(address);
        self.teller.tell(Changes {
            pods: true,
            ..Changes::NONE
        });
    }

    /// Deletes the qdiscs of a host's link, as an operator might.
    pub fn delete_qdiscs(&self, index: u32) {
        locked(&self.state).delete_qdiscs(index);
        self.tell_of_limits();
    }

    /// Bits a second of the limits that are in force towards a pod and from it, by the
    /// index of its host's end.
    pub fn rates(&self, host_index: u32) -> (Option<u64>, Option<u64>) {
        locked(&self.state).rates(host_index)
    }

    fn tell_of_limits(&self) {
        self.teller.tell(Changes {
            limits: true,
            ..Changes::NONE
        });
    }

    /// Takes a port of the node away, as an operator might.
    pub fn delete_host_port(&self, port: &HostPort) {
        locked(&self.state).delete_host_port(port);
        self.teller.tell(Changes {
            nftables: true,
            ..Changes::NONE
        });
    }

    /// The ports of the node that lead to pods, in order.
    pub fn host_ports(&self) -> Vec<HostPort> {
        locked(&self.state).host_ports()
    }

    /// Sets the MAC of a host's link, as an operator or a device manager might.
    pub fn set_mac(&self, index: u32, mac: [u8; 6]) {
        locked(&self.state).set_mac(index, mac);
    }

    /// MAC of a host's link.
    pub fn mac(&self, index: u32) -> Option<[u8; 6]> {
        locked(&self.state).mac(index)
    }

    /// Lets dumps lack a link that lives, from now on.
    pub fn hide_from_dumps(&self, index: u32) {
        locked(&self.state).hide_from_dumps(index);
    }

    /// Deletes the rules and routes of an interface's table, as an operator might.
    pub fn flush_table(&self, table: u32) {
        locked(&self.state).remove_interface(table);
        self.teller.tell(Changes {
            rules_and_routes: true,
            ..Changes::NONE
        });
    }

    /// Undoes all that the node was made ready with, as `ip rule flush`, `nft flush
    /// ruleset` and `sysctl` do together.
    pub fn reset_node(&self) {
        locked(&self.state).forget_node();
        self.teller.tell(Changes {
            rules_and_routes: true,
            settings: true,
            nftables: true,
            ..Changes::NONE
        });
    }

    /// Loses notifications, as a kernel does for whom they come too fast.
    pub fn overrun(&self) {
        self.teller.tell(Changes::ANYTHING);
    }

    fn tell_of_links(&self) {
        self.teller.tell(Changes {
            links: true,
            ..Changes::NONE
        });
    }

    /// Switches IPv6 on in a namespace, as a pod with the right to it might.
    pub fn switch_ipv6_on(&self, namespace: NamespaceId) {
        locked(&self.state).switch_ipv6_on(namespace);
    }

    /// What a pod's link of a name has; `None` when there is none.
    pub fn pod_link(&self, namespace: NamespaceId, name: &str) -> Option<PodLink> {
        locked(&self.state).pod_link(namespace, name)
    }

    /// The rules for sources in a pod's namespace, each with its table.
    pub fn pod_rules(&self, namespace: NamespaceId) -> Vec<(std::net::IpAddr, u32)> {
        locked(&self.state).pod_rules(namespace)
    }

    /// Deletes all rules for sources in a pod's namespace, as a pod with the right to it
    /// might.
    pub fn delete_pod_rules(&self, namespace: NamespaceId) {
        locked(&self.state).delete_pod_rules(namespace);
    }

    /// Puts an address on a link of the host, as an operator might.
    pub fn add_address(&self, link: &str, address: IpNet) {
        locked(&self.state).add_address(link, address);
        self.tell_of_addresses();
    }

    /// Takes it away again.
    pub fn remove_address(&self, link: &str, address: IpNet) {
        locked(&self.state).remove_address(link, address);
        self.tell_of_addresses();
    }

    fn tell_of_addresses(&self) {
        self.teller.tell(Changes {
            addresses: true,
            ..Changes::NONE
        });
    }

    /// Index of a link of the host.
    pub fn index_of(&self, name: &str) -> Option<u32> {
        locked(&self.state).index_of(name)
    }

    /// Names of all links of the host, in the order of their making.
    pub fn link_names(&self) -> Vec<String> {
        locked(&self.state).link_names()
    }

    /// Whether a link of the host is there and up.
    pub fn is_up(&self, index: u32) -> bool {
        locked(&self.state).is_up(index)
    }

    /// Group and MTU of a link of the host.
    pub fn group_and_mtu(&self, name: &str) -> Option<(u32, u32)> {
        let mut state = locked(&self.state);
        state.link_named(name).map(|link| (link.group, link.mtu))
    }

    /// Puts a link of the host into a group, as another program might.
    pub fn set_group(&self, name: &str, group: u32) {
        if let Some(link) = locked(&self.state).link_named(name) {
            link.group = group;
        }
    }

    /// The routes to pods, with the index of the link they lead to.
    pub fn routes(&self) -> Vec<(std::net::IpAddr, u32)> {
        locked(&self.state).routes()
    }

    /// Plan of an interface that is in service, by its table.
    pub fn interface(&self, table: u32) -> Option<InterfacePlan> {
        locked(&self.state).interface(table)
    }

    /// The node's plan that was carried out last.
    pub fn node(&self) -> Option<NodePlan> {
        locked(&self.state).node()
    }

    /// Lets the `nth` next time (from 1) that a step is taken fail with an error.
    pub fn fail(&self, step: Step, nth: u32, error: io::ErrorKind) {
        locked(&self.faults).fail(step, nth, error);
    }

    /// Lets a step take time from now on; zero ends it.
    pub fn delay(&self, step: Step, by: Duration) {
        locked(&self.faults).delay(step, by);
    }

    /// How often a step has been begun.
    pub fn taken(&self, step: Step) -> u32 {
        locked(&self.faults).taken(step)
    }

    /// Counts, delays and perhaps fails a step.
    async fn begin(&self, step: Step) -> Result<(), KernelError> {
        let (wait, outcome) = locked(&self.faults).begin(step);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        outcome
    }

    async fn add(
        self,
        plan: EndpointPlan,
        namespace: OwnedFd,
    ) -> Result<EndpointLinks, KernelError> {
        self.begin(Step::CreatePair).await?;
        let (links, fresh) = locked(&self.state).create_pair(&plan, &namespace)?;
        let connected = self.connect(&plan, links).await;
        if connected.is_err() && fresh {
            let mut state = locked(&self.state);
            state.remove_host_ports(&plan.host_ports());
            state.delete_link(links.host_index);
            state.undo_limits(links.host_index);
            state.clear_namespace(&plan, &links, &namespace);
            drop(state); // the enforcement may look
            enforcement::undo(&*self.enforcement, &plan, &links);
        }
        connected.map(|()| links)
    }

    async fn connect(&self, plan: &EndpointPlan, links: EndpointLinks) -> Result<(), KernelError> {
        self.begin(Step::ConfigurePod).await?;
        locked(&self.state).configure_pod(plan, links)?;
        locked(&self.state).ensure_limits(plan, links.host_index)?;
        enforcement::admit(&*self.enforcement, plan, &links)?;
        self.begin(Step::ConfigureHost).await?;
        locked(&self.state).configure_host(plan, links.host_index)
    }

    async fn repair(self, plan: EndpointPlan) -> Result<EndpointLinks, KernelError> {
        self.begin(Step::ConfigureHost).await?;
        let links = locked(&self.state).links_of(&plan)?;
        locked(&self.state).ensure_limits(&plan, links.host_index)?;
        enforcement::admit(&*self.enforcement, &plan, &links)?;
        locked(&self.state).configure_host(&plan, links.host_index)?;
        Ok(links)
    }
}

/// Finishes a job whatever happens to the future that waits for it.
async fn finished<T: Send + 'static>(
    job: impl Future<Output = Result<T, KernelError>> + Send + 'static,
) -> Result<T, KernelError> {
    tokio::spawn(job).await.unwrap_or_else(|error| {
        Err(KernelError::Refused {
            operation: "finish a job of the in-memory kernel".into(),
            reason: io::Error::other(error),
        })
    })
}

#[async_trait]
impl DataPlane for MemoryKernel {
    async fn prepare_node(&self, plan: &NodePlan) -> Result<NodeReport, KernelError> {
        self.begin(Step::PrepareNode).await?;
        locked(&self.state).prepare_node(plan)
    }

    async fn ensure_interface(&self, plan: &InterfacePlan) -> Result<InterfaceReport, KernelError> {
        self.begin(Step::EnsureInterface).await?;
        let (link, index) = locked(&self.state).cloud_link(plan.mac)?;
        enforcement::guard_exit(&*self.enforcement, &link, index)?;
        locked(&self.state).ensure_interface(plan)
    }

    async fn remove_interface(&self, table: u32) -> Result<(), KernelError> {
        self.begin(Step::RemoveInterface).await?;
        locked(&self.state).remove_interface(table);
        Ok(())
    }

    async fn add_endpoint(
        &self,
        plan: &EndpointPlan,
        namespace: Option<OwnedFd>,
    ) -> Result<EndpointLinks, KernelError> {
        let (kernel, plan) = (self.clone(), plan.clone());
        match namespace {
            Some(namespace) => finished(kernel.add(plan, namespace)).await,
            None => finished(kernel.repair(plan)).await,
        }
    }

    async fn remove_endpoint(
        &self,
        addresses: &[PodAddress],
        host_ports: &[HostPort],
        host_link_index: Option<u32>,
    ) -> Result<(), KernelError> {
        let (kernel, addresses, ports) = (self.clone(), addresses.to_vec(), host_ports.to_vec());
        finished(async move {
            kernel.begin(Step::RemoveEndpoint).await?;
            locked(&kernel.state).remove_endpoint(&addresses, &ports, host_link_index);
            enforcement::dismiss(&*kernel.enforcement, &addresses, host_link_index)
        })
        .await
    }

    async fn ensure_limits(
        &self,
        plan: &EndpointPlan,
        host_index: u32,
    ) -> Result<Vec<Repair>, KernelError> {
        let (kernel, plan) = (self.clone(), plan.clone());
        finished(async move {
            kernel.begin(Step::EnsureLimits).await?;
            locked(&kernel.state).ensure_limits(&plan, host_index)
        })
        .await
    }

    async fn remove_limits(&self, host_index: u32) -> Result<(), KernelError> {
        self.begin(Step::RemoveLimits).await?;
        locked(&self.state).remove_limits(host_index);
        Ok(())
    }

    async fn remove_stray_ifb(&self, index: u32) -> Result<bool, KernelError> {
        self.begin(Step::RemoveLimits).await?;
        Ok(locked(&self.state).remove_stray_ifb(index))
    }

    async fn clear_namespace(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        namespace: OwnedFd,
    ) -> Result<(), KernelError> {
        let (kernel, plan, links) = (self.clone(), plan.clone(), *links);
        finished(async move {
            kernel.begin(Step::ClearNamespace).await?;
            locked(&kernel.state).clear_namespace(&plan, &links, &namespace);
            Ok(())
        })
        .await
    }

    async fn check_endpoint(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        namespace: Option<OwnedFd>,
    ) -> Result<Vec<Difference>, KernelError> {
        self.begin(Step::Check).await?;
        locked(&self.state).check(plan, links, namespace.as_ref())
    }

    async fn compare_node(&self, plan: &NodePlan) -> Result<NodeReport, KernelError> {
        self.begin(Step::Check).await?;
        locked(&self.state).compare_node(plan)
    }

    async fn compare_interface(
        &self,
        plan: &InterfacePlan,
    ) -> Result<InterfaceReport, KernelError> {
        self.begin(Step::Check).await?;
        locked(&self.state).compare_interface(plan)
    }

    async fn compare_endpoints(
        &self,
        endpoints: &[(EndpointPlan, EndpointLinks)],
    ) -> Result<Vec<Vec<Difference>>, KernelError> {
        self.begin(Step::Check).await?;
        let state = locked(&self.state);
        let compared = endpoints
            .iter()
            .map(|(plan, links)| state.check(plan, links, None));
        compared.collect()
    }

    async fn observe(&self, known: &[LinkKey]) -> Result<Observed, KernelError> {
        self.begin(Step::Observe).await?;
        Ok(locked(&self.state).observe(known))
    }

    async fn node_addresses(&self) -> Result<Vec<NodeAddress>, KernelError> {
        self.begin(Step::NodeAddresses).await?;
        Ok(locked(&self.state).node_addresses())
    }

    async fn reap(&self, dying: &[u32]) -> Result<Vec<u32>, KernelError> {
        self.begin(Step::Reap).await?;
        Ok(locked(&self.state).reap(dying))
    }

    fn watch(&self) -> Watch {
        self.teller.watch()
    }
}
