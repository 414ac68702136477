//! What the owner task has others do for it: calls of the cloud, and work in the kernel.
//! A job touches no state; its outcome does.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_dataplane::{DataPlane, KernelError};
use veni_nouns::InterfaceId;
use veni_provider::{
    AddressSlots, ChangeResult, ErrorClass, Grant, Interface, Inventory, LocalView, Provider,
    ProviderError,
};

use super::change::{Change, begun_before};
use super::interface_setup::Try;
use super::operations::Operations;
use crate::crash;
use crate::journal::{Call, RunningChange};
use crate::repairs::Repairs;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Makes a change in the cloud.
    Change(Change, Call),
    /// Waits for a change that a daemon before has begun.
    Resume(RunningChange),
    /// Asks for the inventory.
    Inventory,
    /// Has the node look at its interfaces by itself.
    LocalView,
    /// Brings an interface into service, or its rules up to date.
    SetUp(Try),
    /// Removes the rules of a routing table that no interface has.
    RemoveRules { table: u32 },
}

/// The answer that a result of a call means.
fn answer(call: Call, result: Result<ChangeResult, ProviderError>) -> Answer {
    match call {
        Call::Assign { interface, slots } => Answer::Assigned {
            interface,
            slots,
            result: of_kind(result, |result| match result {
                ChangeResult::Assigned(grant) => Some(grant),
                _ => None,
            }),
        },
        Call::Attach(_) => Answer::Attached(of_kind(result, |result| match result {
            ChangeResult::Attached(interface) => Some(Box::new(interface)),
            _ => None,
        })),
        Call::Release { interface, ranges } => Answer::Released {
            interface,
            ranges,
            result: of_kind(result, |result| {
                (result == ChangeResult::Released).then_some(())
            }),
        },
        Call::Detach {
            interface, ranges, ..
        } => Answer::Detached {
            interface,
            ranges,
            result: of_kind(result, |result| {
                (result == ChangeResult::Detached).then_some(())
            }),
        },
    }
}

/// A result of another kind of change is a provider's defect: nobody knows what was done.
fn of_kind<T>(
    result: Result<ChangeResult, ProviderError>,
    expected: impl FnOnce(ChangeResult) -> Option<T>,
) -> Result<T, ProviderError> {
    expected(result?).ok_or_else(|| {
        let reason = "the provider has told the result of another kind of change";
        ProviderError::new(ErrorClass::OutcomeUnknown, "change", reason)
    })
}

/// What a job has brought.
#[derive(Debug)]
pub(super) enum Outcome {
    Change(Change, Answer),
    Inventory {
        began: Instant,
        result: Result<Inventory, ProviderError>,
        /// The network's own ranges, which may grow while the node runs; `None`
        /// when they could not be had.
        network: Option<Vec<IpNet>>,
    },
    LocalView(Option<LocalView>),
    SetUp {
        interface: InterfaceId,
        sources: BTreeSet<IpNet>,
        /// The name of its link.
        result: Result<String, KernelError>,
    },
    RulesRemoved {
        table: u32,
        result: Result<(), KernelError>,
    },
}

/// The cloud's answer to a change.
#[derive(Debug)]
pub(super) enum Answer {
    Assigned {
        interface: InterfaceId,
        slots: AddressSlots,
        result: Result<Grant, ProviderError>,
    },
    Attached(Result<Box<Interface>, ProviderError>),
    Released {
        interface: InterfaceId,
        ranges: Vec<IpNet>,
        result: Result<(), ProviderError>,
    },
    Detached {
        interface: InterfaceId,
        ranges: Vec<IpNet>,
        result: Result<(), ProviderError>,
    },
}

/// What jobs act on: the cloud and the node's kernel.
#[derive(Clone)]
pub(crate) struct Backends {
    pub(crate) provider: Arc<dyn Provider>,
    /// Changes that run in the cloud on their own.
    pub(crate) operations: Operations,
    pub(crate) kernel: Arc<dyn DataPlane>,
    pub(crate) repairs: Repairs,
}

impl Backends {
    /// Does a job to its end. Dropped on the way, it may have been done or not.
    pub(super) async fn run(self, job: Job) -> Outcome {
        match job {
            Job::Change(change, call) => {
                let answer = self.call(&change, call).await;
                Outcome::Change(change, answer)
            }
            Job::Resume(entry) => {
                let result = self.operations.resume(&*self.provider, &entry).await;
                Outcome::Change(begun_before(&entry), answer(entry.call, result))
            }
            Job::Inventory => self.inventory().await,
            Job::LocalView => Outcome::LocalView(self.provider.local_view().await),
            Job::SetUp(one) => self.set_up(one).await,
            Job::RemoveRules { table } => Outcome::RulesRemoved {
                table,
                result: self.kernel.remove_interface(table).await,
            },
        }
    }

    async fn call(&self, change: &Change, call: Call) -> Answer {
        if let Call::Detach {
            interface, table, ..
        } = &call
        {
            self.remove_rules_of(interface, *table).await;
            crash::point("detach.unwired").await;
        }
        let provider = &*self.provider;
        let result = self.operations.carry_out(provider, change, &call).await;
        match &call {
            Call::Assign { .. } => crash::point("assign.answered").await,
            Call::Attach(_) => crash::point("attach.answered").await,
            Call::Release { .. } => crash::point("release.answered").await,
            Call::Detach { .. } => {}
        }
        answer(call, result)
    }

    /// A kernel that refuses is asked again when the interface is gone; until it has
    /// removed the rules, no other interface gets the table.
    async fn remove_rules_of(&self, interface: &InterfaceId, table: Option<u32>) {
        let Some(table) = table else { return };
        if let Err(error) = self.kernel.remove_interface(table).await {
            tracing::warn!(%interface, table, %error, "failed to remove an interface's rules");
        }
    }

    async fn inventory(&self) -> Outcome {
        let began = Instant::now();
        let result = self.provider.inventory().await;
        let node = match &result {
            Ok(_) => self.provider.node().await.ok(),
            Err(_) => None,
        };
        Outcome::Inventory {
            began,
            result,
            network: node.map(|node| node.network_cidrs),
        }
    }

    async fn set_up(&self, one: Try) -> Outcome {
        if !one.delay.is_zero() {
            // Even a sleep of no time at all takes a millisecond.
            tokio::time::sleep(one.delay).await;
        }
        let result = self.kernel.ensure_interface(&one.plan).await;
        let result = result.map(|report| {
            if one.repeated {
                // What was missing was removed by somebody else.
                self.repairs.tell(&report.repairs);
            }
            report.link
        });
        let sources = one.plan.source_routing.sources().iter().copied();
        Outcome::SetUp {
            interface: one.id,
            sources: sources.collect(),
            result,
        }
    }
}
