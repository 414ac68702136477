//! Glances on a pool of one interface, by a clock that the tests turn.

use ipnet::IpNet;
use veni_pool::SlotKind;
use veni_provider::{
    Capabilities, Family, Interface, InterfaceId, InterfaceState, Inventory, Limits, Node, SubnetId,
};

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PATIENCE: Duration = Duration::from_secs(10);

fn interface() -> Interface {
    Interface {
        id: InterfaceId::new("eni-1"),
        mac: MAC,
        device_index: 0,
        network_card: 0,
        primary: true,
        managed: true,
        made_for_pods: false,
        for_pods: true,
        state: InterfaceState::Attached,
        subnet: SubnetId::new("subnet-a"),
        subnet_cidrs: Vec::new(),
        gateways: Vec::new(),
        own_addresses: vec!["10.0.0.4".parse().expect("an address")],
        addresses: vec!["10.0.0.9".parse().expect("an address")],
        prefixes: Vec::new(),
    }
}

fn pool() -> PoolState {
    let node = Node {
        instance_id: "i-1".to_owned(),
        instance_type: "m5.large".to_owned(),
        zone: String::new(),
        limits: Limits {
            interfaces: 3,
            ipv4_per_interface: 10,
            ipv6_per_interface: 0,
            vcpus: 2,
        },
        network_cidrs: Vec::new(),
    };
    let capabilities = Capabilities {
        attach_while_running: true,
        ipv4_prefixes: true,
        ipv6_prefixes: false,
        ipv6_addresses: false,
        source_routing: true,
        release: true,
        batch: 50,
        settle_time: PATIENCE / 2,
    };
    let mut state = PoolState::new(node, capabilities, vec![Family::V4], SlotKind::Address);
    let inventory = Inventory {
        interfaces: vec![interface()],
        subnets: Vec::new(),
    };
    let now = Instant::now();
    state.merge(inventory, now, now);
    state
}

fn truth() -> Glimpse {
    Glimpse {
        interfaces: BTreeMap::from([(MAC, interface().ranges())]),
        marks: BTreeSet::from(["sg-1".to_owned()]),
    }
}

fn with(ranges: &[&str]) -> Glimpse {
    let mut glimpse = truth();
    let more = ranges
        .iter()
        .map(|text| text.parse::<IpNet>().expect("a range"));
    glimpse
        .interfaces
        .get_mut(&MAC)
        .expect("is there")
        .extend(more);
    glimpse
}

/// Glances at what the node sees, a second apart each.
struct Watch {
    glances: Glances,
    state: PoolState,
    own: OwnChanges,
    now: Instant,
}

impl Watch {
    fn new() -> Self {
        Self {
            glances: Glances::default(),
            state: pool(),
            own: OwnChanges::default(),
            now: Instant::now(),
        }
    }

    fn after(&mut self, seconds: u64, glimpse: Glimpse) -> Verdict {
        self.now += Duration::from_secs(seconds);
        let Self {
            glances,
            state,
            own,
            now,
        } = self;
        glances.take(Some(glimpse), state, own, *now, PATIENCE)
    }

    /// How many of some glances, ten seconds apart, lead to a look.
    fn looks(&mut self, glimpses: impl IntoIterator<Item = Glimpse>) -> usize {
        let verdicts = glimpses.into_iter().map(|one| self.after(10, one));
        let looks = verdicts.filter(|verdict| matches!(verdict, Verdict::Look(_)));
        looks.count()
    }
}

#[test]
fn what_is_known_is_no_news() {
    let mut watch = Watch::new();
    assert_eq!(watch.looks(vec![truth(); 20]), 0);
}

#[test]
fn a_difference_is_looked_into_once_when_it_has_lasted() {
    let mut watch = Watch::new();
    let foreign = with(&["10.0.0.77/32"]);
    let due = watch.now + Duration::from_secs(1) + PATIENCE;
    assert_eq!(watch.after(1, foreign.clone()), Verdict::GlanceAgain(due));
    let verdict = watch.after(10, foreign.clone());
    assert!(
        matches!(&verdict, Verdict::Look(found) if found.to_string().contains("10.0.0.77/32")),
        "{verdict:?}"
    );
    assert_eq!(watch.looks(vec![foreign; 50]), 0);
}

#[test]
fn a_difference_that_passes_is_not_looked_into() {
    let mut watch = Watch::new();
    let lagging = || Glimpse {
        interfaces: BTreeMap::from([(MAC, BTreeSet::new())]),
        ..truth()
    };
    watch.after(1, lagging());
    assert_eq!(watch.looks([truth(), lagging(), truth()]), 0);
}

#[test]
fn a_second_difference_is_looked_into_though_the_first_is_still_there() {
    let mut watch = Watch::new();
    let first = with(&["10.0.0.77/32"]);
    assert_eq!(watch.looks([first.clone(), first.clone()]), 1);
    let second = with(&["10.0.0.77/32", "10.0.0.96/28"]);
    assert_eq!(watch.looks([second.clone(), second.clone(), second]), 1);
}

#[test]
fn interfaces_that_come_and_go_are_differences() {
    let mut watch = Watch::new();
    let mut plugged = truth();
    plugged.interfaces.insert(OTHER, BTreeSet::new());
    assert_eq!(watch.looks([plugged.clone(), plugged]), 1);
    let unplugged = Glimpse {
        interfaces: BTreeMap::new(),
        ..truth()
    };
    assert_eq!(watch.looks([unplugged.clone(), unplugged]), 1);
}

#[test]
fn what_the_daemon_is_changing_is_no_news() {
    let mut watch = Watch::new();
    watch.own.of.insert(MAC);
    let own = with(&["10.0.0.77/32"]);
    assert_eq!(watch.looks(vec![own.clone(); 5]), 0);
    watch.own = OwnChanges {
        arrivals: true,
        ..OwnChanges::default()
    };
    let mut arriving = truth();
    arriving.interfaces.insert(OTHER, BTreeSet::new());
    assert_eq!(watch.looks(vec![arriving; 5]), 0);
    // Twin: once nothing is under way, the same is news.
    watch.own = OwnChanges::default();
    assert_eq!(watch.looks(vec![own; 5]), 1);
}

#[test]
fn a_changed_mark_is_looked_into_once_and_so_is_its_way_back() {
    let mut watch = Watch::new();
    watch.after(1, truth());
    let changed = Glimpse {
        marks: BTreeSet::from(["sg-2".to_owned()]),
        ..truth()
    };
    assert_eq!(watch.looks(vec![changed; 10]), 1);
    assert_eq!(watch.looks(vec![truth(); 10]), 1);
}

#[test]
fn a_glance_without_an_answer_changes_nothing_but_that() {
    let mut watch = Watch::new();
    watch.after(1, truth());
    assert!(watch.glances.answered);
    let verdict = watch
        .glances
        .take(None, &watch.state, &watch.own, watch.now, PATIENCE);
    assert_eq!(verdict, Verdict::Nothing);
    assert!(!watch.glances.answered);
}
