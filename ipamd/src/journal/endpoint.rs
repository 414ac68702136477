//! What is kept for one attachment: the endpoint's entry, in memory and in the journal.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use veni_dataplane::{EndpointLinks, EndpointPlan, LinkKey, Observed, ObservedLink, PodAddress};

use crate::attachment::{AttachmentKey, PodName};

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
    /// What is attached.
    pub key: AttachmentKey,
    /// The pod behind it, as far as its runtime told.
    pub pod: PodName,
    /// How far it is.
    pub state: RecordState,
    /// What the kernel was told.
    pub plan: EndpointPlan,
    /// What it answered; absent until it has.
    pub links: Option<EndpointLinks>,
    /// Cloud interface that holds its first address.
    pub cloud_interface: String,
    /// When its ADD began, milliseconds since the epoch.
    pub created_ms: u64,
    /// The same, milliseconds since the boot; 0 in entries of older builds.
    #[serde(default)]
    pub created_boot_ms: u64,
    /// How long that took in the daemon, microseconds.
    pub add_micros: u64,
    /// Of that, waiting for an address.
    pub waited_micros: u64,
    /// When its addresses were given back, milliseconds since the boot.
    #[serde(default)]
    pub released_boot_ms: Option<u64>,
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

    /// Its addresses as ranges of one address each, IPv4 first.
    pub(crate) fn cidrs(&self) -> Vec<IpNet> {
        let addresses = self.addresses().into_iter();
        addresses.map(IpNet::from).collect()
    }

    /// Its addresses for people, as ranges of one address each.
    pub(crate) fn addresses_text(&self) -> String {
        let texts = self.cidrs().into_iter().map(|cidr| cidr.to_string());
        texts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests;
