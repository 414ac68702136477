//! How an operation on a NIC is carried out: addresses are taken and given back, all or
//! nothing.

use ipnet::Ipv4Net;
use tokio::time::Instant;

use crate::nic::{IpConfiguration, Nic, Provisioning};
use crate::operations::Operation;
use crate::refusal::Refusal;
use crate::state::State;

impl State {
    /// Takes what is new before it gives back what goes: no document says that a write may
    /// use what it releases.
    pub(crate) fn carry_out(&mut self, operation: &Operation, now: Instant) -> Result<(), Refusal> {
        let Some(mut nic) = self.nics.get(&operation.nic).cloned() else {
            return Err(Refusal::not_found(&operation.nic));
        };
        let before = std::mem::take(&mut nic.configurations);
        let result = match &operation.fails {
            Some(refusal) => Err(refusal.clone()),
            None => self.take_all(&operation.goal.configurations, &before, &nic, now),
        };
        nic.fields = operation.goal.fields.clone();
        nic.properties = operation.goal.properties.clone();
        nic.etag = self.next_etag();
        let answer = match result {
            Ok(after) => {
                self.give_back(&nic, &before, &after, now);
                nic.configurations = after;
                nic.state = Provisioning::Succeeded;
                Ok(())
            }
            Err(refusal) => {
                nic.configurations = failed(before, self.config.all_show_the_nic_s_state);
                nic.state = Provisioning::Failed;
                Err(refusal)
            }
        };
        self.nics.insert(operation.nic.clone(), nic);
        self.publish_metadata(&operation.nic);
        answer
    }

    fn take_all(
        &mut self,
        goal: &[IpConfiguration],
        before: &[IpConfiguration],
        nic: &Nic,
        now: Instant,
    ) -> Result<Vec<IpConfiguration>, Refusal> {
        let mut taken: Vec<Ipv4Net> = Vec::new();
        let mut after = Vec::new();
        for wanted in goal {
            let held = before
                .iter()
                .find(|one| one.name.eq_ignore_ascii_case(&wanted.name))
                .filter(|one| one.is_block() == wanted.is_block())
                .and_then(|one| one.range);
            let range = match held {
                Some(range) => Ok(range),
                None => self
                    .take(wanted, nic, now)
                    .inspect(|range| taken.push(*range)),
            };
            match range {
                Ok(range) => after.push(IpConfiguration {
                    range: Some(range),
                    state: Provisioning::Succeeded,
                    ..wanted.clone()
                }),
                Err(refusal) => {
                    for range in taken {
                        self.return_to(&nic.subnet, &range, now);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(after)
    }

    /// One address or one block. That a subnet is full shows here and not when the write is
    /// accepted.
    fn take(
        &mut self,
        wanted: &IpConfiguration,
        nic: &Nic,
        now: Instant,
    ) -> Result<Ipv4Net, Refusal> {
        let id = self.config.subnet_id(&nic.subnet);
        let Some(subnet) = self.subnet_mut(&nic.subnet) else {
            return Err(Refusal::not_found(&id));
        };
        let range = match wanted.fixed() {
            Some(address) => {
                let taken = subnet.take_this(address, now);
                return taken.ok_or_else(|| {
                    let message = format!("Private static IP address {address} is allocated.");
                    Refusal::new(400, "PrivateIPAddressIsAllocated", message)
                });
            }
            None if wanted.is_block() => subnet.take_block(now),
            None => subnet.take_one(now),
        };
        let left = subnet.free(now);
        range.ok_or_else(|| {
            let (code, lacks) = match (wanted.is_block(), left) {
                (true, 1..) => ("InsufficientCidrBlocks", "no aligned block of 16 addresses"),
                _ => ("SubnetIsFull", "not enough capacity for 1 IP addresses"),
            };
            Refusal::new(400, code, format!("Subnet {id} has {lacks}."))
        })
    }

    fn give_back(
        &mut self,
        nic: &Nic,
        before: &[IpConfiguration],
        after: &[IpConfiguration],
        now: Instant,
    ) {
        let kept: Vec<Ipv4Net> = after.iter().filter_map(|one| one.range).collect();
        let gone = before.iter().filter_map(|one| one.range);
        let gone: Vec<Ipv4Net> = gone.filter(|range| !kept.contains(range)).collect();
        let when = now + self.config.release_lag;
        for range in gone {
            self.return_to(&nic.subnet, &range, when);
        }
    }

    fn return_to(&mut self, subnet: &str, range: &Ipv4Net, when: Instant) {
        if let Some(subnet) = self.subnet_mut(subnet) {
            subnet.give_back(range, when);
        }
    }
}

/// After a failure all that was there is there, and what was to come stays without an
/// address. No document says what of a failed write is kept; this is the harsher
/// possibility, and a next write that still names those fails like the first.
fn failed(shown: Vec<IpConfiguration>, all: bool) -> Vec<IpConfiguration> {
    shown
        .into_iter()
        .map(|one| IpConfiguration {
            state: match one.range {
                Some(_) if !all => Provisioning::Succeeded,
                _ => Provisioning::Failed,
            },
            ..one
        })
        .collect()
}
