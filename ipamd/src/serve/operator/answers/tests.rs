//! One report of each kind in the messages that operators get.

use super::*;
use crate::events::Levels;
use crate::pool::{Cause, ExhaustionReport, InterfaceState, LevelCounts, Remark, Why};
use crate::serve::fixtures::{interface_report, key, pool_report, record};

fn address(last: u8, state: AddressState) -> AddressReport {
    AddressReport {
        address: [10, 0, 0, last].into(),
        state,
    }
}

/// The state, the owner and the seconds of cooldown that an operator gets.
fn told(state: AddressState) -> (String, String, u32) {
    let labels = HashMap::from([(key(), "shop/web-0".to_owned())]);
    let told = super::address(&address(5, state), &labels);
    assert_eq!(told.address, "10.0.0.5");
    (told.state, told.owner, told.cooling_seconds)
}

#[test]
fn an_address_has_an_owner_when_a_pod_has_it_and_seconds_when_it_cools() {
    let unknown = AttachmentKey {
        container_id: "other".to_owned(),
        ..key()
    };
    let left = Duration::from_millis(2_001);
    for (state, expected) in [
        (AddressState::Free, ("free", "", 0)),
        (AddressState::Assigned(key()), ("assigned", "shop/web-0", 0)),
        (
            AddressState::Assigned(unknown),
            ("assigned", "veni/other/eth0", 0),
        ),
        (AddressState::Cooling { left }, ("cooling", "", 3)),
        (AddressState::Releasing, ("releasing", "", 0)),
        (AddressState::Missing, ("missing", "", 0)),
        (AddressState::Foreign, ("foreign", "", 0)),
        (AddressState::Carried, ("carried", "", 0)),
    ] {
        let (state, owner, seconds) = told(state);
        assert_eq!((state.as_str(), owner.as_str(), seconds), expected);
    }
}

#[test]
fn an_interface_is_told_with_what_it_holds_and_without_what_is_not_known() {
    let report = InterfaceReport {
        addresses: vec![address(5, AddressState::Free)],
        prefixes: vec![PrefixReport {
            prefix: "10.0.1.16/28".parse().expect("a range"),
            free: 13,
            assigned: 2,
            cooling: 1,
            used: vec![address(9, AddressState::Assigned(key()))],
        }],
        ..interface_report(InterfaceState::OutOfService)
    };
    let told = interface(report, &HashMap::new());
    assert_eq!(told.id, "eni-1");
    assert_eq!(told.mac, "02:00:00:00:00:01");
    assert_eq!(told.state, "out of service");
    assert_eq!(
        (told.link.as_str(), told.primary_address.as_str()),
        ("", "")
    );
    assert_eq!(told.addresses[0].state, "free");
    let prefix = &told.prefixes[0];
    assert_eq!(prefix.prefix, "10.0.1.16/28");
    assert_eq!((prefix.free, prefix.assigned, prefix.cooling), (13, 2, 1));
    assert_eq!(prefix.used[0].owner, "veni/c0ffee/eth0");
}

#[test]
fn the_pool_s_own_warnings_come_before_those_of_the_host() {
    let report = PoolReport {
        counts: LevelCounts {
            free: 4,
            total: 9,
            ..LevelCounts::default()
        },
        node_warnings: vec!["of the pool".to_owned()],
        ..pool_report()
    };
    let beside = Beside {
        cloud_calls: 7,
        host_warnings: vec!["of the host".to_owned()],
        targets: vec!["WARM_IP_TARGET=2".to_owned()],
        ..Beside::default()
    };
    let told = pool(report, beside);
    assert_eq!(told.host_warnings, ["of the pool", "of the host"]);
    assert_eq!(told.targets, ["WARM_IP_TARGET=2"]);
    assert_eq!((told.free, told.total, told.cloud_calls), (4, 9, 7));
    assert_eq!(
        (told.node_name.as_str(), told.cloud_error.as_str()),
        ("", "")
    );
    assert_eq!(told.daemon_version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_subnet_that_is_left_alone_is_told_with_reason_and_seconds() {
    let report = SubnetReport {
        id: veni_provider::SubnetId::new("subnet-1"),
        cidr: None,
        free_addresses: 3,
        exhausted: Some(ExhaustionReport {
            reason: "it is full".to_owned(),
            left: Duration::from_millis(1),
        }),
        age: None,
    };
    let full = subnet(report.clone());
    assert_eq!(
        (full.exhausted.as_str(), full.retry_seconds),
        ("it is full", 1)
    );
    assert_eq!((full.cidr.as_str(), full.age_seconds), ("", None));
    let open = subnet(SubnetReport {
        exhausted: None,
        age: Some(Duration::from_millis(1_999)),
        ..report
    });
    assert_eq!((open.exhausted.as_str(), open.retry_seconds), ("", 0));
    assert_eq!(open.age_seconds, Some(1), "rounded down");
}

#[test]
fn a_plan_is_told_in_sentences() {
    let action = veni_pool::Action::Detach {
        interface: veni_provider::InterfaceId::new("eni-1"),
    };
    let report = PlanReport {
        actions: vec![
            ActionReport {
                action: action.clone(),
                why: Why::Wanted(Cause::Planned(veni_pool::reasons::Reason::Closed)),
            },
            ActionReport {
                action: action.clone(),
                why: Why::OutcomeUnknown,
            },
        ],
        notes: vec![Remark::Note(veni_pool::Note::UnderWay(action))],
        held_back: vec![crate::pool::HeldBack::NoInventoryYet],
        one_more: None,
    };
    let told = plan(report);
    let reasons: Vec<&str> = told.actions.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "pods get no addresses of this interface any more",
            "its outcome is not known; the next inventory tells"
        ]
    );
    assert_eq!(told.actions[0].action, "detach eni-1");
    assert!(told.actions.iter().all(|action| action.in_flight));
    assert_eq!(told.notes, ["under way: detach eni-1"]);
    assert_eq!(
        told.held_back,
        ["no change before the cloud has been looked at after the restart"]
    );
}

#[test]
fn an_endpoint_is_told_with_its_addresses_as_ranges() {
    let told = endpoint(&record());
    assert_eq!(told.addresses, ["10.0.0.5/32"]);
    assert_eq!(told.pod.expect("a pod").name, "web-0");
    assert_eq!(told.attachment.expect("a key").container_id, "c0ffee");
    assert_eq!((told.state.as_str(), told.add_micros), ("ready", 900));
    assert_eq!(told.egress_address, "");
    for (state, name) in [
        (RecordState::Adding, "adding"),
        (RecordState::Dying, "dying"),
    ] {
        assert_eq!(endpoint(&Record { state, ..record() }).state, name);
    }
}

#[test]
fn an_event_is_told_by_kind_and_with_the_levels_of_its_moment() {
    for (kind, name) in [
        (EventKind::Add, "add"),
        (EventKind::Del, "del"),
        (EventKind::Cloud, "cloud"),
        (EventKind::Repair, "repair"),
        (EventKind::Pool, "pool"),
        (EventKind::Host, "host"),
    ] {
        let told = event(Event {
            time_ms: 5,
            kind,
            message: "said".to_owned(),
            pod: None,
            levels: Levels {
                free: 1,
                assigned: 2,
                cooling: 3,
                waiting: 4,
            },
            cloud_calls: 6,
        });
        assert_eq!((told.time_ms, told.kind.as_str()), (5, name));
        assert_eq!(told.message, "said");
        let levels = (told.free, told.assigned, told.cooling, told.waiting);
        assert_eq!((levels, told.cloud_calls), ((1, 2, 3, 4), 6));
    }
}
