//! One pod's link, as the programs know it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Error;
use crate::layout::{Address, EndpointValue, endpoint_flag};

/// Flows of one endpoint that nobody has answered yet; a new one takes the place of the oldest.
const HALF_OPEN: u32 = 1024;

/// A pod's link and what its pod may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Index of the node's end of the veth pair.
    pub host_index: u32,
    /// At most one of each family; others belong to `further_sources`.
    pub addresses: Vec<IpAddr>,
    /// MAC of the pod's end: whatever it sends has it.
    pub pod_mac: [u8; 6],
    /// Names this endpoint and never another one, so that the next owner of an address
    /// inherits no flow.
    pub generation: u64,
    /// Whether it may reach the node's [`metadata`](crate::NodeRules::metadata) addresses.
    pub metadata: bool,
    /// Prefixes that the pod may send from besides its own addresses.
    pub further_sources: Vec<IpNet>,
    /// Put on what the pod sends, so that routing knows its interface. Changes those bits
    /// of the packet's mark that [`NodeRules::mark_mask`](crate::NodeRules::mark_mask) has.
    pub mark: Option<u32>,
    /// False until the source of policies has synchronised. Where the node is
    /// [strict](crate::NodeRules::strict), nothing but the node's own traffic passes until
    /// [`set_policy`](crate::Enforcer::set_policy) has been called once.
    pub policy_known: bool,
    /// What policies forbid passes, and is counted and recorded.
    pub audit: bool,
    /// Index of an ifb device that what the pod sends passes, because its bandwidth is
    /// limited.
    pub redirect: Option<u32>,
}

impl Endpoint {
    /// The map's element. `before` is the one that is there for the same generation: its
    /// policy stays.
    pub(crate) fn value(
        &self,
        before: Option<&EndpointValue>,
        mark_mask: u32,
        flow_limit: u32,
    ) -> Result<EndpointValue, Error> {
        let mut value = EndpointValue {
            generation: self.generation,
            epoch: 1,
            mac: self.pod_mac,
            redirect: self.redirect.unwrap_or_default(),
            half_open_limit: HALF_OPEN,
            flow_limit,
            ..EndpointValue::default()
        };
        for address in &self.addresses {
            let place = match address {
                IpAddr::V4(_) => &mut value.v4,
                IpAddr::V6(_) => &mut value.v6,
            };
            if *place != Address::default() {
                return Err(Error::TwoAddresses(self.host_index));
            }
            *place = (*address).into();
        }
        let mut unknown = !self.policy_known;
        if let Some(before) = before {
            value.ingress_set = before.ingress_set;
            value.egress_set = before.egress_set;
            value.epoch = before.epoch;
            // Once known, a policy stays in force while its source is away.
            unknown &= before.flags & endpoint_flag::UNKNOWN != 0;
        }
        if let Some(mark) = self.mark {
            value.mark = mark & mark_mask;
            value.mark_mask = mark_mask;
        }
        for (flag, set) in [
            (endpoint_flag::METADATA, self.metadata),
            (endpoint_flag::FURTHER, !self.further_sources.is_empty()),
            (endpoint_flag::UNKNOWN, unknown),
            (endpoint_flag::AUDIT, self.audit),
            (endpoint_flag::MARK, self.mark.is_some()),
        ] {
            value.flags |= if set { flag } else { 0 };
        }
        Ok(value)
    }
}
