//! Whether pods can get addresses on this node, and what troubles the pool: a judgement of its
//! reports, in the words of Kubernetes' conditions and events.

use std::fmt;
use std::time::Duration;

use veni_pool::reasons::{Hopeless, Obstacle};

use crate::pool::{CallKind, HeldBack, PlanReport, PoolReport};

/// So long may the cloud fail before a pool without free addresses is in doubt.
const FAILS_FOR: Duration = Duration::from_secs(60);

/// A condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    True,
    False,
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        })
    }
}

/// Why, as a condition and events have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reason {
    AddressesAvailable,
    SubnetExhausted,
    PermissionMissing,
    CloudRefuses,
    CloudFails,
    CloudNotSeen,
    NodeIsFull,
    ProvisioningDisabled,
}

impl Reason {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AddressesAvailable => "AddressesAvailable",
            Self::SubnetExhausted => "SubnetExhausted",
            Self::PermissionMissing => "PermissionMissing",
            Self::CloudRefuses => "CloudRefuses",
            Self::CloudFails => "CloudFails",
            Self::CloudNotSeen => "CloudNotSeen",
            Self::NodeIsFull => "NodeIsFull",
            Self::ProvisioningDisabled => "ProvisioningDisabled",
        }
    }

    /// What to do.
    fn remedy(self) -> &'static str {
        match self {
            Self::AddressesAvailable => "nothing is to be done",
            Self::SubnetExhausted => {
                "free addresses of the subnet, or open another subnet to the cluster's pods"
            }
            Self::PermissionMissing => "grant it to the role of the node or of the daemon's pod",
            Self::CloudRefuses => {
                "`veni status --explain` on the node tells what was asked and when it is asked again"
            }
            Self::CloudFails | Self::CloudNotSeen => {
                "the daemon goes on trying; `veni status --explain` on the node tells more"
            }
            Self::NodeIsFull => {
                "run fewer pods on the node: its interfaces, MAX_PODS and MAX_ENI allow no more"
            }
            Self::ProvisioningDisabled => {
                "assign addresses yourself, or let DISABLE_NETWORK_RESOURCE_PROVISIONING be false"
            }
        }
    }
}

/// Whether a pod that comes now could get an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Availability {
    pub(super) status: Status,
    pub(super) reason: Reason,
    /// Why, and what to do.
    pub(super) message: String,
}

impl Availability {
    fn new(status: Status, reason: Reason, why: &str) -> Self {
        Self {
            status,
            reason,
            message: format!("{why}; {}", reason.remedy()),
        }
    }
}

/// Judges whether pods can get addresses.
pub(super) fn judge(report: &PoolReport, plan: &PlanReport) -> Availability {
    if report.counts.free > 0 {
        return available();
    }
    if let Some(hopeless) = &plan.one_more {
        let why: Vec<String> = hopeless.obstacles.iter().map(ToString::to_string).collect();
        let why = format!("no address can come: {}", why.join("; "));
        return Availability::new(Status::False, reason_of(hopeless, plan), &why);
    }
    let in_the_way = plan.held_back.iter().find_map(|one| match one {
        HeldBack::BackingOff { calls, since, .. } if grows(*calls) && *since >= FAILS_FOR => {
            Some(Reason::CloudFails)
        }
        HeldBack::NoInventoryYet => Some(Reason::CloudNotSeen),
        _ => None,
    });
    match in_the_way {
        Some(reason) => {
            let why = format!("no address is free: {}", held_back(plan));
            Availability::new(Status::Unknown, reason, &why)
        }
        None => available(),
    }
}

fn available() -> Availability {
    Availability {
        status: Status::True,
        reason: Reason::AddressesAvailable,
        message: "pods get addresses".to_owned(),
    }
}

/// What holds the pool back, in one line; empty where nothing does.
pub(super) fn held_back(plan: &PlanReport) -> String {
    let all: Vec<String> = plan.held_back.iter().map(ToString::to_string).collect();
    all.join("; ")
}

fn grows(calls: CallKind) -> bool {
    matches!(
        calls,
        CallKind::Assign(_) | CallKind::Attach | CallKind::Inventory
    )
}

fn reason_of(hopeless: &Hopeless, plan: &PlanReport) -> Reason {
    let denied = |one: &HeldBack| matches!(one, HeldBack::BackingOff { calls, denied: Some(_), .. } if grows(*calls));
    let of_obstacle = |obstacle: &Obstacle| match obstacle {
        Obstacle::Exhausted { .. } | Obstacle::FewAddressesLeft { .. } | Obstacle::NoSubnet => {
            Reason::SubnetExhausted
        }
        Obstacle::Refused { .. } | Obstacle::Paused { .. } if plan.held_back.iter().any(denied) => {
            Reason::PermissionMissing
        }
        Obstacle::Refused { .. } => Reason::CloudRefuses,
        Obstacle::Paused { .. } => Reason::CloudFails,
        Obstacle::ProvisioningDisabled => Reason::ProvisioningDisabled,
        Obstacle::PoolIsFull { .. }
        | Obstacle::NodeIsFull { .. }
        | Obstacle::AttachesNone { .. }
        | Obstacle::NoSlotsForPods
        | Obstacle::NoPlaceForInterface { .. } => Reason::NodeIsFull,
    };
    // The gravest: what a new node would meet as well comes first.
    let reasons = hopeless.obstacles.iter().map(of_obstacle);
    reasons.min().unwrap_or(Reason::NodeIsFull)
}

/// Something that an operator should repair, although pods may still get addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    /// What it is, and what to do.
    pub(super) note: String,
}

/// What troubles the pool, once for each reason.
pub(super) fn troubles(
    report: &PoolReport,
    plan: &PlanReport,
    judged: &Availability,
) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    let mut add = |reason: Reason, note: String| {
        if all.iter().all(|other| other.reason != reason) {
            all.push(Trouble { reason, note });
        }
    };
    for subnet in &report.subnets {
        if let Some(exhausted) = &subnet.exhausted {
            let (id, words) = (&subnet.id, &exhausted.reason);
            let remedy = Reason::SubnetExhausted.remedy();
            let note = format!("subnet {id} has no free addresses: {words}; {remedy}");
            add(Reason::SubnetExhausted, note);
        }
    }
    for one in &plan.held_back {
        if let HeldBack::BackingOff {
            denied: Some(operation),
            reason,
            ..
        } = one
        {
            let remedy = Reason::PermissionMissing.remedy();
            let note = format!("the node may not call {operation}: {reason}; {remedy}");
            add(Reason::PermissionMissing, note);
        }
    }
    if judged.status != Status::True {
        add(judged.reason, judged.message.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use veni_nouns::{Family, SlotKind, SubnetId};

    use super::*;
    use crate::pool::{ExhaustionReport, LevelCounts, SubnetReport};
    use crate::serve::fixtures::pool_report;

    fn without_free() -> PoolReport {
        PoolReport {
            counts: LevelCounts::default(),
            ..pool_report()
        }
    }

    fn with_obstacles(obstacles: Vec<Obstacle>) -> PlanReport {
        PlanReport {
            one_more: Some(Hopeless {
                unserved: 1,
                obstacles,
            }),
            ..PlanReport::default()
        }
    }

    fn exhausted() -> Obstacle {
        Obstacle::Exhausted {
            subnet: SubnetId::new("subnet-1"),
            lacks: SlotKind::Address,
            wait_ms: 1_000,
        }
    }

    fn backing_off(since: u64, denied: Option<&str>) -> HeldBack {
        HeldBack::BackingOff {
            calls: CallKind::Assign(Family::V4),
            since: Duration::from_secs(since),
            left: Duration::from_secs(5),
            reason: "said the cloud".to_owned(),
            denied: denied.map(str::to_owned),
        }
    }

    #[test]
    fn with_a_free_address_pods_get_addresses_whatever_stands_in_the_way() {
        let report = PoolReport {
            counts: LevelCounts {
                free: 1,
                ..LevelCounts::default()
            },
            ..pool_report()
        };
        let judged = judge(&report, &with_obstacles(vec![exhausted()]));
        assert_eq!(judged, available());
    }

    #[test]
    fn the_reason_is_what_a_new_node_would_meet_as_well_if_there_is_such_a_one() {
        let full = Obstacle::NoPlaceForInterface { interfaces: 3 };
        for (obstacles, reason) in [
            (vec![full.clone(), exhausted()], Reason::SubnetExhausted),
            (vec![full], Reason::NodeIsFull),
            (
                vec![Obstacle::ProvisioningDisabled],
                Reason::ProvisioningDisabled,
            ),
        ] {
            let judged = judge(&without_free(), &with_obstacles(obstacles));
            assert_eq!((judged.status, judged.reason), (Status::False, reason));
            assert!(judged.message.ends_with(reason.remedy()), "{judged:?}");
        }
    }

    #[test]
    fn a_cloud_that_fails_for_long_leaves_it_unknown_and_one_that_has_just_failed_does_not() {
        for (since, status) in [(59, Status::True), (60, Status::Unknown)] {
            let plan = PlanReport {
                held_back: vec![backing_off(since, None)],
                ..PlanReport::default()
            };
            assert_eq!(judge(&without_free(), &plan).status, status, "{since} s");
        }
    }

    #[test]
    fn troubles_are_told_with_their_remedy_while_pods_still_get_addresses() {
        let mut report = pool_report();
        report.subnets.push(SubnetReport {
            id: SubnetId::new("subnet-1"),
            cidr: None,
            free_addresses: 0,
            exhausted: Some(ExhaustionReport {
                reason: "InsufficientFreeAddressesInSubnet".to_owned(),
                left: Duration::from_secs(9),
            }),
            age: None,
        });
        let plan = PlanReport {
            held_back: vec![
                backing_off(3, Some("AssignPrivateIpAddresses")),
                backing_off(3, Some("CreateNetworkInterface")),
            ],
            ..PlanReport::default()
        };
        let told = troubles(&report, &plan, &available());
        let reasons: Vec<Reason> = told.iter().map(|one| one.reason).collect();
        assert_eq!(
            reasons,
            [Reason::SubnetExhausted, Reason::PermissionMissing]
        );
        assert_eq!(
            told[1].note,
            "the node may not call AssignPrivateIpAddresses: said the cloud; grant it to the role \
             of the node or of the daemon's pod"
        );
        assert_eq!(
            troubles(&pool_report(), &PlanReport::default(), &available()),
            []
        );
    }
}
