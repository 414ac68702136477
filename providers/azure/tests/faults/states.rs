//! What a NIC shows while somebody's write is under way and after one that has failed, and
//! questions that fail while a change goes on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;
use veni_arm::{Config, Fault, FaultKind, Matcher, PollingStyle};
use veni_provider::{
    ChangeRequest, ChangeResult, ErrorClass, Grant, InterfaceState, OperationId, Progress,
    Provider, ProviderError,
};
use veni_provider_azure::{AzureProvider, AzureSettings, Remembered};

use super::fake::Cloud;
use super::{addresses, class, id, nic, writes};

/// Longer than a write runs.
const AFTER: Duration = Duration::from_secs(3);

/// A cloud in which all configurations of a NIC show its own state.
fn alike() -> Cloud {
    Cloud::new(Config {
        all_show_the_nic_s_state: true,
        ..Config::default()
    })
}

async fn begun(provider: &AzureProvider, count: u32) -> OperationId {
    let change = ChangeRequest::Assign {
        interface: id(provider).await,
        slots: addresses(count),
    };
    match provider.begin(&change).await.expect("is accepted") {
        Progress::Running(running) => running.operation,
        Progress::Done(result) => panic!("it runs on: {result:?}"),
    }
}

fn granted(answer: Result<Progress, ProviderError>) -> Grant {
    match answer {
        Ok(Progress::Done(ChangeResult::Assigned(grant))) => grant,
        other => panic!("it has ended: {other:?}"),
    }
}

fn refuse(status: u16, code: &str) -> FaultKind {
    FaultKind::Refuse {
        status,
        code: code.to_owned(),
        retry_after: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_ended_with_its_answer_is_not_lost_by_a_question_that_fails() {
    for kind in [
        refuse(429, "TooManyRequests"),
        refuse(403, "AuthorizationFailed"),
        FaultKind::LoseAnswer,
    ] {
        let cloud = Cloud::new(Config {
            polling: PollingStyle::ProvisioningState,
            operation_time: Duration::ZERO,
            ..Config::default()
        });
        let provider = cloud.provider().await;
        let interface = id(&provider).await;
        // The first read is the one before the write.
        cloud.arm.inject(Fault {
            of: Matcher::new("GET", "networkInterfaces"),
            skip: 1,
            times: 1,
            kind: kind.clone(),
        });
        let change = ChangeRequest::Assign {
            interface,
            slots: addresses(2),
        };
        let begun = provider.begin(&change).await;
        let Ok(Progress::Running(running)) = begun else {
            panic!("{kind:?}: the write was accepted: {begun:?}");
        };
        let grant = granted(provider.resume(&running.operation).await);
        assert_eq!(grant.addresses.len(), 2, "{kind:?}");
        assert_eq!(nic(&provider).await.addresses, grant.addresses);
        assert_eq!(cloud.arm.writes(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_addresses_another_write_hides_goes_on_until_they_show() {
    let cloud = alike();
    let (machine, _) = cloud.machine(|_| {});
    let connect = async || AzureProvider::connect(cloud.settings(&machine)).await;
    let first = connect().await.expect("must connect");
    let other = connect().await.expect("must connect");
    let operation = begun(&first, 2).await;
    sleep(AFTER).await;
    begun(&other, 1).await;
    let asked = first.resume(&operation).await;
    assert!(matches!(asked, Ok(Progress::Running(_))), "{asked:?}");
    sleep(AFTER).await;
    let grant = granted(first.resume(&operation).await);
    assert_eq!(grant.addresses.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_look_during_a_write_offers_only_what_was_good_before_for_certain() {
    let cloud = alike();
    let (machine, _) = cloud.machine(|_| {});
    let first = AzureProvider::connect(cloud.settings(&machine)).await;
    let first = first.expect("must connect");
    let interface = id(&first).await;
    first
        .assign(&interface, addresses(2))
        .await
        .expect("must work");
    let before = nic(&first).await;
    begun(&first, 1).await;
    assert_eq!(nic(&first).await.addresses, before.addresses);

    let second = AzureProvider::connect(cloud.settings(&machine)).await;
    let second = second.expect("must connect");
    assert_eq!(class(second.inventory().await), ErrorClass::Transient);
    let machine_id = first.node().await.expect("must answer").instance_id;
    let remembering = AzureProvider::connect(AzureSettings {
        remembered: Some(Remembered {
            machine: machine_id,
            nic: before.id.to_string(),
            subnet: before.subnet.to_string(),
            ranges: before.ranges(),
        }),
        ..cloud.settings(&machine)
    });
    let remembering = remembering.await.expect("must connect");
    let during = nic(&remembering).await;
    assert_eq!(during.state, InterfaceState::Updating);
    assert_eq!(during.addresses, before.addresses);

    sleep(AFTER).await;
    assert_eq!(nic(&second).await.addresses.len(), 3);
    assert_eq!(nic(&remembering).await.addresses.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_takes_nothing_from_pods() {
    let cloud = alike();
    let provider = cloud.provider().await;
    let interface = id(&provider).await;
    let grant = provider.assign(&interface, addresses(2)).await;
    let grant = grant.expect("must work");
    let code = "SubnetIsFull".to_owned();
    let failing = Fault::next(writes(), FaultKind::FailOperation { code });
    cloud.arm.inject(failing);
    assert!(provider.assign(&interface, addresses(1)).await.is_err());
    assert_eq!(nic(&provider).await.addresses, grant.addresses);
    // The next one that succeeds repairs what it shows.
    let more = provider.assign(&interface, addresses(1)).await;
    let more = more.expect("must work");
    let all: BTreeSet<IpAddr> = grant.addresses.into_iter().chain(more.addresses).collect();
    let held: BTreeSet<IpAddr> = nic(&provider).await.addresses.into_iter().collect();
    assert_eq!(held, all);
}

#[tokio::test(start_paused = true)]
async fn a_question_by_location_that_fails_says_nothing_of_the_change() {
    for (status, code) in [
        (500, "InternalServerError"),
        (503, "SubnetIsFull"),
        (408, "RequestTimeout"),
        (429, "RetryableError"),
        (429, "TooManyRequests"),
    ] {
        let cloud = Cloud::new(Config {
            polling: PollingStyle::Location,
            ..Config::default()
        });
        let provider = cloud.provider().await;
        let operation = begun(&provider, 2).await;
        sleep(AFTER).await;
        let of = Matcher::new("GET", "operationResults");
        cloud
            .arm
            .inject(Fault::next(of.clone(), refuse(status, code)));
        let asked = class(provider.resume(&operation).await);
        let passing = matches!(asked, ErrorClass::Transient | ErrorClass::Throttled { .. });
        assert!(passing, "{status} {code}: {asked:?}");
        let grant = granted(provider.resume(&operation).await);
        assert_eq!(grant.addresses.len(), 2, "{status} {code}");
    }
}

/// A right that is missing for the question alone: the change goes on.
#[tokio::test(start_paused = true)]
async fn who_may_not_ask_for_an_operation_asks_again_once_that_is_granted() {
    for (polling, kind) in [
        (PollingStyle::AsyncOperation, "operations"),
        (PollingStyle::Location, "operationResults"),
    ] {
        let cloud = Cloud::new(Config {
            polling,
            ..Config::default()
        });
        let provider = cloud.provider().await;
        let operation = begun(&provider, 2).await;
        sleep(AFTER).await;
        let right = format!("Microsoft.Network/locations/{kind}/read");
        cloud.arm.deny(&right);
        let error = provider.resume(&operation).await.expect_err("must fail");
        assert_eq!(error.class, ErrorClass::Transient);
        assert!(error.reason.contains(&right), "{error}");
        cloud.arm.allow_all();
        let grant = granted(provider.resume(&operation).await);
        assert_eq!(grant.addresses.len(), 2);
    }
}
