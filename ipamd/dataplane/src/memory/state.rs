//! The in-memory kernel's links, namespaces, routes and tables, and its rules.

mod limits;
mod verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use ipnet::IpNet;

use crate::bandwidth::TokenBucket;
use crate::host_ports::{HostPort, PortProtocol};
use crate::plan::{DYING_GROUP, DefaultRoute, InterfacePlan, KernelError, NodePlan, POD_GROUP};

/// A namespace of the in-memory kernel; its number is its cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(pub u64);

/// A link inside a pod's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Index in its namespace.
    pub index: u32,
    /// MAC of the pod's end.
    pub mac: [u8; 6],
    /// MTU, bytes.
    pub mtu: u32,
    /// Addresses, each with its default route and neighbour.
    pub addresses: Vec<IpAddr>,
    /// Whether it was brought up.
    pub up: bool,
    /// MAC of the permanent neighbours that are the next hops.
    pub next_hop: Option<[u8; 6]>,
    /// Index of the host's end; `None` for links that are not ours.
    pub peer: Option<u32>,
    /// Which of the pod's packets leave by it.
    pub default_route: DefaultRoute,
}

#[derive(Debug)]
struct Namespace {
    links: BTreeMap<String, PodLink>,
    next_index: u32,
    no_ipv6: bool,
    /// Rules for sources, each with its table. They outlive links.
    rules: BTreeSet<(IpAddr, u32)>,
    /// Keeps the identity of the file that stands for it from being used again.
    _kept: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) struct HostLink {
    name: String,
    mac: [u8; 6],
    pub(super) mtu: u32,
    pub(super) group: u32,
    up: bool,
    /// Namespace and name of the other end.
    peer: Option<(NamespaceId, String)>,
    /// An ifb device, which packets pass through.
    ifb: bool,
    /// Whether packets from and to loopback addresses pass it.
    routes_loopback: bool,
}

impl HostLink {
    fn is_ours(&self) -> bool {
        matches!(self.group, POD_GROUP | DYING_GROUP) && !self.ifb
    }

    fn is_our_ifb(&self) -> bool {
        matches!(self.group, POD_GROUP | DYING_GROUP) && self.ifb
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PodRoute {
    link_index: u32,
    source: Option<IpAddr>,
}

/// What a port of the node is found by: protocol, number, whether it is of IPv4, and the
/// address that it is for.
type PortKey = (PortProtocol, u16, bool, Option<IpAddr>);

fn port_key(port: &HostPort) -> PortKey {
    (port.protocol, port.port, port.pod.is_ipv4(), port.host)
}

/// Device and inode of the file that stands for a namespace.
type FileIdentity = (u64, u64);

/// Everything the kernel knows.
#[derive(Debug, Default)]
pub(super) struct State {
    links: BTreeMap<u32, HostLink>,
    last_index: u32,
    namespaces: BTreeMap<NamespaceId, Namespace>,
    identities: BTreeMap<FileIdentity, NamespaceId>,
    last_cookie: u64,
    routes: BTreeMap<IpAddr, PodRoute>,
    /// Interfaces in service, by table.
    tables: BTreeMap<u32, InterfacePlan>,
    node: Option<NodePlan>,
    /// Ports of the node that lead to pods; `None` where there is no table for them.
    host_ports: Option<BTreeMap<PortKey, HostPort>>,
    /// What others have put on links, by the link's index.
    addresses: BTreeMap<u32, BTreeSet<IpNet>>,
    /// Links that dumps lack.
    hidden: BTreeSet<u32>,
    /// Limits of packets that leave by a link, by the link's index.
    buckets: BTreeMap<u32, TokenBucket>,
    /// Where what comes in on a link is redirected to, by the link's index.
    redirects: BTreeMap<u32, u32>,
}

impl State {
    pub(super) fn add_namespace(
        &mut self,
        descriptor: impl AsFd,
        kept: Option<OwnedFd>,
    ) -> io::Result<NamespaceId> {
        let identity = identity(descriptor)?;
        self.last_cookie += 1;
        let id = NamespaceId(self.last_cookie);
        self.identities.insert(identity, id);
        let namespace = Namespace {
            links: BTreeMap::new(),
            next_index: 2, // 1 is lo
            no_ipv6: false,
            rules: BTreeSet::new(),
            _kept: kept,
        };
        self.namespaces.insert(id, namespace);
        Ok(id)
    }

    pub(super) fn destroy_namespace(&mut self, id: NamespaceId) {
        let peers = self.namespaces.get(&id).map(|namespace| {
            let links = namespace.links.values();
            links.filter_map(|link| link.peer).collect::<Vec<u32>>()
        });
        for index in peers.unwrap_or_default() {
            self.delete_link(index);
        }
        self.namespaces.remove(&id);
        // The identity stays: its file exists, but is no namespace any more.
    }

    /// The namespace that a descriptor stands for.
    fn namespace_of(&self, descriptor: &OwnedFd) -> Result<NamespaceId, KernelError> {
        let found = identity(descriptor).ok();
        let id = found.and_then(|identity| self.identities.get(&identity));
        id.filter(|id| self.namespaces.contains_key(id))
            .copied()
            .ok_or(KernelError::NamespaceGone)
    }

    fn new_link(&mut self, link: HostLink) -> u32 {
        self.last_index += 1;
        self.links.insert(self.last_index, link);
        self.last_index
    }

    pub(super) fn index_of(&self, name: &str) -> Option<u32> {
        let mut links = self.links.iter();
        links
            .find(|(_, link)| link.name == name)
            .map(|(index, _)| *index)
    }

    pub(super) fn link_named(&mut self, name: &str) -> Option<&mut HostLink> {
        self.links.values_mut().find(|link| link.name == name)
    }

    pub(super) fn plug(&mut self, name: &str, mac: [u8; 6]) {
        if self.index_of(name).is_none() {
            self.new_link(HostLink {
                name: name.to_owned(),
                mac,
                mtu: 1500,
                group: 0,
                up: false,
                peer: None,
                ifb: false,
                routes_loopback: false,
            });
        }
    }

    pub(super) fn unplug(&mut self, mac: [u8; 6]) {
        self.links
            .retain(|_, link| link.mac != mac || link.is_ours() || link.is_our_ifb());
    }

    pub(super) fn add_foreign_link(&mut self, namespace: Option<NamespaceId>, name: &str) {
        let mac = [0x0a, 0, 0, 0, 0, 1];
        match namespace {
            None => self.plug(name, mac),
            Some(id) => {
                if let Some(namespace) = self.namespaces.get_mut(&id) {
                    let link = PodLink {
                        index: namespace.next_index,
                        mac,
                        mtu: 1500,
                        addresses: Vec::new(),
                        up: false,
                        next_hop: None,
                        peer: None,
                        default_route: DefaultRoute::None,
                    };
                    namespace.next_index += 1;
                    namespace.links.insert(name.to_owned(), link);
                }
            }
        }
    }

    /// Deletes a link, its other end, and the routes that lead to it; says whether it
    /// was one of the node itself.
    pub(super) fn delete_link(&mut self, index: u32) -> bool {
        let Some(link) = self.links.remove(&index) else {
            return false;
        };
        let of_the_node = !link.is_ours() && !link.is_our_ifb();
        if let Some((id, name)) = link.peer
            && let Some(namespace) = self.namespaces.get_mut(&id)
        {
            namespace.links.remove(&name);
        }
        self.routes.retain(|_, route| route.link_index != index);
        self.buckets.remove(&index);
        self.redirects.remove(&index);
        of_the_node
    }

    pub(super) fn is_our_ifb(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(HostLink::is_our_ifb)
    }

    pub(super) fn set_mac(&mut self, index: u32, mac: [u8; 6]) {
        if let Some(link) = self.links.get_mut(&index) {
            link.mac = mac;
        }
    }

    pub(super) fn mac(&self, index: u32) -> Option<[u8; 6]> {
        self.links.get(&index).map(|link| link.mac)
    }

    pub(super) fn is_up(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|link| link.up)
    }

    pub(super) fn hide_from_dumps(&mut self, index: u32) {
        self.hidden.insert(index);
    }

    pub(super) fn forget_node(&mut self) {
        self.node = None;
        self.host_ports = None;
    }

    pub(super) fn delete_host_port(&mut self, port: &HostPort) {
        if let Some(ports) = &mut self.host_ports {
            ports.remove(&port_key(port));
        }
    }

    pub(super) fn host_ports(&self) -> Vec<HostPort> {
        let all = self.host_ports.iter().flat_map(BTreeMap::values);
        let mut all: Vec<HostPort> = all.copied().collect();
        all.sort_unstable();
        all
    }

    pub(super) fn delete_route(&mut self, address: IpAddr) {
        self.routes.remove(&address);
    }

    pub(super) fn pod_link(&self, id: NamespaceId, name: &str) -> Option<PodLink> {
        self.namespaces.get(&id)?.links.get(name).cloned()
    }

    pub(super) fn pod_rules(&self, id: NamespaceId) -> Vec<(IpAddr, u32)> {
        let rules = self.namespaces.get(&id).map(|namespace| &namespace.rules);
        rules.into_iter().flatten().copied().collect()
    }

    pub(super) fn delete_pod_rules(&mut self, id: NamespaceId) {
        if let Some(namespace) = self.namespaces.get_mut(&id) {
            namespace.rules.clear();
        }
    }

    pub(super) fn switch_ipv6_on(&mut self, id: NamespaceId) {
        if let Some(namespace) = self.namespaces.get_mut(&id) {
            namespace.no_ipv6 = false;
        }
    }

    pub(super) fn link_names(&self) -> Vec<String> {
        self.links.values().map(|link| link.name.clone()).collect()
    }

    pub(super) fn routes(&self) -> Vec<(IpAddr, u32)> {
        let routes = self.routes.iter();
        routes
            .map(|(address, route)| (*address, route.link_index))
            .collect()
    }

    pub(super) fn add_address(&mut self, link: &str, address: IpNet) {
        if let Some(index) = self.index_of(link) {
            self.addresses.entry(index).or_default().insert(address);
        }
    }

    pub(super) fn remove_address(&mut self, link: &str, address: IpNet) {
        let on_link = self
            .index_of(link)
            .and_then(|index| self.addresses.get_mut(&index));
        if let Some(addresses) = on_link {
            addresses.remove(&address);
        }
    }

    pub(super) fn interface(&self, table: u32) -> Option<InterfacePlan> {
        self.tables.get(&table).cloned()
    }

    pub(super) fn node(&self) -> Option<NodePlan> {
        self.node.clone()
    }
}

fn identity(descriptor: impl AsFd) -> io::Result<FileIdentity> {
    let status = rustix::fs::fstat(descriptor)?;
    Ok((status.st_dev, status.st_ino))
}
