//! What makes calls slow, late or fail, on a paused clock: lag, latency,
//! budget, faults, permissions.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use veni_provider::{
    AddressSlots, AttachRequest, ErrorClass, Family, InterfaceId, InterfaceState, Operation,
    Provider,
};
use veni_provider_mock::config::{Bucket, Latency, Throttle};
use veni_provider_mock::{CloudConfig, Fault, FaultKind, MockCloud, MockProvider, NodeConfig};

const fn addresses(count: u32) -> AddressSlots {
    AddressSlots::Addresses {
        family: Family::V4,
        count,
    }
}

fn attach(token: &str) -> AttachRequest {
    AttachRequest {
        subnet: None,
        slots: Some(addresses(1)),
        token: token.to_owned(),
    }
}

fn with_node(config: CloudConfig) -> (MockCloud, MockProvider, InterfaceId) {
    let cloud = MockCloud::new(config).expect("must fit");
    let node = NodeConfig::new("i-1", "m5.large", "subnet-a");
    let primary = cloud.add_node(node).expect("must fit");
    let provider = cloud.provider("i-1");
    (cloud, provider, primary.id)
}

#[tokio::test(start_paused = true)]
async fn a_change_shows_after_its_lag_and_not_before() {
    let mut config = CloudConfig::aws().instant();
    config.consistency_delay = Latency::fixed(Duration::from_secs(2));
    let (_, provider, primary) = with_node(config);
    provider.assign(&primary, addresses(2)).await.expect("fits");
    let held = async || {
        provider.inventory().await.expect("answers").interfaces[0]
            .addresses
            .len()
    };
    assert_eq!(held().await, 0);
    tokio::time::advance(Duration::from_millis(1_999)).await;
    assert_eq!(held().await, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(held().await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_interface_shows_coming_there_leaving_and_gone() {
    let mut config = CloudConfig::aws().instant();
    config.consistency_delay = Latency::fixed(Duration::from_secs(2));
    let (_, provider, _) = with_node(config);
    let state = async |id: &InterfaceId| {
        let inventory = provider.inventory().await.expect("answers");
        let found = inventory.interfaces.iter().find(|i| i.id == *id);
        found.map(|interface| interface.state)
    };
    let made = provider.attach_interface(&attach("a")).await.expect("fits");
    assert_eq!(state(&made.id).await, None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(state(&made.id).await, Some(InterfaceState::Attaching));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(state(&made.id).await, Some(InterfaceState::Attached));
    provider.detach_interface(&made.id).await.expect("goes");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(state(&made.id).await, Some(InterfaceState::Detaching));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(state(&made.id).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_its_latency() {
    let mut config = CloudConfig::aws().instant();
    config.latency.assign = Latency::fixed(Duration::from_millis(700));
    let (_, provider, primary) = with_node(config);
    let start = Instant::now();
    provider.assign(&primary, addresses(1)).await.expect("fits");
    assert_eq!(start.elapsed(), Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_late_leaves_the_change_behind() {
    let mut config = CloudConfig::aws().instant();
    config.latency.assign = Latency::fixed(Duration::from_secs(1));
    let (cloud, provider, primary) = with_node(config);
    let held = || {
        cloud.dump().nodes[0].interfaces[0]
            .interface
            .addresses
            .len()
    };
    let early = timeout(
        Duration::from_millis(400),
        provider.assign(&primary, addresses(1)),
    );
    early.await.expect_err("must be too early");
    assert_eq!(held(), 0);
    let late = timeout(
        Duration::from_millis(600),
        provider.assign(&primary, addresses(1)),
    );
    late.await.expect_err("must be too early");
    assert_eq!(held(), 1);
}

#[tokio::test(start_paused = true)]
async fn latencies_stay_inside_their_distribution() {
    let latency = Latency::millis(100, 200, 1_000);
    for percent in 0..=100 {
        let drawn = latency.at(f64::from(percent) / 100.0);
        assert!(drawn >= latency.minimum && drawn <= latency.slowest);
        assert_eq!(
            drawn <= latency.median,
            percent <= 50,
            "at {percent} %: {drawn:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn all_nodes_pay_from_one_budget() {
    let mut config = CloudConfig::aws().instant();
    let bucket = Bucket {
        burst: 3,
        per_second: 1.0,
    };
    config.throttle = Some(Throttle {
        reads: bucket,
        writes: bucket,
    });
    let (cloud, provider, _) = with_node(config);
    let other = NodeConfig::new("i-2", "m5.large", "subnet-a");
    cloud.add_node(other).expect("must fit");
    for _ in 0..3 {
        cloud.provider("i-2").inventory().await.expect("must pass");
    }
    let error = provider.inventory().await.expect_err("must be throttled");
    assert_eq!(error.class, ErrorClass::Throttled { retry_after: None });
    tokio::time::advance(Duration::from_secs(1)).await;
    provider.inventory().await.expect("must pass");
}

#[tokio::test(start_paused = true)]
async fn azure_tells_when_to_come_back() {
    let mut config = CloudConfig::azure().instant();
    let bucket = Bucket {
        burst: 1,
        per_second: 0.5,
    };
    config.throttle = Some(Throttle {
        reads: bucket,
        writes: bucket,
    });
    let cloud = MockCloud::new(config).expect("must fit");
    let node = NodeConfig::new("vm", "Standard_D2s_v5", "subnet-a");
    cloud.add_node(node).expect("must fit");
    cloud.provider("vm").inventory().await.expect("must pass");
    let error = cloud
        .provider("vm")
        .inventory()
        .await
        .expect_err("throttled");
    let hint = Some(Duration::from_secs(2));
    assert_eq!(error.class, ErrorClass::Throttled { retry_after: hint });
}

#[tokio::test(start_paused = true)]
async fn an_injected_error_changes_nothing_and_is_used_up() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    cloud.inject(Fault::next(
        Operation::Assign,
        FaultKind::Error {
            class: ErrorClass::Transient,
            reason: "InternalError: try again".to_owned(),
        },
    ));
    provider
        .inventory()
        .await
        .expect("another operation passes");
    let error = provider
        .assign(&primary, addresses(1))
        .await
        .expect_err("must fail");
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(
        error.to_string(),
        "AssignPrivateIpAddresses failed: InternalError: try again"
    );
    assert!(
        cloud.dump().nodes[0].interfaces[0]
            .interface
            .addresses
            .is_empty()
    );
    provider
        .assign(&primary, addresses(1))
        .await
        .expect("must pass");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_change() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    cloud.inject(Fault::next(Operation::Assign, FaultKind::AnswerLost));
    let error = provider
        .assign(&primary, addresses(2))
        .await
        .expect_err("must fail");
    assert_eq!(error.class, ErrorClass::OutcomeUnknown);
    assert_eq!(
        cloud.dump().nodes[0].interfaces[0]
            .interface
            .addresses
            .len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_lasts_longer_than_anybody_waits() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    for applied in [false, true] {
        cloud.inject(Fault::next(
            Operation::Assign,
            FaultKind::Timeout { applied },
        ));
        let call = timeout(
            Duration::from_secs(120),
            provider.assign(&primary, addresses(1)),
        );
        call.await.expect_err("no answer");
        let held = cloud.dump().nodes[0].interfaces[0]
            .interface
            .addresses
            .len();
        assert_eq!(held, usize::from(applied));
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_gives_fewer() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    cloud.inject(Fault::next(
        Operation::Assign,
        FaultKind::Partial { at_most: 2 },
    ));
    let grant = provider
        .assign(&primary, addresses(5))
        .await
        .expect("gives some");
    assert_eq!(grant.addresses.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn faults_keep_to_their_node_time_and_number() {
    let (cloud, provider, _) = with_node(CloudConfig::aws().instant());
    let other = NodeConfig::new("i-2", "m5.large", "subnet-a");
    cloud.add_node(other).expect("must fit");
    let transient = FaultKind::Error {
        class: ErrorClass::Transient,
        reason: "planted".to_owned(),
    };
    cloud.inject(Fault {
        starts_after: Duration::from_secs(10),
        lasts: Some(Duration::from_secs(10)),
        skip: 1,
        ..Fault::always(transient).of("i-1").times(1)
    });
    let mut failures = Vec::new();
    for _ in 0..25 {
        let second = provider.inventory().await.is_err();
        let elsewhere = cloud.provider("i-2").inventory().await.is_err();
        assert!(!elsewhere, "only i-1 is meant");
        failures.push(second);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let failed: Vec<usize> = (0..25).filter(|second| failures[*second]).collect();
    assert_eq!(failed, [11], "from second 10 on, one passes, one fails");
}

#[tokio::test(start_paused = true)]
async fn random_faults_follow_the_seed() {
    let failures = async |seed| {
        let mut config = CloudConfig::aws().instant().seed(seed);
        config.faults = vec![Fault::random(0.3, FaultKind::AnswerLost)];
        let (_, provider, _) = with_node(config);
        let mut failed = Vec::new();
        for call in 0..100 {
            if provider.inventory().await.is_err() {
                failed.push(call);
            }
        }
        failed
    };
    let first = failures(5).await;
    assert!((10..60).contains(&first.len()), "{first:?}");
    assert_eq!(first, failures(5).await);
    assert_ne!(first, failures(6).await);
}

#[tokio::test(start_paused = true)]
async fn a_denied_operation_is_denied_until_it_is_allowed() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    cloud.deny(Operation::Assign);
    let error = provider
        .assign(&primary, addresses(1))
        .await
        .expect_err("must fail");
    assert_eq!(error.class, ErrorClass::Denied);
    cloud.allow(Operation::Assign);
    provider
        .assign(&primary, addresses(1))
        .await
        .expect("must pass");
}
