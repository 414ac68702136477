//! The CNI commands, one by one, as the specification has them.

use serde_json::{Value, json};
use veni_testbed::plugin::netconf;
use veni_testbed::traffic::reaches;
use veni_testbed::{Added, Bed, BedConfig, kernel};

#[tokio::test]
async fn an_add_that_is_repeated_gives_the_same_result_and_changes_nothing() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, first) = bed.running(0, "pod").await;
    let look = async || {
        let node = kernel::of_pods(bed.node(0)).await;
        (node, kernel::ip_json(pod.path(), &["address"]).await)
    };
    let before = look().await;
    let again = bed.add(&pod).await.expect("ADD");
    assert_eq!(again, first);
    assert_eq!(look().await, before);
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn the_result_names_both_ends_and_the_pod_s_namespace_in_each_version_s_format() {
    let bed = Bed::start(BedConfig::new(1)).await;
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let pod = bed.pod(0, "pod").await;
        let mut call = bed.call("ADD", &pod);
        call.config["cniVersion"] = Value::from(version);
        let answer = bed.run(0, &call).await.expect("ADD");
        assert_eq!(answer["cniVersion"], version);
        let [host, own] = &answer["interfaces"].as_array().expect("interfaces")[..] else {
            panic!("two interfaces, not {answer}");
        };
        let links = kernel::links(bed.node(0)).await;
        let link = links.iter().find(|link| host["name"] == link.name.as_str());
        assert_eq!(
            host["mac"],
            link.expect("the host's end exists").address.as_str()
        );
        assert_eq!(host["sandbox"], Value::Null);
        assert_eq!(own["sandbox"], pod.path().display().to_string());
        let inside = kernel::links(pod.path()).await;
        let inside = inside
            .iter()
            .find(|link| link.name == "eth0")
            .expect("the pod's end exists");
        assert_eq!(own["mac"], inside.address.as_str());
        assert_eq!(answer["ips"][0]["interface"], 1);
        bed.del(&pod).await.expect("DEL");
    }
    bed.end().await;
}

#[tokio::test]
async fn del_may_be_repeated_and_succeeds_without_a_namespace_and_for_what_is_not_known() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    bed.del(&pod).await.expect("DEL");
    bed.del(&pod).await.expect("the second DEL");
    let mut late = bed.call("DEL", &pod);
    late.netns = String::new();
    bed.run(0, &late).await.expect("a DEL without a namespace");
    late.container = "never-seen".to_owned();
    bed.run(0, &late)
        .await
        .expect("a DEL of what was never added");
    bed.nothing_of_pods(0).await;
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn check_accepts_what_add_has_made_and_names_each_difference() {
    let bed = Bed::start(BedConfig::new(1).set("VENI_AUDIT_INTERVAL", "3600")).await;
    let (pod, added) = bed.running(0, "pod").await;
    bed.check(&pod, &added)
        .await
        .expect("CHECK of a healthy pod");
    let (address, link) = (added.address(), added.host_link.clone());
    let node = bed.node(0).to_owned();
    let inside = pod.path().to_owned();
    let pod_route = format!("route del {address} table 22016");
    let plants = [
        (&node, pod_route.as_str(), address.to_string()),
        (&inside, "route del default", "default".to_owned()),
        (&inside, "address flush dev eth0", address.to_string()),
        (&inside, "link set eth0 down", "eth0".to_owned()),
    ];
    for (place, defect, named) in plants {
        // The daemon puts a route back as soon as the kernel tells of it, and may be faster
        // than the plugin. After it has done so a few times, it leaves the route alone for seconds.
        let mut found = None;
        for _ in 0..40 {
            kernel::ip(place, defect).await;
            found = bed.check(&pod, &added).await.err();
            if found.is_some() {
                break;
            }
        }
        let error = found.expect(defect);
        assert_eq!(error.code, 102, "{error}");
        let text = format!("{} {}", error.message, error.details);
        assert!(text.contains(&named), "'{defect}' is not named in: {text}");
        bed.del(&pod).await.expect("DEL");
        bed.add(&pod).await.expect("ADD");
        // Another address, another result: one pod for all defects needs the first one.
        let fresh = bed.add(&pod).await.expect("ADD");
        if fresh.address() != address || fresh.host_link != link {
            break;
        }
    }
    bed.end().await;
}

#[tokio::test]
async fn check_of_an_unknown_container_fails() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, added) = bed.running(0, "pod").await;
    bed.del(&pod).await.expect("DEL");
    let error = bed.check(&pod, &added).await.expect_err("nothing is there");
    assert_eq!(error.code, 3, "{error}");
    bed.end().await;
}

#[tokio::test]
async fn gc_releases_what_is_not_listed_and_of_its_own_network_only() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (listed, _) = bed.running(0, "listed").await;
    let (forgotten, _) = bed.running(0, "forgotten").await;
    let elsewhere = bed.pod(0, "elsewhere").await;
    let mut call = bed.call("ADD", &elsewhere);
    call.config = netconf("another", bed.daemon(0).run_dir(), "1.1.0");
    bed.run(0, &call).await.expect("ADD in another network");

    bed.gc(0, &[&listed]).await.expect("GC");
    let evidence = bed
        .evidence(&[&listed, &forgotten, &elsewhere])
        .await
        .expect("evidence");
    let mut left: Vec<&str> = evidence.nodes[0]
        .endpoints
        .iter()
        .map(|one| one.container.as_str())
        .collect();
    left.sort_unstable();
    let mut expected = [listed.container(), elsewhere.container()];
    expected.sort_unstable();
    assert_eq!(left, expected);
    bed.sound(&[&listed, &forgotten, &elsewhere]).await;

    bed.gc(0, &[]).await.expect("GC of an empty list");
    bed.sound(&[&listed, &forgotten, &elsewhere]).await;
    let evidence = bed.evidence(&[]).await.expect("evidence");
    assert_eq!(
        evidence.nodes[0].endpoints.len(),
        1,
        "only the other network's is left"
    );
    bed.end().await;
}

#[tokio::test]
async fn gc_without_a_list_is_an_error_and_releases_nothing() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let error = bed.run(0, &bed.bare("GC", 0)).await.expect_err("no list");
    assert!(
        error.to_string().contains("cni.dev/valid-attachments"),
        "{error}"
    );
    bed.sound(&[&pod]).await;
    assert_eq!(
        bed.evidence(&[&pod]).await.expect("evidence").nodes[0]
            .endpoints
            .len(),
        1
    );
    bed.end().await;
}

#[tokio::test]
async fn status_fails_with_code_50_only_until_the_daemon_was_ready_once() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let status = bed.bare("STATUS", 0);
    let error = bed
        .run(0, &status)
        .await
        .expect_err("no daemon has been ready");
    assert_eq!(error.code, 50, "{error}");
    bed.daemon(0).start().await;
    bed.run(0, &status).await.expect("the daemon is ready");
    bed.daemon(0).kill().await;
    bed.run(0, &status)
        .await
        .expect("a daemon that is away for a moment");
    bed.end().await;
}

#[tokio::test]
async fn version_tells_the_versions_without_a_daemon() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let mut call = bed.bare("VERSION", 0);
    call.config = json!({ "cniVersion": "1.1.0" });
    let answer = bed.run(0, &call).await.expect("VERSION");
    let supported = answer["supportedVersions"].as_array().expect("versions");
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        assert!(supported.contains(&Value::from(version)), "{answer}");
    }
    bed.end().await;
}

#[tokio::test]
async fn an_add_without_a_daemon_fails_with_code_11_and_says_what_to_check() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let pod = bed.pod(0, "pod").await;
    let error = bed.add(&pod).await.expect_err("there is no daemon");
    assert_eq!(error.code, 11, "{error}");
    let socket = bed.daemon(0).run_dir().join("cni.sock");
    assert!(
        error.to_string().contains(&socket.display().to_string()),
        "{error}"
    );
    assert!(error.to_string().contains("ipamd"), "{error}");
    bed.end().await;
}

#[tokio::test]
async fn an_add_for_a_name_that_is_taken_in_the_pod_fails_and_leaves_nothing() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let pod = bed.pod(0, "pod").await;
    kernel::ip(pod.path(), "link add eth0 type veth peer name eth1").await;
    let error = bed.add(&pod).await.expect_err("eth0 is somebody else's");
    assert!(error.to_string().contains("eth0"), "{error}");
    bed.nothing_of_pods(0).await;
    kernel::ip(pod.path(), "link del eth0").await;
    bed.add(&pod).await.expect("ADD once the name is free");
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_repeated_add_makes_a_damaged_pod_whole() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, added) = bed.running(0, "pod").await;
    kernel::ip(pod.path(), "address flush dev eth0").await;
    let damaged = bed.check(&pod, &added).await;
    damaged.expect_err("the address is gone");
    let again = bed.add(&pod).await.expect("ADD");
    bed.check(&pod, &again).await.expect("CHECK");
    assert!(reaches(bed.node(0), again.address()).await);
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn an_add_of_a_known_container_in_another_namespace_moves_it_there() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (old, _) = bed.running(0, "pod").await;
    let new = bed.pod(0, "pod").await;
    let mut call = bed.call("ADD", &new);
    call.container = old.container().to_owned();
    let added = Added::read(bed.run(0, &call).await.expect("ADD"));
    assert!(reaches(new.path(), bed.node_address(0)).await);
    bed.nothing_in(&old).await;
    let evidence = bed.evidence(&[]).await.expect("evidence");
    assert_eq!(evidence.nodes[0].endpoints.len(), 1);
    assert!(evidence.nodes[0].leased.contains(&added.address()));
    bed.sound(&[]).await;
    bed.end().await;
}

#[tokio::test]
async fn two_pods_of_one_name_both_have_a_network() {
    // A pod that is being replaced by one of the same name lives for a while.
    let bed = Bed::start(BedConfig::new(1)).await;
    let (old, old_added) = bed.running(0, "pod").await;
    let (new, new_added) = bed.running(0, "pod").await;
    assert_ne!(old_added.host_link, new_added.host_link);
    assert!(reaches(old.path(), new_added.address()).await);
    bed.sound(&[&old, &new]).await;
    bed.del(&old).await.expect("DEL");
    assert!(reaches(bed.node(0), new_added.address()).await);
    bed.sound(&[&old, &new]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_foreign_link_that_has_the_name_of_a_pod_s_is_left_alone_and_the_pod_gets_another() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, added) = bed.running(0, "pod").await;
    bed.del(&pod).await.expect("DEL");
    bed.nothing_of_pods(0).await;
    let taken = &added.host_link;
    let make = format!("link add {taken} type veth peer name foreign0");
    kernel::ip(bed.node(0), &make).await;
    let (next, next_added) = bed.running(0, "pod").await;
    assert_ne!(next_added.host_link, *taken);
    assert!(reaches(next.path(), bed.node_address(0)).await);
    let links = kernel::links(bed.node(0)).await;
    assert!(
        links.iter().any(|link| link.name == *taken),
        "the foreign link is gone"
    );
    bed.sound(&[&pod, &next]).await;
    bed.end().await;
}
