//! Limits of pods' bandwidth in the in-memory kernel.

use std::io;

use super::{HostLink, State};
use crate::bandwidth::{Limit, host_index_of, ifb_name};
use crate::plan::{DYING_GROUP, EndpointPlan, KernelError, POD_GROUP, Repair};

impl State {
    /// Makes what is missing of an endpoint's limits.
    pub(in crate::memory) fn ensure_limits(
        &mut self,
        plan: &EndpointPlan,
        host_index: u32,
    ) -> Result<Vec<Repair>, KernelError> {
        let bandwidth = plan.bandwidth;
        let missing = self.limits_lacking(plan, host_index);
        if !self.links.contains_key(&host_index) && !bandwidth.is_unlimited() {
            return Err(KernelError::Refused {
                operation: format!("limit {}", plan.host_link),
                reason: io::ErrorKind::NotFound.into(),
            });
        }
        if let Some(limit) = bandwidth.to_pod {
            self.buckets.insert(host_index, limit.bucket(plan.mtu));
        }
        if let Some(limit) = bandwidth.from_pod {
            self.limit_from_pod(host_index, limit, plan.mtu)?;
        }
        Ok(missing)
    }

    fn limit_from_pod(
        &mut self,
        host_index: u32,
        limit: Limit,
        mtu: u32,
    ) -> Result<(), KernelError> {
        let name = ifb_name(host_index);
        let present = self.index_of(&name);
        if let Some(index) = present {
            match &self.links[&index] {
                link if !link.is_our_ifb() => return Err(KernelError::LinkTaken(name)),
                link if link.group == DYING_GROUP => drop(self.delete_link(index)),
                _ => {}
            }
        }
        let index = match self.index_of(&name) {
            Some(index) => index,
            None => self.new_link(HostLink {
                name,
                mac: [0; 6],
                mtu: 1500,
                group: POD_GROUP,
                up: false,
                peer: None,
                ifb: true,
                routes_loopback: false,
            }),
        };
        if let Some(ifb) = self.links.get_mut(&index) {
            ifb.up = true;
        }
        self.buckets.insert(index, limit.bucket(mtu));
        self.redirects.insert(host_index, index);
        Ok(())
    }

    /// What an endpoint's limits lack.
    pub(super) fn limits_lacking(&self, plan: &EndpointPlan, host_index: u32) -> Vec<Repair> {
        let mut lacking = Vec::new();
        let missing = |object: String| Repair::limit(object, "missing");
        let bucket = |limit: Limit| limit.bucket(plan.mtu);
        if let Some(wanted) = plan.bandwidth.to_pod.map(bucket)
            && self.buckets.get(&host_index) != Some(&wanted)
        {
            lacking.push(missing(format!("the limit of {}", plan.host_link)));
        }
        let Some(wanted) = plan.bandwidth.from_pod.map(bucket) else {
            return lacking;
        };
        let name = ifb_name(host_index);
        let ours = |index: &u32| self.links[index].is_our_ifb() && self.links[index].up;
        match self.index_of(&name).filter(ours) {
            None => {
                let object = format!("the ifb device {name}");
                lacking.push(Repair::limit(object, "missing or down"));
            }
            Some(ifb) => {
                if self.buckets.get(&ifb) != Some(&wanted) {
                    lacking.push(missing(format!("the limit of {name}")));
                }
                if self.redirects.get(&host_index) != Some(&ifb) {
                    lacking.push(missing(format!("the redirection to {name}")));
                }
            }
        }
        lacking
    }

    pub(in crate::memory) fn remove_limits(&mut self, host_index: u32) {
        let ifb = self.index_of(&ifb_name(host_index));
        let ifb = ifb.and_then(|index| self.links.get_mut(&index));
        if let Some(ifb) = ifb.filter(|link| link.is_our_ifb()) {
            ifb.group = DYING_GROUP;
            ifb.up = false;
        }
    }

    /// Deletes what a failed ADD has made for limits.
    pub(in crate::memory) fn undo_limits(&mut self, host_index: u32) {
        let ifb = self.index_of(&ifb_name(host_index));
        if let Some(index) = ifb.filter(|index| self.is_our_ifb(*index)) {
            self.delete_link(index);
        }
    }

    /// Those that serve no endpoint; the reaper takes those that are dying.
    pub(super) fn stray_ifbs(&self) -> Vec<u32> {
        let stray = |link: &HostLink| {
            let served = host_index_of(&link.name).and_then(|index| self.links.get(&index));
            link.is_our_ifb() && link.group != DYING_GROUP && !served.is_some_and(HostLink::is_ours)
        };
        let strays = self.links.iter().filter(|(_, link)| stray(link));
        strays.map(|(index, _)| *index).collect()
    }

    pub(in crate::memory) fn remove_stray_ifb(&mut self, index: u32) -> bool {
        let stray = self.stray_ifbs().contains(&index);
        if stray {
            self.delete_link(index);
        }
        stray
    }

    /// Bits a second of the limits that are in force towards a pod and from it.
    pub(in crate::memory) fn rates(&self, host_index: u32) -> (Option<u64>, Option<u64>) {
        let rate = |index: &u32| self.buckets.get(index).map(|bucket| bucket.rate * 8);
        let ifb = self.redirects.get(&host_index);
        let ifb = ifb.filter(|index| self.links.get(index).is_some_and(|link| link.up));
        (rate(&host_index), ifb.and_then(rate))
    }

    /// Deletes the qdiscs of a link, with what hangs on them.
    pub(in crate::memory) fn delete_qdiscs(&mut self, index: u32) {
        self.buckets.remove(&index);
        self.redirects.remove(&index);
    }
}
