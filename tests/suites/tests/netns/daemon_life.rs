//! The daemon comes and goes; pods, addresses and cooldowns stay.

use std::time::{Duration, Instant};

use veni_testbed::traffic::{Stream, reaches};
use veni_testbed::{Added, Bed, BedConfig, Death, TestPod, eventually};

/// Pods on both interfaces of node 0 and one on node 1.
async fn populated() -> (Bed, Vec<(TestPod, Added)>) {
    let bed = Bed::start(BedConfig::new(2).instance_type("t3.small")).await;
    let mut pods = Vec::new();
    for number in 1..=4 {
        pods.push(bed.running(0, &format!("p{number}")).await);
    }
    pods.push(bed.running(1, "peer").await);
    (bed, pods)
}

/// Streams from the first and the last pod of node 0 to the peer and the internet.
async fn streams(bed: &Bed, pods: &[(TestPod, Added)]) -> Vec<Stream> {
    let internet = bed.lab().cloud().config().internet[0];
    let peer = pods[4].1.address();
    let mut streams = Vec::new();
    for (pod, _) in [&pods[0], &pods[3]] {
        for to in [peer, internet, bed.node_address(0)] {
            streams.push(Stream::start(pod.path(), to).await);
        }
    }
    streams.push(Stream::start(pods[4].0.path(), pods[3].1.address()).await);
    streams
}

async fn nothing_has_changed(bed: &Bed, pods: &[(TestPod, Added)]) {
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    for (pod, added) in pods {
        assert_eq!(
            bed.add(pod).await.expect("ADD again"),
            *added,
            "the same result as before"
        );
        bed.check(pod, added).await.expect("CHECK");
    }
    bed.sound(&all).await;
}

#[tokio::test]
async fn a_daemon_that_is_stopped_and_started_again_costs_the_pods_no_packet() {
    let (bed, pods) = populated().await;
    let streams = streams(&bed, &pods).await;
    let death = bed.daemon(0).terminate().await;
    assert_eq!(death, Death::Exited(0), "{}", bed.daemon(0).log_tail());
    bed.daemon(0).start().await;
    nothing_has_changed(&bed, &pods).await;
    for stream in streams {
        stream.lost_nothing().await;
    }
    bed.end().await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_keeps_endpoints_addresses_and_traffic() {
    let (bed, pods) = populated().await;
    let streams = streams(&bed, &pods).await;
    assert_eq!(bed.daemon(0).kill().await, Death::KILLED);
    bed.daemon(0).start().await;
    nothing_has_changed(&bed, &pods).await;
    let (fresh, added) = bed.running(0, "fresh").await;
    assert!(
        pods.iter()
            .all(|(_, other)| other.address() != added.address())
    );
    bed.del(&fresh).await.expect("DEL");
    for stream in streams {
        stream.lost_nothing().await;
    }
    bed.end().await;
}

#[tokio::test]
async fn a_daemon_starts_and_serves_pods_while_its_cloud_cannot_be_asked() {
    use veni_provider::ErrorClass;
    use veni_testbed::cloudlab::mock::{Fault, FaultKind};
    let (bed, pods) = populated().await;
    bed.del(&pods[0].0).await.expect("DEL");
    bed.daemon(0).kill().await;
    bed.lab().cloud().inject(Fault::always(FaultKind::Error {
        class: ErrorClass::Transient,
        reason: "the cloud is away".to_owned(),
    }));
    bed.daemon(0).start().await;
    let added = bed
        .add(&pods[0].0)
        .await
        .expect("ADD out of what the node holds");
    assert!(reaches(bed.node(0), added.address()).await);
    bed.lab().cloud().clear_faults();
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn a_second_daemon_on_the_node_is_refused_and_the_first_goes_on() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let pid = bed.daemon(0).pid().await.expect("it runs");
    assert_eq!(bed.daemon(0).second().await, Death::Exited(1));
    let log = bed.daemon(0).log();
    assert!(
        log.contains(&format!("another ipamd (process {pid})")),
        "{log}"
    );
    let (pod, _) = bed.running(0, "pod").await;
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_pod_whose_journal_entry_is_damaged_works_on_and_nobody_gets_its_address() {
    let bed = Bed::start(BedConfig::new(1).instance_type("t3.small")).await;
    let (pod, added) = bed.running(0, "pod").await;
    let stream = Stream::start(pod.path(), bed.node_address(0)).await;
    bed.daemon(0).kill().await;
    let entry = bed.journal_entry(&pod);
    let text = std::fs::read_to_string(&entry).expect("the entry");
    std::fs::write(&entry, &text[..text.len() / 2]).expect("the entry can be damaged");
    bed.daemon(0).start().await;
    assert!(
        bed.daemon(0).log().contains("journal entry"),
        "the damage is reported"
    );
    for round in 1..=2 {
        // Use all other addresses of the node, so that none is left.
        let mut others = Vec::new();
        for number in 1..=8 {
            let (other, other_added) = bed.running(0, &format!("other{round}-{number}")).await;
            assert_ne!(
                other_added.address(),
                added.address(),
                "the address is taken"
            );
            others.push(other);
        }
        for other in &others {
            bed.del(other).await.expect("DEL");
        }
        bed.daemon(0).kill().await;
        bed.daemon(0).start().await;
    }
    assert!(reaches(bed.node(0), added.address()).await);
    stream.lost_nothing().await;

    pod.vanish().await;
    bed.nothing_of_pods(0).await;
    eventually("the address's return", async || {
        let evidence = bed.evidence(&[]).await?;
        if evidence.nodes[0].leased.is_empty() {
            Ok(())
        } else {
            Err(format!("{:?}", evidence.nodes[0].leased))
        }
    })
    .await;
    bed.sound(&[]).await;
    bed.end().await;
}

#[tokio::test]
async fn an_address_cools_over_a_restart_before_another_pod_gets_it() {
    const COOLDOWN: Duration = Duration::from_secs(6);
    // Three addresses and no way to more.
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("MAX_ENI", "1");
    let bed = Bed::start(config.set("IP_COOLDOWN_PERIOD", "6")).await;
    let mut pods = Vec::new();
    for number in 1..=3 {
        pods.push(bed.running(0, &format!("p{number}")).await);
    }
    let (deleted, old) = &pods[1];
    let began = Instant::now();
    bed.del(deleted).await.expect("DEL");
    bed.daemon(0).kill().await;
    bed.daemon(0).start().await;
    let (next, added) = bed.running(0, "next").await;
    assert_eq!(added.address(), old.address(), "there is no other address");
    let waited = began.elapsed();
    assert!(
        waited >= COOLDOWN,
        "the address was given out again after {waited:?}"
    );
    bed.sound(&[&pods[0].0, deleted, &pods[2].0, &next]).await;
    bed.end().await;
}

#[tokio::test]
async fn addresses_that_were_handed_on_stay_with_their_new_pods_when_the_daemon_is_killed() {
    // Three addresses that do not cool: each pod gets one that a pod has just left.
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("MAX_ENI", "1");
    let bed = Bed::start(config.set("IP_COOLDOWN_PERIOD", "0")).await;
    let mut pods = Vec::new();
    for number in 1..=3 {
        pods.push(bed.running(0, &format!("p{number}")).await);
    }
    for _ in 0..4 {
        for (pod, added) in &mut pods {
            bed.del(pod).await.expect("DEL");
            let again = bed.add(pod).await;
            *added = again.expect("ADD with the address that came free");
        }
        // The journal still has the pods that the addresses were taken from.
        bed.daemon(0).kill().await;
        bed.daemon(0).start().await;
        for (pod, added) in &pods {
            bed.check(pod, added).await.expect("CHECK");
        }
        let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
        bed.sound(&all).await;
    }
    bed.end().await;
}

#[tokio::test]
async fn a_daemon_whose_log_nobody_reads_any_more_serves_pods() {
    let (bed, mut pods) = populated().await;
    bed.daemon(0).terminate().await;
    bed.daemon(0).start_unheard().await;
    let began = bed.daemon(0).pid().await;
    let (gone, _) = pods.remove(0);
    bed.del(&gone).await.expect("DEL");
    let more = bed.running(0, "more").await;
    assert_eq!(bed.daemon(0).has_died().await, None);
    assert_eq!(bed.daemon(0).pid().await, began, "the same process");
    pods.push(more);
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    bed.end().await;
}
