//! What the programs tell of packets, and what they count.

use veni_bpf::{NodeRules, Reason, Record, RecordKind, Records};
use veni_policy::{Direction, Side};

use crate::bed::{Bed, Place, address, allowing, closed, packet, tcp_port};
use crate::packets::TCP;
use crate::world::{in_new_node, v4};

/// The records that wait, without their times.
fn waiting(records: &mut Records) -> Vec<Record> {
    records.by_ref().collect()
}

#[test]
fn an_opened_flow_is_told_by_both_ends_with_the_policy_that_allowed_it() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let rules = allowing(&[("10.9.0.0/16", &[]), ("10.0.0.1/32", &[tcp_port(80)])]);
        bed.policy(2, rules, Side::Open);
        let mut records = bed.enforcer.records().expect("a reader");
        let sent = packet(v4(1), v4(2), TCP, (1000, 80));
        bed.carry(Place::Pod(1), Place::Pod(2), &sent);
        let told = waiting(&mut records);
        assert_eq!(told.len(), 2, "{told:?}");
        let [by_sender, by_receiver] = [&told[0], &told[1]];
        assert_eq!(by_sender.kind, RecordKind::Opened);
        assert_eq!(by_sender.direction, Direction::Egress);
        assert_eq!(by_sender.host_index, bed.one.endpoint.host_index);
        assert_eq!(by_sender.origin, None, "it is judged where it leaves");
        assert_eq!(by_receiver.direction, Direction::Ingress);
        assert_eq!(by_receiver.generation, bed.two.endpoint.generation);
        assert_eq!((by_receiver.source, by_receiver.source_port), (v4(1), 1000));
        assert_eq!(
            (by_receiver.destination, by_receiver.destination_port),
            (v4(2), 80)
        );
        assert_eq!((by_receiver.protocol, by_receiver.length), (TCP, 54));
        let origin = by_receiver.origin.expect("a policy");
        let policy = bed.enforcer.origin(by_receiver.set, origin);
        assert_eq!(policy.as_deref(), Some("shop/policy-1"));
        assert!(by_receiver.time >= by_sender.time);
        bed.carry(Place::Pod(1), Place::Pod(2), &sent);
        assert_eq!(waiting(&mut records), [], "a flow is told once");
    });
}

#[test]
fn a_dropped_packet_is_told_with_its_reason() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(2, closed(), Side::Open);
        let mut records = bed.enforcer.records().expect("a reader");
        let sent = packet(address("192.0.2.1"), v4(2), TCP, (1000, 80));
        bed.carry(Place::Uplink, Place::Pod(2), &sent);
        let told = waiting(&mut records);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].kind, RecordKind::Dropped(Reason::PolicyIngress));
        assert_eq!(told[0].source, address("192.0.2.1"));
        let rules = NodeRules {
            audit: true,
            ..NodeRules::default()
        };
        bed.enforcer.set_node(&rules).expect("set");
        bed.carry(Place::Uplink, Place::Pod(2), &sent);
        let kinds: Vec<RecordKind> = waiting(&mut records).iter().map(|r| r.kind).collect();
        let would_drop = RecordKind::WouldDrop(Reason::PolicyIngress);
        assert_eq!(kinds, [would_drop, RecordKind::Opened]);
    });
}

#[test]
fn more_records_than_the_rate_are_lost_and_counted() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let rules = NodeRules {
            records_per_second: 1,
            ..NodeRules::default()
        };
        bed.enforcer.set_node(&rules).expect("set");
        bed.policy(2, closed(), Side::Open);
        let mut records = bed.enforcer.records().expect("a reader");
        let lost = || bed.enforcer.counters().expect("counters").lost_records;
        assert_eq!(lost(), 0);
        let sent = packet(address("192.0.2.1"), v4(2), TCP, (1000, 80));
        for _ in 0..50 {
            bed.carry(Place::Uplink, Place::Pod(2), &sent);
        }
        let told = u64::try_from(waiting(&mut records).len()).expect("a few");
        assert!(told > 0 && lost() > 0);
        assert_eq!(told + lost(), 50);
    });
}

#[test]
fn opened_flows_are_sampled_and_drops_are_not() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let told_of_opened = |every, first: u16| {
            let rules = NodeRules {
                record_opened_every: every,
                ..NodeRules::default()
            };
            bed.enforcer.set_node(&rules).expect("set");
            let mut records = bed.enforcer.records().expect("a reader");
            for port in first..first + 40 {
                let sent = packet(address("192.0.2.1"), v4(2), TCP, (port, 80));
                bed.carry(Place::Uplink, Place::Pod(2), &sent);
            }
            waiting(&mut records).len()
        };
        assert_eq!(told_of_opened(1, 1000), 40);
        assert_eq!(told_of_opened(0, 2000), 0);
        // Each processor counts for itself, and the test may move between them.
        let some = told_of_opened(10, 3000);
        assert!((1..40).contains(&some), "{some}");
        bed.policy(2, closed(), Side::Open);
        assert_eq!(told_of_opened(0, 4000), 40, "these are drops");
    });
}

#[test]
fn packets_and_bytes_are_counted_by_endpoint_and_direction() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let sent = packet(v4(1), v4(2), TCP, (1000, 80));
        let before = bed.enforcer.counters().expect("counters");
        bed.carry(Place::Pod(1), Place::Pod(2), &sent);
        let after = bed.enforcer.counters().expect("counters");
        let added = |pod: &crate::world::Pod, way: usize| {
            let of = |counters: &veni_bpf::Counters| {
                let found = counters.endpoints[&pod.endpoint.host_index];
                (found.passed[way], found.passed_bytes[way])
            };
            (of(&after).0 - of(&before).0, of(&after).1 - of(&before).1)
        };
        // Links that come up speak of neighbours, too, but never of TCP's 54 bytes alone.
        let (packets, bytes) = added(&bed.one, 1);
        assert!(packets >= 1 && bytes >= 54);
        let (packets, bytes) = added(&bed.two, 0);
        assert!(packets >= 1 && bytes >= 54);
    });
}
