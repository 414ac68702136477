//! The node-local addresses of the node's endpoints, where pods get one.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use veni_api::failure::{CniFailure, code};
use veni_dataplane::DefaultRoute;

use super::node_local::{Life, NodeLocal};
use crate::journal::endpoint::{Record, RecordState};

/// The node-local addresses; without a range no endpoint gets one.
pub(super) struct EgressAddresses(Option<Mutex<NodeLocal>>);

impl EgressAddresses {
    /// Addresses of this range; none is taken.
    pub(super) fn new(range: Option<IpNet>) -> Self {
        Self(range.map(NodeLocal::new).map(Mutex::new))
    }

    /// Takes the address that a record has already.
    pub(super) fn restore(&self, record: &Record) {
        let (Some(address), Some(mut all)) = (record.plan.egress, self.lock()) else {
            return;
        };
        let life = match record.state {
            RecordState::Dying => Life::Dying,
            RecordState::Adding | RecordState::Ready => Life::Lives,
        };
        all.keep(address, &record.id, life);
    }

    /// An address for a new endpoint, where pods get one: they open flows by it, which is
    /// nothing for an interface without a default route.
    ///
    /// # Errors
    /// All are used or cool.
    pub(super) fn take(&self, record: &Record) -> Result<Option<IpAddr>, CniFailure> {
        if record.plan.default_route == DefaultRoute::None {
            return Ok(None);
        }
        let Some(mut all) = self.lock() else {
            return Ok(None);
        };
        let taken = all.take(&record.id).ok_or_else(|| {
            let (size, range) = (all.size(), all.range());
            CniFailure::new(
                code::TRY_AGAIN_LATER,
                format!(
                    "no address for {}: all {size} node-local ones of {range} are used or cool",
                    record.key
                ),
                "one is free again IP_COOLDOWN_PERIOD seconds after its pod's end; without \
                 ENABLE_V4_EGRESS or ENABLE_V6_EGRESS pods need none",
            )
        });
        taken.map(Some)
    }

    /// An endpoint is forgotten: its address is free.
    pub(super) fn free(&self, record: &Record) {
        if let (Some(address), Some(mut all)) = (record.plan.egress, self.lock()) {
            all.free(address, &record.id);
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, NodeLocal>> {
        let all = self.0.as_ref()?;
        Some(all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::record;
    use super::*;

    /// A range of two addresses.
    fn two() -> EgressAddresses {
        EgressAddresses::new(Some("169.254.172.0/30".parse().expect("a range")))
    }

    #[test]
    fn an_add_that_finds_all_taken_is_told_to_try_again_until_one_is_free() {
        let all = two();
        let mut first = record("a");
        first.plan.egress = all.take(&first).expect("is free");
        assert!(all.take(&record("b")).expect("is free").is_some());
        let failure = all.take(&record("c")).expect_err("both are taken");
        assert_eq!(failure.code, code::TRY_AGAIN_LATER);
        all.free(&first);
        assert_eq!(all.take(&record("c")).expect("is free"), first.plan.egress);
    }

    #[test]
    fn an_interface_without_a_default_route_and_a_node_without_a_range_take_none() {
        let mut further = record("a");
        further.plan.default_route = DefaultRoute::None;
        assert_eq!(two().take(&further).expect("takes none"), None);
        let none = EgressAddresses::new(None);
        assert_eq!(none.take(&record("a")).expect("takes none"), None);
    }

    #[test]
    fn an_address_that_was_restored_is_not_given_to_another() {
        let (before, all) = (two(), two());
        let mut first = record("a");
        first.plan.egress = before.take(&first).expect("is free");
        all.restore(&first);
        let second = all.take(&record("b")).expect("the other one is free");
        assert_ne!(second, first.plan.egress);
        all.take(&record("c")).expect_err("both are taken");
    }
}
