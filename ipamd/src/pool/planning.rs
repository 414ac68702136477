//! The pool's plans, one for each family: what one hands on to the next, and what the
//! last ones said.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use veni_nouns::Family;
use veni_pool::reasons::Hopeless;
use veni_pool::{
    Action, Demand, Holds, InFlight, Plan, PlannedAction, Scheme, Snapshot, Targets, counts, plan,
};

use super::handle::Wishes;
use super::holdings::Holdings;
use super::interface_setup::free_without_link;
use super::releases::Releases;
use super::snapshot::{Circumstances, PlanMemory, snapshot};

/// What the plans aim at.
#[derive(Debug, Clone)]
pub(super) struct Aims {
    pub(super) targets: Targets,
    /// For IPv6: one prefix is plenty.
    pub(super) targets_v6: Targets,
    pub(super) max_pods: u32,
    /// `MAX_ENI`.
    pub(super) max_interfaces: Option<u32>,
    /// The node is cordoned: interfaces stay, and come only for pods that wait.
    pub(super) interfaces_stay: bool,
}

/// What is under way and wanted when a plan is made.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) in_flight: Vec<InFlight>,
    pub(super) holds: Holds,
    pub(super) demand: Demand,
    /// Attachments that are more than one of their pod.
    pub(super) further_attachments: u32,
}

/// The last plan of a family.
#[derive(Debug)]
struct Last {
    plan: Plan,
    /// Addresses that nobody has and that could not be given out yet.
    coming: u32,
}

/// The plans of all families.
#[derive(Debug)]
pub(super) struct Planning {
    aims: Aims,
    /// Zero of the planner's clock.
    epoch: Instant,
    last: BTreeMap<Family, Last>,
}

impl Planning {
    pub(super) fn new(aims: Aims) -> Self {
        Self {
            aims,
            epoch: Instant::now(),
            last: BTreeMap::new(),
        }
    }

    /// Zero of the planner's clock.
    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Makes the plan of a family. Tells what is to be done.
    pub(super) fn plan(
        &mut self,
        family: Family,
        holdings: &Holdings,
        releases: &Releases,
        wanted: Wanted,
        now: Instant,
    ) -> Vec<PlannedAction> {
        let snapshot = self.snapshot(family, holdings, releases, wanted, now);
        let mut plan = plan(&snapshot, self.targets(family));
        if self.aims.interfaces_stay {
            let waits = self.attaches_for_those_who_wait(family, &snapshot);
            plan.actions.retain(|planned| match planned.action {
                Action::Attach { .. } => waits,
                Action::Detach { .. } => false,
                Action::Assign { .. } | Action::Release { .. } => true,
            });
        }
        let counts = counts(&snapshot);
        let coming = counts.free.saturating_add(counts.cooling);
        let coming = coming.saturating_add(free_without_link(holdings, family, now));
        let actions = plan.actions.clone();
        self.last.insert(family, Last { plan, coming });
        actions
    }

    /// Whether an interface would come if nothing were kept to spare and no pod were expected.
    fn attaches_for_those_who_wait(&self, family: Family, snapshot: &Snapshot) -> bool {
        let none_to_spare = Targets {
            scheme: Scheme::Aws {
                warm_eni: 0,
                warm_ip: None,
                minimum_ip: None,
                warm_prefix: None,
            },
            ..*self.targets(family)
        };
        let mut those_who_wait = snapshot.clone();
        those_who_wait.demand.expected = 0;
        let plan = plan(&those_who_wait, &none_to_spare);
        let mut actions = plan.actions.iter();
        actions.any(|planned| matches!(planned.action, Action::Attach { .. }))
    }

    /// Why no address could come for one more pod, if that is so.
    pub(super) fn hopeless_for_one_more(
        &self,
        family: Family,
        holdings: &Holdings,
        releases: &Releases,
        wanted: Wanted,
        now: Instant,
    ) -> Option<Hopeless> {
        let mut snapshot = self.snapshot(family, holdings, releases, wanted, now);
        let free = counts(&snapshot).free;
        let waiting = &mut snapshot.demand.waiting;
        *waiting = free.saturating_add(1).max(*waiting);
        plan(&snapshot, self.targets(family)).hopeless
    }

    fn snapshot(
        &self,
        family: Family,
        holdings: &Holdings,
        releases: &Releases,
        wanted: Wanted,
        now: Instant,
    ) -> Snapshot {
        let memory = self.memory(family);
        let circumstances = Circumstances {
            epoch: self.epoch,
            now,
            in_flight: wanted.in_flight,
            demand: wanted.demand,
            memory: &memory,
            holds: wanted.holds,
            max_pods: self
                .aims
                .max_pods
                .saturating_add(wanted.further_attachments),
            max_interfaces: self.aims.max_interfaces,
        };
        snapshot(holdings, releases, family, &circumstances)
    }

    fn targets(&self, family: Family) -> &Targets {
        match family {
            Family::V4 => &self.aims.targets,
            Family::V6 => &self.aims.targets_v6,
        }
    }

    /// Aims at something else from the next plan on.
    pub(super) fn aim_at(&mut self, wishes: Wishes) {
        self.aims.targets = wishes.targets;
        self.aims.max_pods = wishes.max_pods;
        self.aims.interfaces_stay = wishes.interfaces_stay;
    }

    /// Whether interfaces stay because the node is cordoned.
    pub(super) fn interfaces_stay(&self) -> bool {
        self.aims.interfaces_stay
    }

    fn memory(&self, family: Family) -> PlanMemory {
        let last = self.last.get(&family);
        last.map_or_else(PlanMemory::default, |last| PlanMemory {
            excess_since_ms: last.plan.excess_since_ms,
            recent_peak: last.plan.recent_peak,
        })
    }

    /// The last plans.
    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.last.values().map(|last| &last.plan)
    }

    /// Why waiting ADDs cannot be served, if that is so.
    pub(super) fn hopeless(&self) -> Option<&Hopeless> {
        self.plans().find_map(|plan| plan.hopeless.as_ref())
    }

    /// How many waiting ADDs can be served in every family by addresses that are free,
    /// that cool, or that lack only their rules.
    pub(super) fn coming(&self) -> u32 {
        let coming = self.last.values().map(|last| last.coming);
        coming.min().unwrap_or_default()
    }

    /// When a plan may turn out otherwise because time has passed.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let next = self.plans().filter_map(|plan| plan.next_look_ms);
        next.min().map(|at| self.epoch + Duration::from_millis(at))
    }
}

#[cfg(test)]
mod tests {
    use veni_nouns::SlotKind;
    use veni_provider::{AddressSlots, Grant};

    use super::*;
    use crate::journal::Journal;
    use crate::pool::interface::ranges_of;
    use crate::pool::testing::{empty, holdings, interface};

    fn planning(warm: u32) -> Planning {
        let scheme = Scheme::Aws {
            warm_eni: 0,
            warm_ip: Some(warm),
            minimum_ip: None,
            warm_prefix: None,
        };
        let targets = Targets::with(SlotKind::Address, scheme);
        Planning::new(Aims {
            targets,
            targets_v6: targets,
            max_pods: 29,
            max_interfaces: None,
            interfaces_stay: false,
        })
    }

    fn wanted(in_flight: Vec<InFlight>, waiting: u32) -> Wanted {
        Wanted {
            in_flight,
            holds: Holds::default(),
            demand: Demand {
                waiting,
                expected: 0,
            },
            further_attachments: 0,
        }
    }

    fn releases() -> Releases {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        Releases::resume(journal, std::collections::BTreeMap::new())
    }

    #[test]
    fn what_is_in_flight_is_not_planned_again() {
        let (mut planning, holdings, releases) = (planning(3), holdings(), releases());
        let now = planning.epoch();
        let mut plan = |in_flight| {
            let wanted = wanted(in_flight, 0);
            planning.plan(Family::V4, &holdings, &releases, wanted, now)
        };
        let actions = plan(Vec::new());
        assert!(
            matches!(&actions[..], [one] if matches!(one.action, Action::Assign { count: 2, .. })),
            "{actions:?}"
        );
        let action = actions[0].action.clone();
        assert!(plan(vec![InFlight { action }]).is_empty());
    }

    #[test]
    fn excess_is_remembered_from_plan_to_plan_until_it_has_lasted() {
        let (mut planning, mut holdings, releases) = (planning(1), holdings(), releases());
        // Only what Veni has assigned itself may go back.
        let id = interface().id;
        let slots = AddressSlots::new(Family::V4, SlotKind::Address, 5);
        let addresses = (10..15_u8).map(|last| [10, 0, 0, last].into());
        let grant = Grant {
            addresses: addresses.collect(),
            prefixes: Vec::new(),
        };
        holdings.origins.assigning(&id, slots);
        holdings.add_grant(&id, &grant, planning.epoch());
        let ranges = ranges_of(&grant);
        holdings.origins.assigned(&id, slots, &ranges);
        let now = planning.epoch();
        let excess_since = |planning: &Planning| {
            let plans = planning.plans();
            plans.filter_map(|plan| plan.excess_since_ms).min()
        };
        let at = |planning: &mut Planning, seconds| {
            let now = now + Duration::from_secs(seconds);
            planning.plan(Family::V4, &holdings, &releases, wanted(Vec::new(), 0), now);
        };
        at(&mut planning, 1);
        assert_eq!(excess_since(&planning), Some(1_000));
        at(&mut planning, 20);
        assert_eq!(excess_since(&planning), Some(1_000));
    }

    #[test]
    fn on_a_cordoned_node_an_interface_comes_only_for_a_pod_that_waits() {
        let (mut planning, holdings, releases) = (planning(30), holdings(), releases());
        let now = planning.epoch();
        let targets = planning.aims.targets;
        planning.aim_at(Wishes {
            targets,
            max_pods: 100,
            interfaces_stay: true,
        });
        let mut attaches = |waiting| {
            let wanted = wanted(Vec::new(), waiting);
            let actions = planning.plan(Family::V4, &holdings, &releases, wanted, now);
            let mut actions = actions.iter();
            actions.any(|one| matches!(one.action, Action::Attach { .. }))
        };
        assert!(!attaches(0), "none to spare");
        assert!(
            !attaches(1),
            "the interfaces that are there have room for it"
        );
        assert!(attaches(29), "for pods that wait");
    }

    #[test]
    fn whether_one_more_pod_could_have_an_address_is_told_without_one_that_waits() {
        let (planning, full, releases) = (planning(0), empty(), releases());
        let now = planning.epoch();
        let one_more = |holds| {
            let wanted = Wanted {
                holds,
                ..wanted(Vec::new(), 0)
            };
            planning.hopeless_for_one_more(Family::V4, &full, &releases, wanted, now)
        };
        assert_eq!(one_more(Holds::default()), None);
        let refused = Holds {
            attach: Some(veni_pool::Hold {
                until_ms: u64::MAX,
                refusal: Some("no permission".to_owned()),
            }),
            ..Holds::default()
        };
        assert!(one_more(refused).expect("hopeless").quotes("no permission"));
    }

    #[test]
    fn where_nothing_can_come_the_plan_says_so_and_nobody_waits_on() {
        let (mut planning, holdings, releases) = (planning(1), empty(), releases());
        let mut refused = wanted(Vec::new(), 2);
        let hold = veni_pool::Hold {
            until_ms: u64::MAX,
            refusal: Some("no permission".to_owned()),
        };
        refused.holds.attach = Some(hold);
        let now = planning.epoch();
        let actions = planning.plan(Family::V4, &holdings, &releases, refused, now);
        assert!(actions.is_empty());
        assert!(planning.hopeless().is_some());
        assert_eq!(planning.coming(), 0);
    }
}
