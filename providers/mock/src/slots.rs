//! Addresses and prefixes that come to an interface and go from it: the rules
//! of batches, limits and shortages.

use veni_provider::{
    AddressSlots, ErrorClass, Family, Grant, Interface, InterfaceId, Limit, SubnetId,
};

use crate::allocator::Lease;
use crate::config::Shortage;
use crate::refusal::Refusal;
use crate::state::State;

impl State {
    pub(crate) fn assign(
        &mut self,
        instance: &str,
        id: &InterfaceId,
        slots: AddressSlots,
        at_most: Option<u32>,
    ) -> Result<Grant, Refusal> {
        let mut interface = self.interface(instance, id)?.clone();
        let grant = self.take_slots(instance, &mut interface, slots, at_most)?;
        self.replace(instance, interface)?;
        Ok(grant)
    }

    pub(crate) fn release(
        &mut self,
        instance: &str,
        id: &InterfaceId,
        grant: &Grant,
    ) -> Result<(), Refusal> {
        let mut interface = self.interface(instance, id)?.clone();
        let own = |address| interface.own_addresses.contains(address);
        if let Some(address) = grant.addresses.iter().find(|address| own(address)) {
            return Err(Refusal::invalid(format!(
                "{address} is the own address of {id} and cannot be unassigned"
            )));
        }
        let mut freed = Vec::new();
        interface.addresses.retain(|address| {
            let gone = grant.addresses.contains(address);
            freed.extend(gone.then_some(Lease::Address(*address)));
            !gone
        });
        interface.prefixes.retain(|prefix| {
            let gone = grant.prefixes.contains(prefix);
            freed.extend(gone.then_some(Lease::Prefix(*prefix)));
            !gone
        });
        if freed.is_empty() {
            return Ok(());
        }
        let subnet = self.subnet_mut(&interface.subnet)?;
        for lease in freed {
            subnet.free(lease);
        }
        self.replace(instance, interface)
    }

    /// Takes slots for an interface, all or as the cloud handles shortages.
    pub(crate) fn take_slots(
        &mut self,
        instance: &str,
        interface: &mut Interface,
        slots: AddressSlots,
        at_most: Option<u32>,
    ) -> Result<Grant, Refusal> {
        let (family, wanted, prefixes) = match slots {
            AddressSlots::Addresses { family, count } => (family, count, false),
            AddressSlots::Prefixes { family, count } => (family, count, true),
        };
        self.check_request(family, wanted, prefixes)?;
        let mut wanted = at_most.map_or(wanted, |most| wanted.min(most.max(1)));
        let room = self.node(instance)?.room(interface, family);
        if self.config.shortage == Shortage::Partial && room > 0 {
            wanted = wanted.min(room);
        }
        if room < wanted {
            let text = format!(
                "PrivateIpAddressLimitExceeded: {wanted} more would exceed the limit of {} \
                 ({room} slots are left)",
                interface.id
            );
            return Err(Refusal::new(
                ErrorClass::LimitReached {
                    limit: Limit::Slots,
                },
                text,
            ));
        }
        let grant = self.take(&interface.subnet, family, wanted, prefixes)?;
        interface.addresses.extend(&grant.addresses);
        interface.prefixes.extend(&grant.prefixes);
        Ok(grant)
    }

    /// Takes so many from a subnet, or gives back what it took.
    fn take(
        &mut self,
        subnet: &SubnetId,
        family: Family,
        wanted: u32,
        prefixes: bool,
    ) -> Result<Grant, Refusal> {
        let partial = self.config.shortage == Shortage::Partial;
        let position = self.subnet_position(subnet)?;
        let subnet = &mut self.subnets[position];
        let mut grant = Grant::default();
        for _ in 0..wanted {
            let taken = if prefixes {
                let prefix = subnet.take_prefix(family, &mut self.rng);
                prefix.map(|prefix| grant.prefixes.push(prefix))
            } else {
                let address = subnet.take_address(family, &mut self.rng);
                address.map(|address| grant.addresses.push(address))
            };
            let Err(refusal) = taken else { continue };
            if partial && !grant.is_empty() {
                break;
            }
            let addresses = grant.addresses.into_iter().map(Lease::Address);
            let prefixes = grant.prefixes.into_iter().map(Lease::Prefix);
            for lease in addresses.chain(prefixes) {
                subnet.free(lease);
            }
            return Err(refusal);
        }
        Ok(grant)
    }

    fn check_request(&self, family: Family, wanted: u32, prefixes: bool) -> Result<(), Refusal> {
        let can = match (family, prefixes) {
            (Family::V4, false) => true,
            (Family::V4, true) => self.capabilities.ipv4_prefixes,
            (Family::V6, false) => self.capabilities.ipv6_addresses,
            (Family::V6, true) => self.capabilities.ipv6_prefixes,
        };
        if !can {
            return Err(Refusal::new(
                ErrorClass::Unsupported,
                "OperationNotAllowed: this cloud does not give these",
            ));
        }
        if wanted == 0 || wanted > self.capabilities.batch {
            let batch = self.capabilities.batch;
            return Err(Refusal::invalid(format!(
                "{wanted} at once; one call takes 1 to {batch}"
            )));
        }
        Ok(())
    }
}
