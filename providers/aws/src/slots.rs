//! Addresses and prefixes of an interface, in batches: one call per family.

use std::net::IpAddr;

use ipnet::IpNet;
use veni_provider::{
    AddressSlots, ErrorClass, Family, Grant, InterfaceId, ProviderError, Scarcity, SubnetId,
};

use crate::actions::Action;
use crate::failure::{Meaning, Refusal};
use crate::interfaces::{Place, place_of};
use crate::inventory::known;
use crate::memory::Known;
use crate::provider::Core;
use crate::requests::{assign_ipv4, assign_ipv6};
use veni_provider::InterfaceState;

impl Core {
    pub(crate) async fn assign(
        &self,
        id: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let (family, prefixes, count) = match slots {
            AddressSlots::Addresses { family, count } => (family, false, count),
            AddressSlots::Prefixes { family, count } => (family, true, count),
        };
        self.ensure_may_change(assign_action(family))?;
        let told = match family {
            Family::V4 => self.assign_ipv4(id, prefixes, count).await,
            Family::V6 => self.assign_ipv6(id, prefixes, count).await,
        };
        let told = match told {
            Ok(told) => told,
            Err(refusal) => return Err(self.assign_error(id, prefixes, refusal).await),
        };
        let grant = only_new(told, count, self.memory.known(id).as_ref());
        if grant.is_empty() {
            let reason = "EC2's answer tells nothing that is new";
            let operation = assign_action(family).label();
            return Err(ProviderError::new(
                ErrorClass::OutcomeUnknown,
                operation,
                reason,
            ));
        }
        self.memory.granted(id, &grant);
        Ok(grant)
    }

    async fn assign_ipv4(
        &self,
        id: &InterfaceId,
        prefixes: bool,
        count: u32,
    ) -> Result<Grant, Refusal> {
        let call = assign_ipv4(id, prefixes, count).send_with(&self.ec2.client);
        let action = Action::AssignPrivateIpAddresses;
        let answer = self.ec2.call(action, call).await?;
        let addresses = answer.assigned_private_ip_addresses().iter();
        let prefixes = answer.assigned_ipv4_prefixes().iter();
        Ok(Grant {
            addresses: parsed(addresses.filter_map(|one| one.private_ip_address())),
            prefixes: parsed(prefixes.filter_map(|one| one.ipv4_prefix())),
        })
    }

    async fn assign_ipv6(
        &self,
        id: &InterfaceId,
        prefixes: bool,
        count: u32,
    ) -> Result<Grant, Refusal> {
        let call = assign_ipv6(id, prefixes, count).send_with(&self.ec2.client);
        let answer = self.ec2.call(Action::AssignIpv6Addresses, call).await?;
        let addresses = answer.assigned_ipv6_addresses().iter();
        let prefixes = answer.assigned_ipv6_prefixes().iter();
        Ok(Grant {
            addresses: parsed(addresses.map(String::as_str)),
            prefixes: parsed(prefixes.map(String::as_str)),
        })
    }

    /// Exhaustion is a subnet's: it has to be known which.
    async fn assign_error(
        &self,
        id: &InterfaceId,
        prefixes: bool,
        refusal: Refusal,
    ) -> ProviderError {
        let asked = if prefixes {
            Scarcity::Prefixes
        } else {
            Scarcity::Addresses
        };
        let of_subnet = matches!(
            refusal.meaning,
            Meaning::NoAddresses | Meaning::NoPrefixes | Meaning::NoRoom
        );
        if !of_subnet {
            return refusal.error();
        }
        match self.subnet_of(id).await {
            Some(subnet) => refusal.error_in(&subnet, asked),
            None => refusal.error(),
        }
    }

    async fn subnet_of(&self, id: &InterfaceId) -> Option<SubnetId> {
        if let Some(known) = self.memory.known(id) {
            return Some(known.subnet);
        }
        let shown = self.look(id).await.ok()??;
        shown.subnet_id().map(SubnetId::new)
    }

    pub(crate) async fn release(
        &self,
        id: &InterfaceId,
        grant: &Grant,
    ) -> Result<(), ProviderError> {
        self.ensure_may_change(Action::UnassignPrivateIpAddresses)?;
        let known = self.memory.known(id);
        if let Some(own) = known.and_then(|known| own_of(&known, grant)) {
            let reason = format!("{own} is an own address of {id}");
            let operation = unassign_action(Family::of(own)).label();
            return Err(ProviderError::new(ErrorClass::Invalid, operation, reason));
        }
        let mut changed = false;
        for family in [Family::V4, Family::V6] {
            let part = of_family(grant, family);
            if part.is_empty() {
                continue;
            }
            match self.release_family(id, family, part).await {
                Ok(()) => changed = true,
                Err(error) if changed => {
                    return Err(ProviderError {
                        class: ErrorClass::OutcomeUnknown,
                        ..error
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// EC2 refuses all when one is not there: then what is there is looked up
    /// and given back. What fails after that leaves doubt, as does a look that lags:
    /// some of it is gone.
    async fn release_family(
        &self,
        id: &InterfaceId,
        family: Family,
        part: Grant,
    ) -> Result<(), ProviderError> {
        match self.unassign(id, family, &part).await {
            Ok(()) => {}
            Err(refusal) if refusal.meaning == Meaning::NotAssigned => {
                if count_of(&part) > 1 {
                    self.release_the_rest(id, family, &part, refusal).await?;
                }
            }
            Err(refusal) => return Err(refusal.error()),
        }
        self.memory.released(id, &part);
        Ok(())
    }

    async fn release_the_rest(
        &self,
        id: &InterfaceId,
        family: Family,
        part: &Grant,
        refusal: Refusal,
    ) -> Result<(), ProviderError> {
        let held = self.held(id).await.map_err(Refusal::in_doubt)?;
        let left = common(part, &held);
        let unclear = |refusal: Refusal| {
            let reason = format!("{}; Describe does not tell which yet", refusal.reason);
            Refusal { reason, ..refusal }.in_doubt()
        };
        match count_of(&left) {
            0 => Ok(()),
            all if all == count_of(part) => Err(unclear(refusal)),
            _ => match self.unassign(id, family, &left).await {
                Ok(()) => Ok(()),
                Err(again) if again.meaning == Meaning::NotAssigned => Err(unclear(again)),
                Err(again) => Err(again.in_doubt()),
            },
        }
    }

    async fn unassign(
        &self,
        id: &InterfaceId,
        family: Family,
        grant: &Grant,
    ) -> Result<(), Refusal> {
        let addresses = texts(&grant.addresses);
        let prefixes = texts(&grant.prefixes);
        let client = &self.ec2.client;
        let action = unassign_action(family);
        match family {
            Family::V4 => {
                let call = client
                    .unassign_private_ip_addresses()
                    .network_interface_id(id.as_str())
                    .set_private_ip_addresses(addresses)
                    .set_ipv4_prefixes(prefixes);
                self.ec2.call(action, call.send()).await.map(drop)
            }
            Family::V6 => {
                let call = client
                    .unassign_ipv6_addresses()
                    .network_interface_id(id.as_str())
                    .set_ipv6_addresses(addresses)
                    .set_ipv6_prefixes(prefixes);
                self.ec2.call(action, call.send()).await.map(drop)
            }
        }
    }

    /// What a fresh look shows that an interface holds.
    async fn held(&self, id: &InterfaceId) -> Result<Grant, Refusal> {
        let nowhere = Place {
            device_index: 0,
            card: 0,
            state: InterfaceState::Attached,
        };
        let shown = self.look(id).await?;
        let held = shown.and_then(|shown| {
            let place = place_of(&shown).unwrap_or(nowhere);
            let view = self.view(&shown, place)?;
            Some(known(&shown, &view, place).held)
        });
        Ok(held.unwrap_or_default())
    }
}

fn assign_action(family: Family) -> Action {
    match family {
        Family::V4 => Action::AssignPrivateIpAddresses,
        Family::V6 => Action::AssignIpv6Addresses,
    }
}

fn unassign_action(family: Family) -> Action {
    match family {
        Family::V4 => Action::UnassignPrivateIpAddresses,
        Family::V6 => Action::UnassignIpv6Addresses,
    }
}

fn parsed<'a, T: std::str::FromStr>(texts: impl Iterator<Item = &'a str>) -> Vec<T> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// `None` rather than an empty list, which EC2 would have to understand.
fn texts<T: ToString>(items: &[T]) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.iter().map(ToString::to_string).collect())
}

/// What of an answer is new. EC2 documents it for addresses of IPv6 only; an
/// answer that holds more than was asked for holds what was there before.
fn only_new(told: Grant, asked: u32, before: Option<&Known>) -> Grant {
    let more = told.addresses.len().max(told.prefixes.len()) > asked as usize;
    let Some(before) = before.filter(|_| more) else {
        return told;
    };
    let held = &before.held;
    Grant {
        addresses: told
            .addresses
            .into_iter()
            .filter(|one| !held.addresses.contains(one) && !before.own.contains(one))
            .collect(),
        prefixes: told
            .prefixes
            .into_iter()
            .filter(|one| !held.prefixes.contains(one))
            .collect(),
    }
}

fn own_of(known: &Known, grant: &Grant) -> Option<IpAddr> {
    let mut named = grant.addresses.iter();
    named.find(|one| known.own.contains(one)).copied()
}

fn count_of(grant: &Grant) -> usize {
    grant.addresses.len() + grant.prefixes.len()
}

fn of_family(grant: &Grant, family: Family) -> Grant {
    let addresses = grant.addresses.iter().copied();
    let prefixes = grant.prefixes.iter().copied();
    Grant {
        addresses: addresses.filter(|one| Family::of(*one) == family).collect(),
        prefixes: prefixes
            .filter(|one| Family::of(one.addr()) == family)
            .collect(),
    }
}

fn common(named: &Grant, held: &Grant) -> Grant {
    let (addresses, prefixes) = (named.addresses.iter(), named.prefixes.iter());
    let address = |one: &&IpAddr| held.addresses.contains(one);
    let prefix = |one: &&IpNet| held.prefixes.contains(one);
    Grant {
        addresses: addresses.filter(address).copied().collect(),
        prefixes: prefixes.filter(prefix).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(addresses: &[&str], prefixes: &[&str]) -> Grant {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
        let (addresses, prefixes): (Vec<String>, Vec<String>) = (texts(addresses), texts(prefixes));
        Grant {
            addresses: parsed(addresses.iter().map(String::as_str)),
            prefixes: parsed(prefixes.iter().map(String::as_str)),
        }
    }

    fn holding(held: Grant) -> Known {
        Known {
            attachment: None,
            device_index: 0,
            card: 0,
            subnet: SubnetId::new("subnet-a"),
            own: vec!["10.0.0.4".parse().expect("an address")],
            held,
            attached: None,
        }
    }

    #[test]
    fn an_answer_as_long_as_the_question_is_taken_as_it_is() {
        let told = grant(&["10.0.0.9"], &[]);
        // Given back and given again: what is remembered may be old.
        let before = holding(told.clone());
        assert_eq!(only_new(told.clone(), 1, Some(&before)), told);
    }

    #[test]
    fn an_answer_that_lists_everything_is_reduced_to_what_is_new() {
        let before = holding(grant(&["10.0.0.9"], &["10.0.0.16/28"]));
        let all = grant(&["10.0.0.4", "10.0.0.9", "10.0.0.10"], &[]);
        let new = only_new(all, 1, Some(&before));
        assert_eq!(new, grant(&["10.0.0.10"], &[]));
        let all = grant(&[], &["10.0.0.16/28", "10.0.0.32/28"]);
        let new = only_new(all, 1, Some(&before));
        assert_eq!(new, grant(&[], &["10.0.0.32/28"]));
    }

    #[test]
    fn what_is_released_goes_by_family() {
        let both = grant(
            &["10.0.0.9", "2600::9"],
            &["10.0.0.16/28", "2600:0:0:1::/80"],
        );
        let ipv6 = of_family(&both, Family::V6);
        assert_eq!(ipv6, grant(&["2600::9"], &["2600:0:0:1::/80"]));
    }

    #[test]
    fn an_empty_list_is_not_sent() {
        assert_eq!(texts::<IpAddr>(&[]), None);
    }
}
