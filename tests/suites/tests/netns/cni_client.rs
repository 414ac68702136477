//! The CNI project's own client drives the plugin, by a conflist.

use veni_testbed::cnitool::Cnitool;
use veni_testbed::traffic::reaches;
use veni_testbed::{Added, Bed, BedConfig, TestPod, kernel};

fn client(bed: &Bed, version: &str) -> Cnitool {
    // The client keeps results by network name, in one place for all tests.
    let network = format!("{}-v{}", bed.lab().name(), version.replace('.', "-"));
    Cnitool::new(bed.folder(), &network, version, bed.daemon(0).run_dir())
}

async fn run(
    bed: &Bed,
    client: &Cnitool,
    command: &str,
    pod: &TestPod,
) -> Result<serde_json::Value, String> {
    client
        .run(command, pod.path(), |program| bed.exec(0, program))
        .await
}

#[tokio::test]
async fn cnitool_adds_checks_and_deletes_pods_by_conflists_of_each_version_with_check() {
    let bed = Bed::start(BedConfig::new(1).set("VENI_AUDIT_INTERVAL", "3600")).await;
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let client = client(&bed, version);
        let pod = bed.pod(0, "pod").await;
        let added = Added::read(run(&bed, &client, "add", &pod).await.expect("add"));
        assert_eq!(added.answer["cniVersion"], version);
        assert!(reaches(bed.node(0), added.address()).await);
        run(&bed, &client, "check", &pod).await.expect("check");
        // Break the pod's side: only CHECK looks there, while the daemon repairs the node's
        // side at once.
        let lost = format!("address del {}/32 dev eth0", added.address());
        kernel::ip(pod.path(), &lost).await;
        let refused = run(&bed, &client, "check", &pod)
            .await
            .expect_err("an address is missing");
        assert!(refused.contains(&added.address().to_string()), "{refused}");
        run(&bed, &client, "del", &pod).await.expect("del");
        run(&bed, &client, "del", &pod).await.expect("del again");
        bed.nothing_of_pods(0).await;
        bed.sound(&[&pod]).await;
    }
    bed.end().await;
}

#[tokio::test]
async fn cnitool_adds_and_deletes_pods_by_conflists_of_each_version_before_check() {
    let bed = Bed::start(BedConfig::new(1).set("VENI_AUDIT_INTERVAL", "3600")).await;
    for version in ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
        let client = client(&bed, version);
        let pod = bed.pod(0, "pod").await;
        let added = Added::read(run(&bed, &client, "add", &pod).await.expect("add"));
        let expected = if version.is_empty() { "0.1.0" } else { version };
        assert_eq!(added.answer["cniVersion"], expected);
        assert!(reaches(bed.node(0), added.address()).await);
        let refused = run(&bed, &client, "check", &pod)
            .await
            .expect_err("a version without CHECK");
        assert!(refused.contains("CHECK"), "{refused}");
        run(&bed, &client, "del", &pod).await.expect("del");
        run(&bed, &client, "del", &pod).await.expect("del again");
        bed.nothing_of_pods(0).await;
        bed.sound(&[&pod]).await;
    }
    bed.end().await;
}

#[tokio::test]
async fn cnitool_collects_garbage_and_asks_for_the_status() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let client = client(&bed, "1.1.0");
    let pod = bed.pod(0, "pod").await;
    let refused = run(&bed, &client, "status", &pod)
        .await
        .expect_err("no daemon has been ready");
    assert!(refused.contains("not been ready"), "{refused}");
    bed.daemon(0).start().await;
    run(&bed, &client, "status", &pod).await.expect("status");

    run(&bed, &client, "add", &pod).await.expect("add");
    // A pod of the same network that the client does not know.
    let stray = bed.pod(0, "stray").await;
    let mut call = bed.call("ADD", &stray);
    call.config["name"] = format!("{}-v1-1-0", bed.lab().name()).into();
    bed.run(0, &call).await.expect("ADD");
    // It deletes all pods that it knows itself, and asks without a list for the
    // rest: that is an error, as nobody could tell what is still in use.
    let gc = run(&bed, &client, "gc", &pod).await;
    let refused = gc.expect_err("a GC without a list");
    assert!(refused.contains("cni.dev/valid-attachments"), "{refused}");
    let evidence = bed.evidence(&[]).await.expect("evidence");
    let left: Vec<&str> = evidence.nodes[0]
        .endpoints
        .iter()
        .map(|one| one.container.as_str())
        .collect();
    assert_eq!(left, [stray.container()]);
    bed.end().await;
}
