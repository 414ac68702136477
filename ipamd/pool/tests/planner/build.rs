//! Snapshots for tests, built by what matters in each.

use ipnet::IpNet;
use veni_pool::{
    Action, CloudAbilities, Demand, Family, Hold, Holds, InFlight, InterfaceSnapshot,
    InterfaceState, NodeLimits, Plan, Scheme, Slot, SlotKind, Snapshot, SubnetSnapshot, Targets,
};

/// The time of every snapshot made here.
pub(crate) const NOW_MS: u64 = 10_000_000;
/// Longer than any delay.
pub(crate) const HOUR_MS: u64 = 3_600_000;
/// Single addresses.
pub(crate) const ADDRESS: SlotKind = SlotKind::Address;
/// Prefixes.
pub(crate) const PREFIX: SlotKind = SlotKind::Prefix;

/// A node with AWS's abilities and one subnet, without interfaces.
pub(crate) fn node(interfaces: u32, slots: u32, max_pods: u32) -> Snapshot {
    Snapshot {
        now_ms: NOW_MS,
        family: Family::V4,
        abilities: CloudAbilities {
            attach: true,
            prefixes: true,
            release: true,
            batch: 50,
        },
        limits: NodeLimits {
            interfaces,
            slots_per_interface: slots,
            max_pods,
        },
        interfaces: Vec::new(),
        subnets: vec![subnet("subnet-a", 1000)],
        in_flight: Vec::new(),
        demand: Demand::default(),
        excess_since_ms: None,
        recent_peak: 0,
        holds: Holds::default(),
    }
}

/// A pause of five seconds, or a refusal in these words.
pub(crate) fn hold(refusal: Option<&str>) -> Option<Hold> {
    Some(Hold {
        until_ms: NOW_MS + 5_000,
        refusal: refusal.map(str::to_owned),
    })
}

/// An open subnet.
pub(crate) fn subnet(id: &str, free: u32) -> SubnetSnapshot {
    SubnetSnapshot {
        id: id.into(),
        free_addresses: free,
        usable: true,
        no_addresses_until_ms: None,
        no_prefixes_until_ms: None,
    }
}

/// The words with which tests describe a node.
pub(crate) trait Node: Sized {
    /// An old interface in subnet-a; the first one is primary.
    fn interface(self, id: &str) -> Self;
    /// Single addresses on the last interface: in use, cooling and free.
    fn singles(self, assigned: u32, cooling: u32, free: u32) -> Self;
    /// A /28 on the last interface with so many in use and cooling.
    fn prefix(self, assigned: u32, cooling: u32) -> Self;
    /// ADDs waiting and pods expected.
    fn demand(self, waiting: u32, expected: u32) -> Self;
    /// Something under way.
    fn under_way(self, action: Action) -> Self;
    /// Excess has lasted for that long, and that much was needed meanwhile.
    fn excess_for(self, span_ms: u64, peak: u32) -> Self;
    /// Another change.
    fn with(self, change: impl FnOnce(&mut Snapshot)) -> Self;
    /// Another change of the last interface.
    fn last(self, change: impl FnOnce(&mut InterfaceSnapshot)) -> Self;
}

impl Node for Snapshot {
    fn interface(mut self, id: &str) -> Self {
        let primary = self.interfaces.is_empty();
        self.interfaces.push(InterfaceSnapshot {
            id: id.into(),
            subnet: "subnet-a".into(),
            network_card: 0,
            primary,
            for_pods: true,
            managed: true,
            kept: false,
            state: InterfaceState::Attached,
            in_service: true,
            age_ms: 3_600_000,
            slots: Vec::new(),
        });
        self
    }

    fn singles(self, assigned: u32, cooling: u32, free: u32) -> Self {
        let place = self.interfaces.len();
        self.last(|interface| {
            for number in 0..assigned + cooling + free {
                let host = interface.slots.len() + 4;
                let cidr = format!("10.{}.{place}.{}/32", host >> 8, host & 255);
                interface.slots.push(Slot {
                    cidr: cidr.parse().expect("a CIDR"),
                    assigned: u32::from(number < assigned),
                    cooling: u32::from((assigned..assigned + cooling).contains(&number)),
                    unavailable: 0,
                    kept: false,
                    releasing: false,
                    in_doubt: false,
                });
            }
        })
    }

    fn prefix(self, assigned: u32, cooling: u32) -> Self {
        let place = self.interfaces.len();
        self.last(|interface| {
            let cidr = format!("10.1.{place}.{}/28", interface.slots.len() * 16);
            let cidr: IpNet = cidr.parse().expect("a CIDR");
            interface.slots.push(Slot {
                cidr,
                assigned,
                cooling,
                unavailable: 0,
                kept: false,
                releasing: false,
                in_doubt: false,
            });
        })
    }

    fn demand(mut self, waiting: u32, expected: u32) -> Self {
        self.demand = Demand { waiting, expected };
        self
    }

    fn under_way(mut self, action: Action) -> Self {
        self.in_flight.push(InFlight { action });
        self
    }

    fn excess_for(mut self, span_ms: u64, peak: u32) -> Self {
        self.excess_since_ms = Some(self.now_ms - span_ms);
        self.recent_peak = peak;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Snapshot)) -> Self {
        change(&mut self);
        self
    }

    fn last(mut self, change: impl FnOnce(&mut InterfaceSnapshot)) -> Self {
        change(self.interfaces.last_mut().expect("an interface"));
        self
    }
}

/// AWS targets: warm interfaces.
pub(crate) fn warm_eni(mode: SlotKind, warm: u32) -> Targets {
    let none = None;
    let scheme = Scheme::Aws {
        warm_eni: warm,
        warm_ip: none,
        minimum_ip: none,
        warm_prefix: none,
    };
    Targets::with(mode, scheme)
}

/// AWS targets: warm and minimum addresses.
pub(crate) fn warm_ip(mode: SlotKind, warm: u32, minimum: u32) -> Targets {
    let (warm_ip, minimum_ip) = (Some(warm), Some(minimum));
    let scheme = Scheme::Aws {
        warm_eni: 1,
        warm_ip,
        minimum_ip,
        warm_prefix: Some(1),
    };
    Targets::with(mode, scheme)
}

/// AWS targets: warm prefixes.
pub(crate) fn warm_prefix(warm: u32) -> Targets {
    let warm_prefix = Some(warm);
    let scheme = Scheme::Aws {
        warm_eni: 1,
        warm_ip: None,
        minimum_ip: None,
        warm_prefix,
    };
    Targets::with(SlotKind::Prefix, scheme)
}

/// An assignment.
pub(crate) fn assign(interface: &str, kind: SlotKind, count: u32) -> Action {
    Action::Assign {
        interface: interface.into(),
        kind,
        count,
    }
}

/// An attachment in subnet-a.
pub(crate) fn attach(kind: SlotKind, count: u32) -> Action {
    Action::Attach {
        subnet: Some("subnet-a".into()),
        kind,
        count,
    }
}

/// The plan's notes as operators read them.
pub(crate) fn notes(plan: &Plan) -> Vec<String> {
    plan.notes.iter().map(ToString::to_string).collect()
}

/// The plan's actions without their reasons.
pub(crate) fn actions(plan: &Plan) -> Vec<Action> {
    plan.actions
        .iter()
        .map(|planned| planned.action.clone())
        .collect()
}

/// An m5.large with single addresses: 3 interfaces, 9 slots, 29 pods.
pub(crate) fn m5_large() -> Snapshot {
    node(3, 9, 29)
}

/// An Azure node with its defaults.
pub(crate) fn azure(mode: SlotKind) -> (Snapshot, Targets) {
    let abilities = CloudAbilities {
        attach: false,
        prefixes: true,
        release: true,
        batch: 256,
    };
    let snapshot = node(1, 255, 250)
        .interface("nic-0")
        .with(|node| node.abilities = abilities);
    (snapshot, Targets::azure_default(mode))
}

/// A release.
pub(crate) fn release(interface: &str, cidrs: &[&str]) -> Action {
    let cidrs = cidrs
        .iter()
        .map(|cidr| cidr.parse().expect("a CIDR"))
        .collect();
    Action::Release {
        interface: interface.into(),
        cidrs,
    }
}

/// A detachment.
pub(crate) fn detach(interface: &str) -> Action {
    Action::Detach {
        interface: interface.into(),
    }
}
