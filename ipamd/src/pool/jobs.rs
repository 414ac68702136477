//! What the owner task has others do for it, and what comes back: cloud calls
//! and the wiring of interfaces. A job touches no state; its result does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_dataplane::plan::{INTERFACE_TABLE_BASE, InterfacePlan};
use veni_dataplane::{DataPlane, KernelError};
use veni_pool::Action;
use veni_provider::{
    AddressSlots, AttachRequest, Family, Glimpse, Grant, Interface, InterfaceId, Inventory,
    Provider, ProviderError,
};

use super::state::PoolInterface;
use crate::crash;
use crate::repairs::Repairs;

/// A job's number, unique in this process.
pub(crate) type JobId = u64;

/// What a job is about, for the planner and for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// A planned change of what the node holds.
    Cloud {
        /// The family whose plan asked for it.
        family: Family,
        /// The action.
        action: Action,
        /// Why.
        reason: String,
    },
    /// A look at the inventory.
    Inventory,
    /// A glance at what the node sees by itself.
    Glance,
    /// Removing the rules of an interface that is gone.
    Unwire {
        /// Its table.
        table: u32,
    },
    /// Bringing an interface into service, or its rules up to date.
    Wire {
        /// The interface.
        interface: InterfaceId,
    },
}

/// What a job has brought.
#[derive(Debug)]
pub(crate) enum Outcome {
    Assigned {
        interface: InterfaceId,
        slots: AddressSlots,
        result: Result<Grant, ProviderError>,
    },
    Attached {
        result: Result<Interface, ProviderError>,
    },
    Released {
        interface: InterfaceId,
        cidrs: Vec<IpNet>,
        result: Result<(), ProviderError>,
    },
    Detached {
        interface: InterfaceId,
        cidrs: Vec<IpNet>,
        result: Result<(), ProviderError>,
    },
    Inventory {
        began: Instant,
        result: Result<Inventory, ProviderError>,
        /// The network's own ranges, which may grow while the node runs; `None`
        /// when they could not be had.
        network: Option<Vec<IpNet>>,
    },
    Glanced {
        glimpse: Option<Glimpse>,
    },
    Unwired {
        table: u32,
        result: Result<(), KernelError>,
    },
    Wired {
        interface: InterfaceId,
        sources: BTreeSet<IpNet>,
        result: Result<String, KernelError>,
    },
}

/// The two worlds that jobs act in.
#[derive(Clone)]
pub(crate) struct Worlds {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) kernel: Arc<dyn DataPlane>,
    pub(crate) repairs: Repairs,
}

impl Worlds {
    pub(crate) async fn assign(self, interface: InterfaceId, slots: AddressSlots) -> Outcome {
        let result = self.provider.assign(&interface, slots).await;
        crash::point("assign.answered");
        Outcome::Assigned {
            interface,
            slots,
            result,
        }
    }

    pub(crate) async fn attach(self, request: AttachRequest) -> Outcome {
        let result = self.provider.attach_interface(&request).await;
        crash::point("attach.answered");
        Outcome::Attached { result }
    }

    pub(crate) async fn release(self, interface: InterfaceId, cidrs: Vec<IpNet>) -> Outcome {
        let grant = super::state::grant_of(&cidrs);
        let result = self.provider.release(&interface, &grant).await;
        crash::point("release.answered");
        Outcome::Released {
            interface,
            cidrs,
            result,
        }
    }

    pub(crate) async fn detach(
        self,
        interface: InterfaceId,
        table: u32,
        cidrs: Vec<IpNet>,
    ) -> Outcome {
        // Rules that outlive their interface would swallow the next one's
        // packets; a kernel that refuses is told in the log and tried again by
        // the next interface that gets this table.
        if let Err(error) = self.kernel.remove_interface(table).await {
            tracing::warn!(%interface, table, %error, "failed to remove an interface's rules");
        }
        crash::point("detach.unwired");
        let result = self.provider.detach_interface(&interface).await;
        Outcome::Detached {
            interface,
            cidrs,
            result,
        }
    }

    pub(crate) async fn inventory(self) -> Outcome {
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

    pub(crate) async fn glance(self) -> Outcome {
        let glimpse = self.provider.glance().await;
        Outcome::Glanced { glimpse }
    }

    pub(crate) async fn unwire(self, table: u32) -> Outcome {
        let result = self.kernel.remove_interface(table).await;
        Outcome::Unwired { table, result }
    }

    /// `again`: the same plan was carried out before, so what is missing was removed by
    /// somebody else.
    pub(crate) async fn wire(
        self,
        interface: InterfaceId,
        plan: InterfacePlan,
        again: bool,
        delay: Duration,
    ) -> Outcome {
        if !delay.is_zero() {
            // Even a sleep of no time at all takes a millisecond.
            tokio::time::sleep(delay).await;
        }
        let result = self.kernel.ensure_interface(&plan).await.map(|report| {
            if again {
                self.repairs.tell(&report.repairs);
            }
            report.link
        });
        Outcome::Wired {
            interface,
            sources: plan.sources.into_iter().collect(),
            result,
        }
    }
}

/// The routing table of an interface.
pub(crate) fn table_of(interface: &PoolInterface) -> u32 {
    INTERFACE_TABLE_BASE + interface.cloud.device_index
}

/// What the data plane shall make of an interface.
pub(crate) fn interface_plan(
    interface: &PoolInterface,
    sources: &BTreeSet<IpNet>,
    mtu: u32,
) -> InterfacePlan {
    InterfacePlan {
        mac: interface.cloud.mac.0,
        primary: interface.cloud.primary,
        table: table_of(interface),
        own_addresses: interface.cloud.own_addresses.clone(),
        gateways: interface.cloud.gateways.clone(),
        sources: sources.iter().copied().collect(),
        mtu: (!interface.cloud.primary).then_some(mtu),
    }
}
