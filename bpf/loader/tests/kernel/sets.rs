//! Rule sets in the maps: shared, replaced in one step, and taken away when nobody has them.

use std::sync::atomic::{AtomicBool, Ordering};

use veni_bpf::{Program, TestPacket};
use veni_policy::{PodPolicy, Ports, Side};

use crate::bed::{Bed, Place, address, allowing, packet, tcp_port};
use crate::packets::{TCP, framed};
use crate::world::{in_new_node, v4};

#[test]
fn pods_with_equal_policies_share_one_set_and_the_last_takes_it_with_it() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let rules = || allowing(&[("10.0.0.0/8", &[tcp_port(80)]), ("11.0.0.0/8", &[])]);
        let sizes = || {
            let swept = bed.enforcer.sweep().expect("swept");
            (swept.peers, swept.ports)
        };
        assert_eq!(sizes(), (0, 0));
        bed.policy(1, rules(), Side::Open);
        bed.policy(2, rules(), rules());
        assert_eq!(sizes(), (2, 1));
        bed.policy(2, Side::Open, Side::Open);
        assert_eq!((sizes(), sizes(), sizes()), ((2, 1), (2, 1), (2, 1)));
        bed.enforcer
            .dismiss(bed.one.endpoint.host_index)
            .expect("dismissed");
        // A packet may still read it when it is seen to be unused for the first time.
        assert_eq!((sizes(), sizes()), ((2, 1), (0, 0)));
    });
}

#[test]
fn sets_that_an_earlier_process_left_are_taken_away() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, allowing(&[("10.0.0.0/8", &[tcp_port(80)])]), Side::Open);
        let Bed { enforcer, one, .. } = bed;
        enforcer.stop();
        let enforcer = crate::world::start(&settings);
        let sizes = || {
            let swept = enforcer.sweep().expect("swept");
            (swept.peers, swept.ports)
        };
        assert_eq!((sizes(), sizes()), ((1, 1), (1, 1)), "in use");
        let open = PodPolicy::default();
        let link = one.endpoint.host_index;
        enforcer.set_policy(link, &open).expect("a policy");
        assert_eq!((sizes(), sizes()), ((1, 1), (0, 0)));
    });
}

/// Two policies that both allow the flow, and differ in everything else, take turns.
#[test]
fn no_packet_of_an_allowed_flow_is_dropped_while_policies_change() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let narrow = allowing(&[("192.0.2.1/32", &[tcp_port(80)])]);
        let wide = allowing(&[("192.0.0.0/8", &[Ports::All]), ("10.0.0.0/8", &[])]);
        bed.policy(2, narrow.clone(), Side::Open);
        let done = AtomicBool::new(false);
        let link = bed.two.endpoint.host_index;
        let send = |from: &str, port| {
            let sent = packet(address(from), v4(2), TCP, (port, 80));
            let bytes = framed([2, 0, 0, 0, 9, 9], &sent);
            let packet = TestPacket {
                bytes: &bytes,
                link,
                ingress_link: bed.uplink,
                mark: 0,
            };
            let verdict = bed.enforcer.test_run(Program::ToPod, &packet, 20);
            verdict.expect("run").dropped
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..400 {
                    let side = if turn % 2 == 0 { &wide } else { &narrow };
                    bed.policy(2, side.clone(), Side::Open);
                    if turn % 4 == 0 {
                        bed.enforcer.sweep().expect("swept");
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut port = 1000;
            while !done.load(Ordering::Relaxed) {
                port = if port == 60_000 { 1000 } else { port + 1 };
                assert!(!send("192.0.2.1", port), "a new flow");
                assert!(!send("192.0.2.1", 999), "an old flow");
                assert!(send("10.0.0.1", port), "one that neither allows");
            }
        });
    });
}

#[test]
fn a_policy_that_does_not_fit_is_refused_and_the_one_before_it_holds_on() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(2, allowing(&[("10.0.0.1/32", &[tcp_port(80)])]), Side::Open);
        let ports: Vec<Ports> = (0..=u16::MAX).step_by(2).map(tcp_port).collect();
        // Nine times 32,768 ports are more than the map of ports has room for.
        let huge: Vec<String> = (0..9).map(|n| format!("10.{n}.0.0/16")).collect();
        let huge: Vec<(&str, &[Ports])> = huge
            .iter()
            .map(|p| (p.as_str(), ports.as_slice()))
            .collect();
        let policy = PodPolicy {
            ingress: allowing(&huge),
            egress: Side::Open,
        };
        let link = bed.two.endpoint.host_index;
        let refused = bed.enforcer.set_policy(link, &policy).expect_err("refused");
        assert!(
            refused.to_string().starts_with("the map ports is full"),
            "{refused}"
        );
        let sent = packet(v4(1), v4(2), TCP, (1000, 80));
        assert_eq!(bed.carry(Place::Pod(1), Place::Pod(2), &sent), None);
        let swept = bed.enforcer.sweep().expect("swept");
        assert_eq!(
            (swept.peers, swept.ports),
            (1, 1),
            "and nothing of it is left"
        );
    });
}
