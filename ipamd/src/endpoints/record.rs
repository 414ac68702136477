//! What is kept for one attachment, in memory and in the journal.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use veni_api::v1;
use veni_dataplane::{
    DefaultRoute, EndpointLinks, EndpointPlan, LinkKey, Observed, ObservedLink, PodAddress,
};

use crate::attachment::{AttachmentKey, PodName, mac_text};

/// How far an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// Its ADD has begun: whatever carries its names in the kernel is half made.
    Adding,
    /// Its pod uses it.
    Ready,
    /// Its DEL has begun; the entry stays while its link exists or its
    /// addresses cool.
    Dying,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Name of its journal entry; another for every ADD, also of one attachment.
    pub id: String,
    /// Key.
    pub key: AttachmentKey,
    /// Pod.
    pub pod: PodName,
    /// State.
    pub state: RecordState,
    /// What the kernel was told.
    pub plan: EndpointPlan,
    /// What it answered; absent until it has.
    pub links: Option<EndpointLinks>,
    /// Cloud interface that holds its first address.
    pub cloud_interface: String,
    /// When its ADD began, milliseconds since the epoch.
    pub created_ms: u64,
    /// How long that took in the daemon, microseconds.
    pub add_micros: u64,
    /// Of that, waiting for an address.
    pub waited_micros: u64,
    /// When its addresses were given back, milliseconds since the epoch.
    pub released_ms: Option<u64>,
}

impl Record {
    /// Its addresses, IPv4 first. A node-local one is not among them: nobody reaches
    /// the pod by it, so neither its runtime nor the pool is told of it.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.plan
            .addresses
            .iter()
            .map(|address| address.address)
            .collect()
    }

    /// The pod where one is known, with the interface's name where it is not the pod's
    /// first; else the attachment.
    pub fn label(&self) -> String {
        match self.pod.label() {
            None => self.key.to_string(),
            Some(pod) if self.key.is_first_interface() => pod,
            Some(pod) => format!("{pod} ({})", self.key.interface_name),
        }
    }

    /// What its link is asked for by.
    pub(crate) fn link_key(&self) -> LinkKey {
        match self.links {
            Some(links) => LinkKey::Index(links.host_index),
            None => LinkKey::Name(self.plan.host_link.clone()),
        }
    }

    /// Its own link among those that were observed. Its index is its identity in this
    /// boot. An index may come again after 2³¹ others, or by somebody's hand: then
    /// neither name nor MAC nor a route of its own agrees. One of them is enough,
    /// because others rename links and set MACs, and what is taken for gone is deleted.
    ///
    /// Until the kernel has answered an index, name and MAC tell together. The name
    /// alone does not: a later ADD of the same pod makes a link of the same name, which
    /// lives when this record is undone. Each ADD chooses a MAC of its own.
    pub(crate) fn link_in<'a>(&self, observed: &'a Observed) -> Option<&'a ObservedLink> {
        let mut links = observed.links.iter();
        let Some(known) = self.links else {
            return links
                .find(|link| link.name == self.plan.host_link && link.mac == self.plan.host_mac);
        };
        let link = links.find(|link| link.index == known.host_index)?;
        let leads_to_it = |pod: &PodAddress| observed.leads(pod.address, link.index);
        let agrees = link.name == self.plan.host_link
            || link.mac == self.plan.host_mac
            || self.plan.routed().iter().any(leads_to_it);
        agrees.then_some(link)
    }

    /// The answer to its ADD.
    pub fn response(&self) -> v1::AddResponse {
        let gateways = self.addresses().into_iter().map(gateway_of);
        let gateways: Vec<String> = gateways.map(|gateway| gateway.to_string()).collect();
        let routes = gateways.iter().flat_map(|gateway| self.routes_by(gateway));
        let routes = routes.collect();
        v1::AddResponse {
            addresses: self.cidr_texts(),
            gateways,
            routes,
            host_interface: self.plan.host_link.clone(),
            host_mac: mac_text(self.plan.host_mac),
            pod_mac: mac_text(self.plan.pod_mac),
            mtu: self.plan.mtu,
            cloud_interface: self.cloud_interface.clone(),
        }
    }

    /// The pod's routes by one of the interface's next hops, as the data plane makes them.
    fn routes_by(&self, gateway: &str) -> Vec<v1::Route> {
        let (any, host) = match gateway.contains(':') {
            true => ("::/0", 128),
            false => ("0.0.0.0/0", 32),
        };
        let hop = |table: u32, priority: u32| v1::Route {
            destination: format!("{gateway}/{host}"),
            gateway: String::new(),
            table,
            priority,
        };
        let everything = |table: u32| v1::Route {
            destination: any.to_owned(),
            gateway: gateway.to_owned(),
            table,
            priority: 0,
        };
        let index = self.links.map_or(0, |links| links.pod_index);
        let Some(table) = self.plan.own_table(index) else {
            return vec![hop(0, 0), everything(0)];
        };
        let mut routes = vec![hop(0, table), hop(table, 0), everything(table)];
        if self.plan.default_route == DefaultRoute::InFront {
            routes.push(everything(0));
        }
        routes
    }

    /// For operators.
    pub fn report(&self) -> v1::Endpoint {
        v1::Endpoint {
            attachment: Some((&self.key).into()),
            pod: Some((&self.pod).into()),
            addresses: self.cidr_texts(),
            host_interface: self.plan.host_link.clone(),
            cloud_interface: self.cloud_interface.clone(),
            state: match self.state {
                RecordState::Adding => "adding",
                RecordState::Ready => "ready",
                RecordState::Dying => "dying",
            }
            .to_owned(),
            created_ms: self.created_ms,
            add_micros: self.add_micros,
            waited_micros: self.waited_micros,
            egress_address: self
                .plan
                .egress
                .map(|address| address.to_string())
                .unwrap_or_default(),
        }
    }

    fn cidr_texts(&self) -> Vec<String> {
        self.addresses()
            .into_iter()
            .map(|address| ipnet::IpNet::from(address).to_string())
            .collect()
    }
}

/// The next hop that a pod has for an address.
fn gateway_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => veni_dataplane::plan::GATEWAY_V4.into(),
        IpAddr::V6(_) => veni_dataplane::plan::GATEWAY_V6.into(),
    }
}

#[cfg(test)]
mod tests;
