//! Many pods come and go while the daemon is killed again and again, at no
//! particular point; in a cloud that answers at once, and in one that takes its time.

use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use veni_testbed::cloudlab::mock::{CloudConfig, Fault, FaultKind};
use veni_testbed::cloudlab::with_ipv6;
use veni_testbed::traffic::reaches;
use veni_testbed::{Bed, BedConfig, TestPod};

const PODS: usize = 20;
/// Pods that are started or deleted at the same time.
const AT_ONCE: usize = 5;
/// Most tries of a runtime before the test counts a failure.
const TRIES: usize = 40;

/// What a kubelet does: DEL after an ADD that failed, and ADD again.
async fn bring_up(bed: &Bed, pod: &TestPod) {
    for _ in 0..TRIES {
        let Err(error) = bed.add(pod).await else {
            return;
        };
        assert!(matches!(error.code, 5 | 11), "{error}");
        take_down(bed, pod).await;
    }
    panic!("{} never got its network", pod.name());
}

async fn take_down(bed: &Bed, pod: &TestPod) {
    for _ in 0..TRIES {
        let Err(error) = bed.del(pod).await else {
            return;
        };
        assert!(matches!(error.code, 5 | 11), "{error}");
    }
    panic!("{} was never deleted", pod.name());
}

async fn kill_again_and_again(bed: &Bed, random: &mut StdRng, times: usize) {
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(random.random_range(20..500))).await;
        bed.daemon(0).kill().await;
        bed.daemon(0).start().await;
    }
}

/// Every third pod is deleted and added again, every third is deleted.
async fn storm(config: BedConfig, faults: &[Fault], seed: u64, kills: usize) {
    let config = config
        .set("WARM_IP_TARGET", "2")
        .set("VENI_RELEASE_DELAY", "0")
        .set("VENI_DETACH_AGE", "0");
    let bed = Bed::start(config).await;
    for fault in faults {
        bed.lab().cloud().inject(fault.clone());
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut pods = Vec::new();
    for number in 0..PODS {
        pods.push(bed.pod(0, &format!("p{number}")).await);
    }
    let runtimes = futures::stream::iter(pods.iter().enumerate()).for_each_concurrent(
        AT_ONCE,
        async |(number, pod)| {
            bring_up(&bed, pod).await;
            if number % 3 > 0 {
                take_down(&bed, pod).await;
            }
            if number % 3 == 1 {
                bring_up(&bed, pod).await;
            }
        },
    );
    tokio::join!(runtimes, kill_again_and_again(&bed, &mut random, kills));
    bed.lab().cloud().clear_faults();
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    let evidence = bed.evidence(&all).await.expect("evidence");
    let endpoints = &evidence.nodes[0].endpoints;
    assert_eq!(endpoints.len(), PODS - PODS / 3);
    for address in endpoints.iter().flat_map(|endpoint| &endpoint.addresses) {
        assert!(
            reaches(bed.node(0), *address).await,
            "{address} does not answer"
        );
    }
    for pod in &pods {
        take_down(&bed, pod).await;
    }
    bed.nothing_of_pods(0).await;
    bed.sound(&all).await;
    bed.end().await;
}

fn cloud(cloud: CloudConfig) -> BedConfig {
    BedConfig::new(1).cloud(cloud)
}

#[tokio::test]
async fn a_storm_of_pods_over_a_dying_daemon_ends_sound_in_a_cloud_that_answers_at_once() {
    storm(cloud(CloudConfig::aws().instant()), &[], 7, 6).await;
}

#[tokio::test]
async fn a_storm_of_pods_over_a_dying_daemon_ends_sound_in_a_slow_and_inconsistent_cloud() {
    storm(cloud(CloudConfig::aws()), &[], 11, 6).await;
}

#[tokio::test]
async fn a_storm_of_pods_over_a_dying_daemon_ends_sound_with_prefixes_and_both_families() {
    let config = cloud(with_ipv6(CloudConfig::aws().instant()));
    let config = config
        .set("ENABLE_PREFIX_DELEGATION", "true")
        .set("ENABLE_IPv6", "true");
    storm(config, &[], 13, 6).await;
}

#[tokio::test]
async fn a_storm_of_pods_over_a_dying_daemon_ends_sound_in_a_cloud_whose_answers_get_lost() {
    let faults = [
        Fault::random(0.15, FaultKind::AnswerLost),
        Fault::random(0.2, FaultKind::Partial { at_most: 1 }),
    ];
    storm(cloud(CloudConfig::aws().instant()), &faults, 17, 6).await;
}
