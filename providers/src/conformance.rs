//! The behaviours that any provider must show, as a table of async functions
//! over a [`Fixture`]. They judge by the trait alone and wait for the cloud's
//! settle time, so they run against a fake on a paused clock and against an
//! emulator in real time alike.

mod assigning;
mod attaching;
mod inventory;
mod lost_answers;
mod operations;
mod releasing;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use crate::{
    ErrorClass, Interface, InterfaceId, Inventory, Operation, Provider, ProviderError, SubnetId,
};

/// Added to the promised settle time, for a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node to try a provider on.
#[derive(Clone)]
pub struct TestNode {
    /// The provider that speaks for it.
    pub provider: Arc<dyn Provider>,
    /// The subnet of its primary interface, in which nobody else is.
    pub subnet: SubnetId,
}

impl fmt::Debug for TestNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNode")
            .field("provider", &self.provider.name())
            .field("subnet", &self.subnet)
            .finish()
    }
}

/// What the suite needs of a cloud besides the trait. A method that answers
/// `false` or `None` says that this cloud cannot do it; the behaviours that
/// need it are then reported as not applicable.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A fresh node with its primary interface alone, in a subnet of its own.
    async fn node(&self) -> TestNode;

    /// One more fresh node, in the subnet of another.
    async fn neighbour(&self, node: &TestNode) -> Option<TestNode>;

    /// Well-formed, but of no interface.
    fn unknown_interface(&self) -> InterfaceId;

    /// Takes addresses of a subnet until so many IPv4 addresses are free.
    async fn fill(&self, subnet: &SubnetId, leave_free: u32) -> bool;

    /// Takes addresses of a subnet so that addresses are left, but no prefix.
    async fn fragment(&self, subnet: &SubnetId) -> bool;

    /// The next call of this operation is carried out, and its answer lost.
    async fn lose_answer(&self, node: &TestNode, operation: Operation) -> bool;

    /// The node is not needed any more.
    async fn finish(&self, node: TestNode);
}

/// What came of trying a behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was shown.
    Shown,
    /// It is about something that this cloud or this fixture cannot do.
    NotApplicable(&'static str),
}

/// A behaviour that was not shown, and what was seen instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotShown(String);

impl From<ProviderError> for NotShown {
    fn from(error: ProviderError) -> Self {
        Self(format!("{error} ({})", error.class.label()))
    }
}

/// What a behaviour's function returns.
pub type Outcome = Result<Verdict, NotShown>;

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One behaviour that any provider must show.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// What must be so, as a sentence.
    pub name: &'static str,
    run: for<'a> fn(&'a dyn Fixture, TestNode) -> Running<'a>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Behaviour").field(&self.name).finish()
    }
}

impl Behaviour {
    /// Tries it on a fresh node of the fixture.
    ///
    /// # Errors
    /// It was not shown.
    pub async fn run(&self, fixture: &dyn Fixture) -> Outcome {
        let node = fixture.node().await;
        let outcome = (self.run)(fixture, node.clone()).await;
        fixture.finish(node).await;
        outcome
    }
}

/// Calls a macro with all behaviours as `module::name`, so that a test binary
/// can make a test of each.
#[macro_export]
macro_rules! for_each_behaviour {
    ($make:ident) => {
        $make! {
            inventory::the_primary_interface_shows_with_its_own_address,
            inventory::the_subnet_of_the_primary_interface_is_among_the_subnets,
            inventory::the_node_has_limits_and_its_network,
            assigning::only_new_addresses_of_the_subnet_are_returned,
            assigning::assigned_addresses_show_in_the_inventory,
            assigning::prefixes_are_aligned_and_do_not_overlap,
            assigning::ipv6_addresses_and_prefixes_lie_in_the_ipv6_range,
            assigning::a_full_interface_has_reached_its_limit,
            assigning::a_prefix_takes_one_slot,
            assigning::a_full_subnet_is_exhausted_of_addresses,
            assigning::a_fragmented_subnet_is_exhausted_of_prefixes_and_not_of_addresses,
            assigning::an_unknown_interface_is_not_found,
            assigning::two_nodes_never_get_the_same_address,
            releasing::released_addresses_go_away,
            releasing::released_addresses_can_be_had_again,
            releasing::a_released_prefix_is_free_as_a_whole,
            releasing::releasing_twice_is_success,
            releasing::the_own_address_cannot_be_released,
            releasing::what_was_not_named_stays,
            attaching::an_attached_interface_holds_what_was_asked_for,
            attaching::an_interface_beyond_the_limit_is_refused,
            attaching::a_detached_interface_gives_everything_back,
            attaching::detaching_twice_is_success,
            attaching::the_primary_interface_cannot_be_detached,
            attaching::one_token_makes_one_interface,
            attaching::an_interface_that_cannot_be_filled_is_not_left_behind,
            attaching::two_interfaces_never_get_the_same_address,
            attaching::a_cloud_that_cannot_attach_says_so,
            lost_answers::a_lost_answer_to_assign_leaves_a_doubt_that_the_inventory_settles,
            lost_answers::a_lost_answer_to_release_may_be_repeated,
            lost_answers::a_lost_answer_to_attach_is_found_again_by_its_token,
            lost_answers::a_dropped_call_leaves_a_state_that_the_inventory_tells,
            operations::a_change_that_was_begun_is_brought_to_its_end,
            operations::an_interface_takes_no_second_change_while_it_is_updating,
            operations::an_operation_that_the_cloud_does_not_know_is_not_found,
        }
    };
}

macro_rules! table {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// All behaviours.
        pub const BEHAVIOURS: &[Behaviour] = &[
            $(Behaviour {
                name: stringify!($name),
                run: |fixture, node| Box::pin($module::$name(fixture, node)),
            }),*
        ];
    };
}

for_each_behaviour!(table);

/// A behaviour by its name.
pub fn behaviour(name: &str) -> Option<Behaviour> {
    BEHAVIOURS.iter().copied().find(|one| one.name == name)
}

/// Tries all behaviours, one after the other, each on a fresh node.
pub async fn run(fixture: &dyn Fixture) -> Vec<(&'static str, Outcome)> {
    let mut outcomes = Vec::new();
    for behaviour in BEHAVIOURS {
        outcomes.push((behaviour.name, behaviour.run(fixture).await));
    }
    outcomes
}

fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), NotShown> {
    if condition {
        Ok(())
    } else {
        Err(NotShown(otherwise()))
    }
}

/// The class of an error that must come.
fn refused<T: fmt::Debug>(
    answer: Result<T, ProviderError>,
    what: &str,
) -> Result<ErrorClass, NotShown> {
    match answer {
        Err(error) => Ok(error.class),
        Ok(value) => Err(NotShown(format!("{what} must fail, and gave {value:?}"))),
    }
}

fn ensure_class(seen: &ErrorClass, wanted: &ErrorClass) -> Result<(), NotShown> {
    ensure(seen == wanted, || {
        format!("expected {wanted:?}, saw {seen:?}")
    })
}

/// The primary interface in an inventory.
fn primary(inventory: &Inventory) -> Result<&Interface, NotShown> {
    let found = inventory.interfaces.iter().find(|one| one.primary);
    found.ok_or_else(|| NotShown("the inventory has no primary interface".to_owned()))
}

/// The primary interface as the inventory shows it now.
async fn primary_now(node: &TestNode) -> Result<Interface, NotShown> {
    Ok(primary(&node.provider.inventory().await?)?.clone())
}

/// Free IPv4 addresses of the node's subnet as the inventory tells them.
fn free(node: &TestNode, inventory: &Inventory) -> Option<u32> {
    let subnet = inventory.subnets.iter().find(|s| s.id == node.subnet);
    subnet.map(|subnet| subnet.free_ipv4)
}

/// Waits until the inventory shows something, up to the cloud's settle time.
async fn settle(
    node: &TestNode,
    what: &str,
    shows: impl Fn(&Inventory) -> bool + Send,
) -> Result<Inventory, NotShown> {
    let deadline = Instant::now() + node.provider.capabilities().settle_time + PATIENCE;
    loop {
        let inventory = node.provider.inventory().await;
        match inventory {
            Ok(inventory) if shows(&inventory) => return Ok(inventory),
            last if Instant::now() >= deadline => {
                return Err(NotShown(format!(
                    "{what}; the inventory still says {last:?}"
                )));
            }
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}
