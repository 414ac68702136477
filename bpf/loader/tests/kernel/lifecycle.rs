//! What start, admit, dismiss, stop and remove leave in the kernel.

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use veni_bpf::{Enforcer, Fault, remove};

use crate::world::{
    BLOCKS, Pod, filters_of_block, in_new_node, index, ip, ip_json, pins, start, tc,
};

fn joins_blocks(link: &str) -> bool {
    tc(&format!("qdisc show dev {link}"))
        .iter()
        .any(|qdisc| qdisc["kind"] == "clsact" && qdisc["ingress_block"] == BLOCKS.0)
}

#[test]
fn a_start_hangs_the_programs_on_two_blocks_that_a_link_holds() {
    in_new_node(|settings| {
        let _enforcer = start(&settings);
        assert!(joins_blocks("venihold"));
        assert_eq!(filters_of_block(BLOCKS.0), ["veni_from_pod"]);
        assert_eq!(filters_of_block(BLOCKS.1), ["veni_to_pod"]);
        assert!(pins(&settings).join("flows").exists());
    });
}

#[test]
fn programs_and_maps_stay_when_the_process_ends_and_the_next_one_takes_them_over() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        enforcer.stop();
        assert_eq!(filters_of_block(BLOCKS.0), ["veni_from_pod"]);
        let enforcer = start(&settings);
        assert_eq!(
            filters_of_block(BLOCKS.0),
            ["veni_from_pod"],
            "one, not two"
        );
        let faults = enforcer.check(&[pod.endpoint.host_index], &[]);
        assert_eq!(faults.expect("checked"), []);
    });
}

#[test]
fn an_admitted_link_joins_the_blocks_and_a_repetition_changes_nothing() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::new(1);
        assert!(!joins_blocks("pod1"));
        for _ in 0..2 {
            enforcer.admit(&pod.endpoint).expect("admitted");
            assert!(joins_blocks("pod1"));
        }
    });
}

#[test]
fn a_check_names_what_others_have_removed_and_admit_and_start_mend_it() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        let link = pod.endpoint.host_index;
        let faults = |enforcer: &Enforcer| enforcer.check(&[link], &[]).expect("checked");
        assert_eq!(faults(&enforcer), []);
        crate::world::succeed(
            std::process::Command::new("tc").args(["qdisc", "del", "dev", "pod1", "clsact"]),
        );
        assert_eq!(faults(&enforcer), [Fault::NotJoined(link)]);
        enforcer.admit(&pod.endpoint).expect("admitted");
        assert_eq!(faults(&enforcer), []);
        enforcer.dismiss(link).expect("dismissed");
        assert_eq!(faults(&enforcer), [Fault::NotAdmitted(link)]);
        enforcer.admit(&pod.endpoint).expect("admitted");
        ip("link del venihold");
        let missing = Fault::HolderMissing("venihold".to_owned());
        assert_eq!(faults(&enforcer), [missing]);
        let enforcer = start(&settings);
        assert_eq!(faults(&enforcer), []);
    });
}

#[test]
fn a_block_with_filters_of_others_is_refused() {
    in_new_node(|settings| {
        ip("link add other type veth peer name other-peer");
        let block = BLOCKS.0.to_string();
        for arguments in [
            format!("qdisc add dev other ingress_block {block} clsact"),
            format!("filter add block {block} protocol all prio 7 u32 match u32 0 0 flowid 1:1"),
        ] {
            crate::world::succeed(
                std::process::Command::new("tc").args(arguments.split_whitespace()),
            );
        }
        let refused = Enforcer::start(&settings).expect_err("refused").to_string();
        assert!(refused.contains(&format!("the tc block {block} holds a filter u32")));
        ip("link del other");
        start(&settings);
    });
}

#[test]
fn an_uplink_is_attached_and_detached() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        ip("link add uplink type veth peer name wire");
        let uplink = index("uplink");
        let filters = || tc("filter show dev uplink egress").len();
        assert_eq!(filters(), 0);
        for _ in 0..2 {
            enforcer.attach_uplink(uplink).expect("attached");
            assert_eq!(enforcer.check(&[], &[uplink]).expect("checked"), []);
        }
        assert!(filters() > 0);
        for _ in 0..2 {
            enforcer.detach_uplink(uplink).expect("detached");
            assert_eq!(enforcer.check(&[], &[uplink]).expect("checked").len(), 1);
        }
        assert_eq!(filters(), 0);
    });
}

#[test]
fn removal_takes_all_of_it_away_and_can_be_repeated() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let _pod = Pod::admitted(&enforcer, 1);
        ip("link add uplink type veth peer name wire");
        let uplink = index("uplink");
        enforcer.attach_uplink(uplink).expect("attached");
        enforcer.stop();
        for _ in 0..2 {
            remove(&settings).expect("removed");
            assert!(!joins_blocks("pod1"));
            assert!(filters_of_block(BLOCKS.0).is_empty());
            assert!(tc("filter show dev uplink egress").is_empty());
            assert!(!settings.pin_dir.exists());
            let links = ip_json("link show");
            assert!(!links.iter().any(|link| link["ifname"] == "venihold"));
        }
        start(&settings);
        assert!(joins_blocks("venihold"), "and can be started again");
    });
}

#[test]
fn a_check_names_a_tcx_program_of_others_that_runs_before_ours() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        let link = pod.endpoint.host_index;
        // Any program will do: one of ours, loaded by somebody else with maps of its own.
        let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/object/veni.bpf.o");
        let mut others = aya::EbpfLoader::new()
            .default_map_pin_directory(settings.pin_dir.parent().expect("a folder"))
            .load_file(object)
            .expect("load");
        let program = others.program_mut("leaving").expect("a program");
        let program: &mut SchedClassifier = program.try_into().expect("of tc");
        program.load().expect("load");
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let attached = program
            .attach_with_options("pod1", TcAttachType::Ingress, first)
            .expect("attach");
        let faults = enforcer.check(&[link], &[]).expect("checked");
        assert!(
            matches!(&faults[..], [Fault::ForeignPrograms(at, names)]
                if *at == link && names.contains("leaving")),
            "{faults:?}"
        );
        program.detach(attached).expect("detach");
        assert_eq!(enforcer.check(&[link], &[]).expect("checked"), []);
    });
}
