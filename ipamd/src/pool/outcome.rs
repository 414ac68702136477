//! What the results of jobs change.

use ipnet::IpNet;
use tokio::task::JoinError;
use tokio::time::Instant;
use veni_pool::Action;
use veni_provider::{AddressSlots, Family, Grant, Interface, InterfaceId, ProviderError};

use super::jobs::{JobId, Outcome, Work};
use super::state::grant_cidrs;
use super::task::PoolTask;
use crate::events::EventKind;

impl PoolTask {
    pub(super) fn job_ended(&mut self, ended: Result<(JobId, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            // A panic is a defect: it ends the process, which starts again
            // from journal, kernel and cloud.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let Some(work) = self.work.remove(&id) else {
            return;
        };
        let now = Instant::now();
        match outcome {
            Outcome::Inventory {
                began,
                result,
                network,
            } => {
                self.network_is(network);
                self.looked(began, result, now);
            }
            Outcome::Glanced { glimpse } => self.glanced(glimpse, now),
            Outcome::Wired {
                interface,
                sources,
                result,
            } => self.wired(interface, sources, result, now),
            Outcome::Unwired { table, result } => {
                if let Err(error) = result {
                    tracing::warn!(table, %error, "the rules of an interface that is gone stay until another gets its table");
                }
            }
            changed => {
                if let Work::Cloud { family, action, .. } = work {
                    self.changed(family, action, changed, now);
                    self.remember_cloud();
                    self.keep_record();
                    self.note_node_addresses();
                }
            }
        }
    }

    fn changed(&mut self, family: Family, action: Action, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Assigned {
                interface,
                slots,
                result,
            } => self.assigned(family, action, interface, slots, result, now),
            Outcome::Attached { result } => self.attached(family, action, result, now),
            Outcome::Released {
                interface,
                cidrs,
                result,
            } => self.released(family, action, interface, &cidrs, result, now),
            Outcome::Detached {
                interface,
                cidrs,
                result,
            } => self.detached(family, action, interface, &cidrs, result, now),
            Outcome::Inventory { .. }
            | Outcome::Glanced { .. }
            | Outcome::Unwired { .. }
            | Outcome::Wired { .. } => {}
        }
    }

    fn assigned(
        &mut self,
        family: Family,
        action: Action,
        interface: InterfaceId,
        slots: AddressSlots,
        result: Result<Grant, ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(grant) => {
                self.cloud_succeeded(family, &action);
                self.state.add_grant(&interface, &grant, now);
                let cidrs = grant_cidrs(&grant);
                self.state.origins.assigned(&interface, slots, &cidrs);
                self.state.learn_from_success(&interface);
                self.ours_again(&cidrs);
                let came = cidrs.len();
                tracing::info!(%interface, ?slots, came, "addresses assigned");
                self.tell(
                    EventKind::Cloud,
                    format!("{interface}: {came} {} assigned", noun(slots, came)),
                );
            }
            Err(error) => match self.change_failed(family, action, &error, now) {
                true => self.state.origins.refused(&interface, slots),
                false => self.state.origins.lost(&interface, slots, now),
            },
        }
    }

    fn attached(
        &mut self,
        family: Family,
        action: Action,
        result: Result<Interface, ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(interface) => {
                self.cloud_succeeded(family, &action);
                let (id, index) = (interface.id.clone(), interface.device_index);
                let held = interface.addresses.len() + interface.prefixes.len();
                tracing::info!(interface = %id, device_index = index, held, "interface attached");
                self.tell(
                    EventKind::Cloud,
                    format!("interface {id} attached as device {index} with {held} slots filled"),
                );
                let cidrs = super::merge::described_cidrs(&interface);
                self.state.origins.attached(&interface, now);
                self.state.add_attached(interface, now);
                self.state.learn_from_arrival(&id);
                self.ours_again(&cidrs);
                self.settle_departure(&id);
            }
            Err(error) => {
                self.change_failed(family, action, &error, now);
            }
        }
    }

    fn released(
        &mut self,
        family: Family,
        action: Action,
        interface: InterfaceId,
        cidrs: &[IpNet],
        result: Result<(), ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {
                self.cloud_succeeded(family, &action);
                self.state.remove_released(&interface, cidrs, now);
                self.state.origins.given_back(cidrs);
                tracing::info!(%interface, count = cidrs.len(), "addresses given back");
                self.tell(
                    EventKind::Cloud,
                    format!("{interface}: {} slots given back", cidrs.len()),
                );
            }
            Err(error) => {
                if self.change_failed(family, action, &error, now) {
                    let kept = self.release_refused(cidrs);
                    self.state.set_releasing(&interface, &kept, false);
                    if kept.len() < cidrs.len() {
                        self.look_after_doubt(now);
                    }
                } else {
                    self.state.release_lost(cidrs, now);
                }
            }
        }
    }

    fn detached(
        &mut self,
        family: Family,
        action: Action,
        interface: InterfaceId,
        cidrs: &[IpNet],
        result: Result<(), ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {
                self.cloud_succeeded(family, &action);
                self.state.remove_released(&interface, cidrs, now);
                self.state.interfaces.remove(&interface);
                self.state.departed.done(&interface, now);
                self.state.origins.detached(&interface);
                tracing::info!(%interface, "interface detached");
                self.tell(EventKind::Cloud, format!("interface {interface} detached"));
            }
            Err(error) => {
                if self.change_failed(family, action, &error, now) {
                    self.release_refused(cidrs);
                    if self.state.departed.refused(&interface) {
                        self.state.bring_back(&interface);
                        self.settle_departure(&interface);
                    } else {
                        self.look_after_doubt(now);
                    }
                } else {
                    self.state.release_lost(cidrs, now);
                    self.state.departed.lost(&interface, now);
                }
            }
        }
    }
}

fn noun(slots: AddressSlots, count: usize) -> &'static str {
    match (slots, count) {
        (AddressSlots::Addresses { .. }, 1) => "address",
        (AddressSlots::Addresses { .. }, _) => "addresses",
        (AddressSlots::Prefixes { .. }, 1) => "prefix",
        (AddressSlots::Prefixes { .. }, _) => "prefixes",
    }
}
