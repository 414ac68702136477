//! From the state to the plan, and from the plan to the jobs that carry it out.

use tokio::time::Instant;
use veni_pool::{Action, Demand, InFlight, counts, plan};
use veni_provider::{AttachRequest, Family, InterfaceId, SubnetId};

use super::jobs::Work;
use super::snapshot::{Circumstances, PlanMemory, cloud_slots};
use super::task::PoolTask;

impl PoolTask {
    pub(super) fn plan_family(&mut self, family: Family, now: Instant) {
        let memory = self.memory.get(&family).cloned().unwrap_or_default();
        let waiting = self.waiters.iter().map(|waiter| &waiter.holder.key);
        let further = self.state.further_attachments(waiting);
        let circumstances = Circumstances {
            epoch: self.epoch,
            now,
            in_flight: self.in_flight(family),
            demand: Demand {
                waiting: u32::try_from(self.waiters.len()).unwrap_or(u32::MAX),
                expected: 0,
            },
            memory: &memory,
            holds: self.troubles.holds(family, self.epoch),
            max_pods: self.settings.max_pods.saturating_add(further),
            max_interfaces: self.settings.max_interfaces,
        };
        let snapshot = self.state.snapshot(family, &circumstances);
        let targets = match family {
            Family::V4 => &self.settings.targets,
            Family::V6 => &self.settings.targets_v6,
        };
        let plan = plan(&snapshot, targets);
        let counts = counts(&snapshot);
        let waited_for = self.state.free_without_link(family, now);
        let coming = counts.free.saturating_add(counts.cooling);
        self.coming
            .insert(family, coming.saturating_add(waited_for));
        self.memory.insert(
            family,
            PlanMemory {
                excess_since_ms: plan.excess_since_ms,
                recent_peak: plan.recent_peak,
            },
        );
        // What was remembered may be older than the last change of the daemon
        // before, and nothing is bought twice.
        let looked = self.looked;
        for planned in plan.actions.iter().filter(|_| looked) {
            self.start_action(family, planned.action.clone(), planned.reason.clone());
        }
        self.plans.insert(family, plan);
    }

    fn in_flight(&self, family: Family) -> Vec<InFlight> {
        let running = self.work.values().filter_map(|work| match work {
            Work::Cloud {
                family: of, action, ..
            } if *of == family => Some(action),
            _ => None,
        });
        let unsettled = self
            .unsettled
            .iter()
            .filter(|unsettled| unsettled.family == family)
            .map(|unsettled| &unsettled.action);
        running
            .chain(unsettled)
            .map(|action| InFlight {
                action: action.clone(),
            })
            .collect()
    }

    fn start_action(&mut self, family: Family, action: Action, reason: String) {
        if self.interface_is_busy(&action) {
            return;
        }
        let worlds = self.worlds.clone();
        let work = Work::Cloud {
            family,
            action: action.clone(),
            reason,
        };
        match action {
            Action::Assign {
                interface,
                kind,
                count,
            } => {
                let slots = cloud_slots(family, kind, count);
                let interface = InterfaceId::new(interface);
                // Before the call, so that a daemon that is killed in it knows its own.
                self.state.origins.assigning(&interface, slots);
                self.keep_record();
                self.start(work, worlds.assign(interface, slots));
            }
            Action::Attach {
                subnet,
                kind,
                count,
            } => {
                let request = AttachRequest {
                    subnet: subnet.map(SubnetId::new),
                    slots: (count > 0).then(|| cloud_slots(family, kind, count)),
                    token: attach_token(&self.state.node.instance_id),
                };
                self.start(work, worlds.attach(request));
            }
            Action::Release { interface, cidrs } => {
                self.start_release(work, InterfaceId::new(interface), cidrs);
            }
            Action::Detach { interface } => {
                self.start_detach(work, InterfaceId::new(interface));
            }
        }
    }

    /// One action per interface at a time, whichever family asks for it.
    pub(super) fn interface_is_busy(&self, action: &Action) -> bool {
        let Some(wanted) = interface_of(action) else {
            return false;
        };
        self.work.values().any(|work| match work {
            Work::Cloud { action, .. } => interface_of(action) == Some(wanted),
            _ => false,
        })
    }
}

/// The interface that an action is about; `None` for one that is to come.
pub(super) fn interface_of(action: &Action) -> Option<&str> {
    match action {
        Action::Assign { interface, .. }
        | Action::Release { interface, .. }
        | Action::Detach { interface } => Some(interface),
        Action::Attach { .. } => None,
    }
}

/// Makes one attachment recognisable should its request reach the cloud twice.
fn attach_token(instance: &str) -> String {
    format!("veni-{instance}-{:032x}", rand::random::<u128>())
}
