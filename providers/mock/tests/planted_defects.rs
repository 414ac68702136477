//! The suite of behaviours judges: for each planted defect of a provider one
//! behaviour is not shown. The same behaviour is shown without the defect, as
//! the conformance tests see.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ipnet::IpNet;
use veni_provider::conformance::behaviour;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ErrorClass, Grant, Interface, InterfaceId,
    Inventory, Node, Provider, ProviderError, Scarcity, SubnetId,
};
use veni_provider_mock::Profile;

mod in_process;

use in_process::{InProcess, unknown_interface};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    RepeatsOldAddresses,
    GivesTheGateway,
    UnalignedPrefix,
    LimitAsExhausted,
    PrefixesAsAddresses,
    UnknownAsInvalid,
    FrozenInventory,
    ForgetsToRelease,
    ReleasesEverything,
    SecondReleaseFails,
    ReleasesOwnAddress,
    IgnoresTokens,
    SecondDetachFails,
    ForgetsToDetach,
    NeverAtTheLimit,
    LosesDoubt,
}

/// A provider with a defect.
struct Defective {
    inner: Arc<dyn Provider>,
    defect: Defect,
    given: Mutex<Vec<std::net::IpAddr>>,
    first: Mutex<Option<Inventory>>,
    calls: AtomicU32,
}

impl Defective {
    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn error(class: ErrorClass) -> ProviderError {
        ProviderError::new(class, "test", "planted")
    }

    fn distort(&self, error: ProviderError) -> ProviderError {
        let class = match (self.defect, &error.class) {
            (Defect::LimitAsExhausted, ErrorClass::LimitReached { .. }) => ErrorClass::Exhausted {
                subnet: SubnetId::new("subnet-a"),
                scarcity: Scarcity::Addresses,
            },
            (Defect::PrefixesAsAddresses, ErrorClass::Exhausted { subnet, .. }) => {
                ErrorClass::Exhausted {
                    subnet: subnet.clone(),
                    scarcity: Scarcity::Addresses,
                }
            }
            (Defect::UnknownAsInvalid, ErrorClass::NotFound) => ErrorClass::Invalid,
            (Defect::LosesDoubt, ErrorClass::OutcomeUnknown) => ErrorClass::Transient,
            (_, class) => class.clone(),
        };
        Self::error(class)
    }
}

#[async_trait]
impl Provider for Defective {
    fn name(&self) -> &'static str {
        "defective"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        self.inner.node().await
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        let now = self.inner.inventory().await?;
        if !self.has(Defect::FrozenInventory) {
            return Ok(now);
        }
        Ok(self.first.lock().expect("lock").get_or_insert(now).clone())
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        let mut request = request.clone();
        if self.has(Defect::IgnoresTokens) {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            request.token.push_str(&number.to_string());
        }
        let answer = self.inner.attach_interface(&request).await;
        match answer {
            Err(error)
                if self.has(Defect::NeverAtTheLimit)
                    && matches!(error.class, ErrorClass::LimitReached { .. }) =>
            {
                let inventory = self.inner.inventory().await?;
                let last = inventory.interfaces.last().cloned();
                last.ok_or(error)
            }
            other => other,
        }
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        if self.has(Defect::ForgetsToDetach) {
            return Ok(());
        }
        let inventory = self.inner.inventory().await?;
        let known = inventory.interfaces.iter().any(|i| i.id == *interface);
        if self.has(Defect::SecondDetachFails) && !known && *interface == unknown_interface() {
            return Err(Self::error(ErrorClass::NotFound));
        }
        self.inner.detach_interface(interface).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let mut grant = self
            .inner
            .assign(interface, slots)
            .await
            .map_err(|error| self.distort(error))?;
        match self.defect {
            Defect::RepeatsOldAddresses => {
                let mut given = self.given.lock().expect("lock");
                given.append(&mut grant.addresses);
                grant.addresses.clone_from(&given);
            }
            Defect::GivesTheGateway => {
                let inventory = self.inner.inventory().await?;
                grant.addresses[0] = inventory.interfaces[0].gateways[0];
            }
            Defect::UnalignedPrefix => {
                for prefix in &mut grant.prefixes {
                    let shifted = match prefix.addr() {
                        std::net::IpAddr::V4(a) => {
                            std::net::Ipv4Addr::from(u32::from(a) + 4).into()
                        }
                        other => other,
                    };
                    *prefix = IpNet::new(shifted, prefix.prefix_len()).expect("a prefix");
                }
            }
            _ => {}
        }
        Ok(grant)
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        let earlier = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.defect {
            Defect::ForgetsToRelease => Ok(()),
            Defect::SecondReleaseFails if earlier > 0 => Err(Self::error(ErrorClass::NotFound)),
            Defect::ReleasesEverything => {
                tokio::time::sleep(self.capabilities().settle_time).await;
                let inventory = self.inner.inventory().await?;
                let all = Grant {
                    addresses: inventory.interfaces[0].addresses.clone(),
                    prefixes: Vec::new(),
                };
                self.inner.release(interface, &all).await
            }
            Defect::ReleasesOwnAddress => {
                let _ = self.inner.release(interface, grant).await;
                Ok(())
            }
            _ => {
                let answer = self.inner.release(interface, grant).await;
                answer.map_err(|error| self.distort(error))
            }
        }
    }
}

async fn not_shown(defect: Defect, name: &str) {
    let fixture = InProcess::new(Profile::Aws, move |inner| {
        Arc::new(Defective {
            inner,
            defect,
            given: Mutex::default(),
            first: Mutex::default(),
            calls: AtomicU32::new(0),
        })
    });
    let behaviour = behaviour(name).expect("is in the table");
    let outcome = behaviour.run(&fixture).await;
    assert!(
        outcome.is_err(),
        "{defect:?} was not seen by {name}: {outcome:?}"
    );
}

macro_rules! defects {
    ($($test:ident: $defect:ident => $behaviour:literal),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $test() {
            not_shown(Defect::$defect, $behaviour).await;
        })*
    };
}

defects! {
    old_addresses_in_a_grant_are_seen:
        RepeatsOldAddresses => "only_new_addresses_of_the_subnet_are_returned",
    a_reserved_address_in_a_grant_is_seen:
        GivesTheGateway => "only_new_addresses_of_the_subnet_are_returned",
    an_unaligned_prefix_is_seen:
        UnalignedPrefix => "prefixes_are_aligned_and_do_not_overlap",
    a_limit_told_as_exhaustion_is_seen:
        LimitAsExhausted => "a_full_interface_has_reached_its_limit",
    missing_prefixes_told_as_missing_addresses_are_seen:
        PrefixesAsAddresses =>
            "a_fragmented_subnet_is_exhausted_of_prefixes_and_not_of_addresses",
    a_wrong_class_for_an_unknown_interface_is_seen:
        UnknownAsInvalid => "an_unknown_interface_is_not_found",
    an_inventory_that_never_follows_is_seen:
        FrozenInventory => "assigned_addresses_show_in_the_inventory",
    addresses_that_stay_after_release_are_seen:
        ForgetsToRelease => "released_addresses_go_away",
    releasing_more_than_was_named_is_seen:
        ReleasesEverything => "what_was_not_named_stays",
    a_release_that_is_not_idempotent_is_seen:
        SecondReleaseFails => "releasing_twice_is_success",
    releasing_the_own_address_is_seen:
        ReleasesOwnAddress => "the_own_address_cannot_be_released",
    two_interfaces_for_one_token_are_seen:
        IgnoresTokens => "one_token_makes_one_interface",
    a_detach_that_is_not_idempotent_is_seen:
        SecondDetachFails => "detaching_twice_is_success",
    an_interface_that_stays_after_detach_is_seen:
        ForgetsToDetach => "a_detached_interface_gives_everything_back",
    an_interface_beyond_the_limit_is_seen:
        NeverAtTheLimit => "an_interface_beyond_the_limit_is_refused",
    a_doubt_told_as_failure_is_seen:
        LosesDoubt => "a_lost_answer_to_release_may_be_repeated",
}
