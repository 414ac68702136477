//! The verbs, as changes of the in-memory kernel's state.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use super::{HostLink, NamespaceId, PodLink, PodRoute, State, port_key};
use crate::host_ports::HostPort;
use crate::plan::{
    Aspect, DYING_GROUP, DefaultRoute, Difference, EndpointLinks, EndpointPlan, InterfacePlan,
    InterfaceReport, KernelError, LinkKey, NodeAddress, NodePlan, NodeReport, Observed,
    ObservedEndpoint, ObservedLink, POD_GROUP, PodAddress, Repair, RepairKind, SECONDARY_GROUP,
};

/// Bytes of the longest link name.
const LONGEST_NAME: usize = 15;

fn refused(operation: String, kind: io::ErrorKind) -> KernelError {
    KernelError::Refused {
        operation,
        reason: kind.into(),
    }
}

fn is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.contains(|letter: char| letter == '/' || letter == ':' || letter.is_whitespace())
}

impl State {
    pub(in crate::memory) fn prepare_node(
        &mut self,
        plan: &NodePlan,
    ) -> Result<NodeReport, KernelError> {
        let report = self.compare_node(plan)?;
        if let Some(link) = self.link_named(&report.primary_link) {
            link.mtu = plan.primary_mtu.unwrap_or(link.mtu);
        }
        self.node = Some(plan.clone());
        self.host_ports.get_or_insert_default();
        Ok(report)
    }

    pub(in crate::memory) fn compare_node(
        &self,
        plan: &NodePlan,
    ) -> Result<NodeReport, KernelError> {
        let (primary_link, _) = self.cloud_link(plan.primary_mac)?;
        let mut repairs = Vec::new();
        if self.node.is_none() {
            let kinds = [RepairKind::Rule, RepairKind::Setting, RepairKind::Nftables];
            let repair = |kind| {
                let object = format!("the node's {kind:?}");
                Repair::new(kind, object, "missing", "pods' packets are lost")
            };
            repairs.extend(kinds.map(repair));
        }
        Ok(NodeReport {
            primary_link,
            repairs,
            warnings: Vec::new(),
            foreign_rules: Vec::new(),
        })
    }

    /// The link of the cloud with this MAC, and its index.
    pub(in crate::memory) fn cloud_link(&self, mac: [u8; 6]) -> Result<(String, u32), KernelError> {
        let mut links = self.links.iter();
        let found = links.find(|(_, link)| link.mac == mac && !link.is_ours());
        let found = found.map(|(index, link)| (link.name.clone(), *index));
        found.ok_or_else(|| {
            let bytes = mac.map(|byte| format!("{byte:02x}"));
            KernelError::NoSuchLink(format!("with MAC {}", bytes.join(":")))
        })
    }

    pub(in crate::memory) fn ensure_interface(
        &mut self,
        plan: &InterfacePlan,
    ) -> Result<InterfaceReport, KernelError> {
        let report = self.compare_interface(plan)?;
        if let Some(link) = self.link_named(&report.link) {
            link.up = true;
            link.mtu = plan.mtu.unwrap_or(link.mtu);
            link.group = match plan.primary {
                true if link.group == SECONDARY_GROUP => 0,
                true => link.group,
                false => SECONDARY_GROUP,
            };
        }
        if plan.primary {
            self.tables.remove(&plan.table);
        } else {
            self.tables.insert(plan.table, plan.clone());
        }
        Ok(report)
    }

    pub(in crate::memory) fn compare_interface(
        &self,
        plan: &InterfacePlan,
    ) -> Result<InterfaceReport, KernelError> {
        let (name, _) = self.cloud_link(plan.mac)?;
        let mut repairs = Vec::new();
        if !plan.primary && self.tables.get(&plan.table) != Some(plan) {
            repairs.push(Repair::new(
                RepairKind::Rule,
                format!("what leads pods' packets to {name}"),
                "missing",
                "packets of its pods are lost",
            ));
        }
        Ok(InterfaceReport {
            link: name,
            repairs,
        })
    }

    /// What others have put on links that are there, and secondary interfaces' own.
    pub(in crate::memory) fn node_addresses(&self) -> Vec<NodeAddress> {
        let node_address = |address: IpNet, link: &str| NodeAddress {
            address: address.addr(),
            length: address.prefix_len(),
            link: link.to_owned(),
        };
        let mut found = Vec::new();
        for (index, link) in &self.links {
            let others = self.addresses.get(index).into_iter().flatten();
            found.extend(others.map(|address| node_address(*address, &link.name)));
            let plans = self.tables.values();
            let own = plans.filter(|plan| plan.mac == link.mac && !link.is_ours());
            let own = own.flat_map(|plan| &plan.own_addresses);
            found.extend(own.map(|own| node_address(IpNet::from(*own), &link.name)));
        }
        found.sort();
        found.dedup();
        found
    }

    pub(in crate::memory) fn remove_interface(&mut self, table: u32) {
        self.tables.remove(&table);
    }

    /// Makes the pair; `false` when it was there already.
    pub(in crate::memory) fn create_pair(
        &mut self,
        plan: &EndpointPlan,
        descriptor: &OwnedFd,
    ) -> Result<(EndpointLinks, bool), KernelError> {
        let id = self.namespace_of(descriptor)?;
        for name in [&plan.host_link, &plan.pod_link] {
            if !is_valid(name) {
                let operation = format!("create veth pair with the name {name}");
                return Err(refused(operation, io::ErrorKind::InvalidInput));
            }
        }
        self.delete_the_dying(plan, id);
        if let Some(index) = self.index_of(&plan.host_link) {
            let links = self.same_pair(plan, id, index);
            let taken = || KernelError::LinkTaken(plan.host_link.clone());
            return links.map(|links| (links, false)).ok_or_else(taken);
        }
        if self.pod_link(id, &plan.pod_link).is_some() {
            return Err(KernelError::LinkTaken(plan.pod_link.clone()));
        }
        Ok((self.new_pair(plan, id), true))
    }

    /// Links that are dying give their names up to who needs them.
    fn delete_the_dying(&mut self, plan: &EndpointPlan, id: NamespaceId) {
        let by_name = self.index_of(&plan.host_link);
        let by_peer = self.pod_link(id, &plan.pod_link).and_then(|link| link.peer);
        for index in by_name.into_iter().chain(by_peer) {
            if self
                .links
                .get(&index)
                .is_some_and(|link| link.group == DYING_GROUP)
            {
                self.delete_link(index);
            }
        }
    }

    fn same_pair(&self, plan: &EndpointPlan, id: NamespaceId, index: u32) -> Option<EndpointLinks> {
        let link = self.links.get(&index)?;
        let pods_end = self.pod_link(id, &plan.pod_link)?;
        let same = link.group == POD_GROUP
            && link.mac == plan.host_mac
            && pods_end.mac == plan.pod_mac
            && pods_end.peer == Some(index);
        same.then_some(EndpointLinks {
            host_index: index,
            pod_index: pods_end.index,
            namespace_cookie: id.0,
        })
    }

    fn new_pair(&mut self, plan: &EndpointPlan, id: NamespaceId) -> EndpointLinks {
        let host_index = self.new_link(HostLink {
            name: plan.host_link.clone(),
            mac: plan.host_mac,
            mtu: plan.mtu,
            group: POD_GROUP,
            up: false,
            peer: Some((id, plan.pod_link.clone())),
            ifb: false,
            routes_loopback: false,
        });
        let mut pod_index = 0;
        if let Some(namespace) = self.namespaces.get_mut(&id) {
            pod_index = namespace.next_index;
            namespace.next_index += 1;
            let link = PodLink {
                index: pod_index,
                mac: plan.pod_mac,
                mtu: plan.mtu,
                addresses: Vec::new(),
                up: false,
                next_hop: None,
                peer: Some(host_index),
                default_route: plan.default_route,
            };
            namespace.links.insert(plan.pod_link.clone(), link);
        }
        EndpointLinks {
            host_index,
            pod_index,
            namespace_cookie: id.0,
        }
    }

    pub(in crate::memory) fn configure_pod(
        &mut self,
        plan: &EndpointPlan,
        links: EndpointLinks,
    ) -> Result<(), KernelError> {
        let id = NamespaceId(links.namespace_cookie);
        let namespace = self
            .namespaces
            .get_mut(&id)
            .ok_or(KernelError::NamespaceGone)?;
        let mut others = namespace.links.iter();
        if others.any(|(name, other)| *name != plan.pod_link && has_its_route(other, plan)) {
            let operation = format!("add a default route on {}", plan.pod_link);
            return Err(refused(operation, io::ErrorKind::AlreadyExists));
        }
        let link = namespace
            .links
            .get_mut(&plan.pod_link)
            .ok_or(KernelError::NamespaceGone)?;
        link.up = true;
        link.next_hop = Some(plan.host_mac);
        link.addresses = addresses(plan);
        namespace.no_ipv6 |= plan.no_ipv6;
        namespace.rules.extend(rules(plan, &links));
        Ok(())
    }

    pub(in crate::memory) fn clear_namespace(
        &mut self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        descriptor: &OwnedFd,
    ) {
        let id = self.namespace_of(descriptor).ok();
        let own = id.filter(|id| id.0 == links.namespace_cookie);
        if let Some(namespace) = own.and_then(|id| self.namespaces.get_mut(&id)) {
            for rule in rules(plan, links) {
                namespace.rules.remove(&rule);
            }
            if let Some(link) = namespace.links.get_mut(&plan.pod_link)
                && link.default_route == DefaultRoute::InFront
            {
                link.default_route = DefaultRoute::None;
            }
        }
    }

    pub(in crate::memory) fn configure_host(
        &mut self,
        plan: &EndpointPlan,
        index: u32,
    ) -> Result<(), KernelError> {
        let Some(link) = self.links.get_mut(&index) else {
            return Err(refused(
                format!("bring {} up", plan.host_link),
                io::ErrorKind::NotFound,
            ));
        };
        let ports = plan.host_ports();
        link.up = true;
        link.mac = plan.host_mac;
        link.routes_loopback |= ports.iter().any(HostPort::serves_loopback);
        for PodAddress { address } in plan.routed() {
            let route = wanted_route(plan, address, index);
            self.routes.insert(address, route);
        }
        if ports.is_empty() {
            return Ok(());
        }
        let no_table = || KernelError::NoSuchSet("table for ports of the node".to_owned());
        let all = self.host_ports.as_mut().ok_or_else(no_table)?;
        all.extend(ports.into_iter().map(|port| (port_key(&port), port)));
        Ok(())
    }

    /// But for those that lead elsewhere by now.
    pub(in crate::memory) fn remove_host_ports(&mut self, ports: &[HostPort]) {
        if let Some(all) = &mut self.host_ports {
            all.retain(|_, port| !ports.contains(port));
        }
    }

    /// The endpoint of a plan, found by the host's end alone.
    pub(in crate::memory) fn links_of(
        &self,
        plan: &EndpointPlan,
    ) -> Result<EndpointLinks, KernelError> {
        let index = self.index_of(&plan.host_link);
        let index = index.ok_or_else(|| KernelError::NoSuchLink(plan.host_link.clone()))?;
        let link = &self.links[&index];
        if link.group != POD_GROUP {
            return Err(KernelError::LinkTaken(plan.host_link.clone()));
        }
        let pods_end = link
            .peer
            .as_ref()
            .and_then(|(id, name)| self.pod_link(*id, name));
        Ok(EndpointLinks {
            host_index: index,
            pod_index: pods_end.map_or(0, |link| link.index),
            namespace_cookie: 0,
        })
    }

    pub(in crate::memory) fn remove_endpoint(
        &mut self,
        addresses: &[PodAddress],
        ports: &[HostPort],
        index: Option<u32>,
    ) {
        self.remove_host_ports(ports);
        for pod in addresses {
            let route = self.routes.get(&pod.address);
            if route.is_some_and(|route| index.is_none_or(|index| route.link_index == index)) {
                self.routes.remove(&pod.address);
            }
        }
        let link = index.and_then(|index| self.links.get_mut(&index));
        if let Some(link) = link.filter(|link| link.group == POD_GROUP) {
            link.group = DYING_GROUP;
            link.up = false;
        }
        // A link that goes down takes the routes that lead to it along.
        self.routes
            .retain(|_, route| Some(route.link_index) != index);
    }

    pub(in crate::memory) fn reap(&mut self, dying: &[u32]) -> Vec<u32> {
        let all: Vec<u32> = self
            .links
            .iter()
            .filter(|(_, link)| link.group == DYING_GROUP)
            .map(|(index, _)| *index)
            .collect();
        for index in all {
            self.delete_link(index);
        }
        let still = |index: &u32| {
            self.links
                .get(index)
                .is_some_and(|link| link.group == DYING_GROUP)
        };
        dying.iter().copied().filter(|index| still(index)).collect()
    }

    pub(in crate::memory) fn observe(&self, known: &[LinkKey]) -> Observed {
        let asked_for = |index: &u32, link: &HostLink| {
            known.iter().any(|key| match key {
                LinkKey::Index(asked) => asked == index,
                LinkKey::Name(asked) => *asked == link.name,
            })
        };
        let links = self.links.iter().filter(|(index, link)| {
            link.is_ours() && (!self.hidden.contains(index) || asked_for(index, link))
        });
        Observed {
            endpoints: self
                .routes
                .iter()
                .map(|(address, route)| ObservedEndpoint {
                    address: *address,
                    link_index: route.link_index,
                })
                .collect(),
            links: links
                .map(|(index, link)| ObservedLink {
                    index: *index,
                    name: link.name.clone(),
                    mac: link.mac,
                    dying: link.group == DYING_GROUP,
                    routes_loopback: link.routes_loopback,
                })
                .collect(),
            interface_tables: self.tables.keys().copied().collect(),
            stray_ifbs: self.stray_ifbs(),
            host_ports: self.host_ports(),
            // They come and go whole.
            half_ports: Vec::new(),
        }
    }

    pub(in crate::memory) fn check(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        descriptor: Option<&OwnedFd>,
    ) -> Result<Vec<Difference>, KernelError> {
        let mut texts = Vec::new();
        let ports = plan.host_ports();
        match self.links.get(&links.host_index) {
            None => texts.push((Aspect::Link, format!("link {} is missing", plan.host_link))),
            Some(link) => {
                let changed = format!("link {} is not as it was made", link.name);
                let aspects = [
                    (link.group != POD_GROUP, Aspect::LinkGroup),
                    (link.mac != plan.host_mac, Aspect::LinkMac),
                    (!link.up, Aspect::LinkDown),
                ];
                let differing = aspects.into_iter().filter(|(differs, _)| *differs);
                texts.extend(differing.map(|(_, aspect)| (aspect, changed.clone())));
                if ports.iter().any(HostPort::serves_loopback) && !link.routes_loopback {
                    let text = format!("route_localnet of {} is 0, expected 1", link.name);
                    texts.push((Aspect::HostPort, text));
                }
            }
        }
        let limits = self.limits_lacking(plan, links.host_index);
        texts.extend(limits.iter().map(|limit| (Aspect::Limit, limit.now())));
        let present = self.host_ports();
        let missing = ports.iter().filter(|port| !present.contains(port));
        let words = missing.map(|port| (Aspect::HostPort, format!("port {port} is missing")));
        texts.extend(words);
        for PodAddress { address } in plan.routed() {
            match self.routes.get(&address) {
                None => texts.push((Aspect::Route, format!("route {address} is missing"))),
                Some(route) if *route != wanted_route(plan, address, links.host_index) => {
                    texts.push((Aspect::Route, format!("route {address} leads elsewhere")));
                }
                Some(_) => {}
            }
        }
        if let Some(descriptor) = descriptor {
            let id = self.namespace_of(descriptor)?;
            let in_pod = self.check_pod(plan, links, id);
            texts.extend(in_pod.map(|text| (Aspect::Pod, text)));
        }
        let differences = texts.into_iter();
        let differences = differences.map(|(aspect, text)| Difference { aspect, text });
        Ok(differences.collect())
    }

    fn check_pod(
        &self,
        plan: &EndpointPlan,
        links: &EndpointLinks,
        id: NamespaceId,
    ) -> Option<String> {
        if id.0 != links.namespace_cookie {
            return Some("the namespace is another one".to_owned());
        }
        let Some(link) = self.pod_link(id, &plan.pod_link) else {
            return Some(format!("link {} is missing in the pod", plan.pod_link));
        };
        let no_ipv6 = self
            .namespaces
            .get(&id)
            .is_some_and(|namespace| namespace.no_ipv6);
        if plan.no_ipv6 && !no_ipv6 {
            return Some("IPv6 is on in the pod, expected off".to_owned());
        }
        let present = self.pod_rules(id);
        let missing = rules(plan, links).find(|rule| !present.contains(rule));
        if let Some((source, table)) = missing {
            return Some(format!(
                "rule from {source} lookup {table} in the pod is missing"
            ));
        }
        (link.mac != plan.pod_mac
            || !link.up
            || link.addresses != addresses(plan)
            || link.default_route != plan.default_route)
            .then(|| format!("link {} is not as it was made", plan.pod_link))
    }
}

/// Whether the kernel would not take a plan's default route because another link of
/// the pod has one: of two IPv4 routes of one metric the second is refused unless it goes
/// in front, of two IPv6 routes that are both to be in front as well.
fn has_its_route(other: &PodLink, plan: &EndpointPlan) -> bool {
    let taken = |is_ipv4: bool| match (plan.default_route, other.default_route) {
        (DefaultRoute::Only, DefaultRoute::Only) => true,
        (DefaultRoute::Only, DefaultRoute::InFront) => is_ipv4,
        (DefaultRoute::InFront, DefaultRoute::InFront) => !is_ipv4,
        _ => false,
    };
    let mut others = other.addresses.iter();
    others.any(|other| {
        let mut own = plan.routed().into_iter();
        taken(other.is_ipv4()) && own.any(|own| own.address.is_ipv4() == other.is_ipv4())
    })
}

/// The rules of a plan in the pod's namespace.
fn rules(
    plan: &EndpointPlan,
    links: &EndpointLinks,
) -> impl Iterator<Item = (IpAddr, u32)> + use<> {
    let table = plan.own_table(links.pod_index);
    let routed = plan.routed().into_iter();
    routed.filter_map(move |pod| Some((pod.address, table?)))
}

/// What the pod's link has.
fn addresses(plan: &EndpointPlan) -> Vec<IpAddr> {
    plan.routed().iter().map(|pod| pod.address).collect()
}

fn wanted_route(plan: &EndpointPlan, address: IpAddr, link_index: u32) -> PodRoute {
    let mut sources = plan.node_addresses.iter().copied();
    PodRoute {
        link_index,
        source: sources.find(|source| source.is_ipv4() == address.is_ipv4()),
    }
}
