//! Custom networking: pods in a subnet and a security group of their own, which
//! an ENIConfig of the node's zone names, on secondary interfaces alone.

use std::path::PathBuf;

use serde_json::json;
use veni_testbed::cloudlab::address_seen_by_internet;
use veni_testbed::cloudlab::sdk::types::{IpPermission, UserIdGroupPair};
use veni_testbed::ec2::ZONE;
use veni_testbed::traffic::{Stream, is_silent, reaches};
use veni_testbed::{Bed, BedConfig, PATIENCE, eventually};

use crate::wires::{carrier, described, end_well, forged, talk};

/// Range of the second subnet of a bed.
const PODS: &str = "10.0.16.0/20";

/// A security group without a way in.
async fn group(bed: &Bed) -> String {
    let call = bed.ec2().client().create_security_group();
    let call = call.vpc_id(bed.ec2().vpc()).group_name("pods");
    let made = call.description("pods among each other").send().await;
    made.expect("a group").group_id.expect("an id")
}

/// Lets everything from the members of one group into those of another.
async fn let_in(bed: &Bed, from: &str, into: &str) {
    let peer = UserIdGroupPair::builder().group_id(from).build();
    let everything = IpPermission::builder().ip_protocol("-1");
    let call = bed.ec2().client().authorize_security_group_ingress();
    let call = call.group_id(into);
    let call = call.ip_permissions(everything.user_id_group_pairs(peer).build());
    call.send().await.expect("allowed");
}

/// Writes the file of the ENIConfigs: one of the nodes' zone, which names this subnet of the
/// bed, and one of another.
fn eni_configs(bed: &Bed, subnet: usize, group: &str) -> PathBuf {
    let config = |zone: &str, subnet: &str| {
        json!({
            "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
            "kind": "ENIConfig",
            "metadata": {"name": zone},
            "spec": {"subnet": subnet, "securityGroups": [group]},
        })
    };
    let here = config(ZONE, bed.ec2().subnets()[subnet].as_str());
    let elsewhere = config("us-east-1f", "subnet-0123456789abcdef0");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [elsewhere, here]});
    let path = bed.folder().join("eniconfigs.json");
    std::fs::write(&path, list.to_string()).expect("the file can be written");
    path
}

/// A bed whose daemons follow the ENIConfig of their zone; the pods' group.
async fn start() -> (Bed, String) {
    let config = BedConfig::localstack(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1")
        // No repairs: what is wrong at first must stay wrong and be seen.
        .set("VENI_AUDIT_INTERVAL", "3600")
        .set("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true")
        .set("ENI_CONFIG_LABEL_DEF", "topology.kubernetes.io/zone");
    let bed = Bed::start_without_daemons(config).await;
    let group = group(&bed).await;
    let_in(&bed, &group, &group).await;
    let path = eni_configs(&bed, 1, &group);
    let file = path.to_str().expect("utf-8");
    for node in [0, 1] {
        let settings = [("VENI_ENI_CONFIG_FILE", file)];
        bed.daemon(node).start_with(&settings).await;
    }
    tokio::join!(bed.daemon(0).ready(), bed.daemon(1).ready());
    (bed, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_in_the_subnet_and_the_security_group_of_their_zone_s_eni_config() {
    let (bed, group) = start().await;
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    let range: ipnet::IpNet = PODS.parse().expect("a range");
    for (node, added) in [(0, &added), (1, &other)] {
        assert!(range.contains(&added.address()), "{added:?}");
        assert!(carrier(&bed, node, added.address()).await > 0);
        let interfaces = described(&bed, node).await;
        let (primary, secondary) = interfaces.split_first().expect("a primary interface");
        assert_eq!(
            primary.private_ip_addresses().len(),
            1,
            "it gives pods nothing"
        );
        assert!(primary.ipv4_prefixes().is_empty());
        for one in secondary {
            assert_eq!(one.subnet_id(), Some(bed.ec2().subnets()[1].as_str()));
            let groups = one.groups().iter().map(|one| one.group_id());
            assert_eq!(groups.collect::<Vec<_>>(), [Some(group.as_str())]);
        }
    }
    talk((&here, &added), (&there, &other)).await;
    assert!(reaches(bed.node(0), added.address()).await);

    // Packets that leave the VPC carry the node's address and use its own interface.
    let internet = bed.lab().internet_addresses()[0];
    for (node, pod) in [(0, &here), (1, &there)] {
        let seen = address_seen_by_internet(pod.path(), internet, PATIENCE).await;
        assert_eq!(seen.expect("the internet answers"), bed.node_address(node));
    }

    // The group is in force: nodes are not members, and reach pods only once it allows them.
    assert!(is_silent(bed.node(1), added.address()).await);
    let_in(&bed, bed.ec2().security_group(), &group).await;
    assert!(reaches(bed.node(1), added.address()).await);
    end_well(bed, &[&here, &there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_an_eni_config_keep_their_place_when_the_daemon_is_killed() {
    let (bed, _group) = start().await;
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    let stream = Stream::start(here.path(), other.address()).await;
    // Nothing must be under way: the next daemon would learn of a change of this one before
    // the wires follow it.
    eventually(
        "a warm address beside the interface's and the pod's",
        async || {
            let held = described(&bed, 0).await[1].private_ip_addresses().len();
            (held >= 3).then_some(()).ok_or(format!("{held} are held"))
        },
    )
    .await;
    bed.sound(&[&here, &there]).await;
    bed.daemon(0).kill().await;
    let path = bed.folder().join("eniconfigs.json");
    let file = path.to_str().expect("utf-8");
    let settings = [("VENI_ENI_CONFIG_FILE", file)];
    bed.daemon(0).start_with(&settings).await;
    bed.daemon(0).ready().await;
    let (late, late_added) = bed.running(0, "late").await;
    let range: ipnet::IpNet = PODS.parse().expect("a range");
    assert!(range.contains(&late_added.address()), "{late_added:?}");
    assert!(reaches(late.path(), other.address()).await);
    stream.lost_nothing().await;
    bed.check(&here, &added).await.expect("it kept its address");
    bed.sound(&[&here, &there, &late]).await;
    let log = bed.daemon(0).log_tail();
    assert_eq!(forged(&bed).await, 0, "{late_added:?}:\n{log}");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_eni_config_counts_for_the_next_interface_without_a_restart() {
    let (bed, group) = start().await;
    let (before, kept) = bed.running(0, "before").await;
    let old = described(&bed, 0).await.remove(1);
    eni_configs(&bed, 0, &group);
    let subnet = bed.ec2().subnets()[0].as_str();
    eventually("an interface in the subnet that is named now", async || {
        let interfaces = described(&bed, 0).await;
        let mut secondary = interfaces.iter().skip(1);
        let found = secondary.any(|one| one.subnet_id() == Some(subnet));
        found.then_some(()).ok_or(format!("{interfaces:?}"))
    })
    .await;
    // The pool knows of it a moment later, and never gives pods anything of the old one
    // from now on.
    let (after, added) = bed.running(0, "after").await;
    let range: ipnet::IpNet = PODS.parse().expect("a range");
    assert!(!range.contains(&added.address()), "{added:?}");
    let interfaces = described(&bed, 0).await;
    let of_old = interfaces
        .iter()
        .find(|one| one.network_interface_id() == old.network_interface_id());
    let of_old = of_old.expect("it stays for its pod");
    assert_eq!(of_old.subnet_id(), old.subnet_id());
    bed.check(&before, &kept)
        .await
        .expect("it kept its address");
    talk((&before, &kept), (&after, &added)).await;
    end_well(bed, &[&before, &after]).await;
}
