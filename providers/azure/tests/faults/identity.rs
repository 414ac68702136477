//! Tokens and identities, instance metadata, and a daemon that begins anew.

use std::time::Duration;

use veni_arm::{Fault, FaultKind, Matcher};
use veni_provider::{ChangeRequest, ChangeResult, ErrorClass, InterfaceState, Progress, Provider};
use veni_provider_azure::{AzureProvider, AzureSettings, Remembered};

use super::{addresses, blocks, class, cloud, id, nic};

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_early_is_replaced_and_the_call_made_again() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    let before = cloud.arm.tokens_given();
    cloud.arm.expire_tokens();
    let grant = provider.assign(&id, addresses(1)).await.expect("must work");
    assert_eq!(grant.addresses.len(), 1);
    assert_eq!(cloud.arm.tokens_given(), before + 1);
    assert_eq!(cloud.arm.writes(), 1);
}

/// No other token helps against that.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_not_asked_for_again() {
    let cloud = cloud();
    let (machine, _) = cloud.machine(|_| {});
    let refusal = FaultKind::Refuse {
        status: 400,
        code: "invalid_request".to_owned(),
        retry_after: None,
    };
    let fault = Fault::next(Matcher::new("GET", "oauth2/token"), refusal);
    cloud.arm.inject(fault);
    let refused = AzureProvider::connect(cloud.settings(&machine)).await;
    assert_eq!(class(refused), ErrorClass::Denied);
    assert_eq!(cloud.arm.tokens_given(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_several_identities_the_one_that_is_meant_must_be_said() {
    let cloud = cloud();
    let (machine, _) = cloud.machine(|node| {
        node.identities = vec!["one".to_owned(), "two".to_owned()];
    });
    let refused = AzureProvider::connect(cloud.settings(&machine)).await;
    assert_eq!(class(refused), ErrorClass::Denied);
    let identity = veni_provider_azure::UserAssigned::ClientId("two".to_owned());
    let settings = AzureSettings {
        credentials: veni_provider_azure::Credentials::ManagedIdentity(Some(identity)),
        ..cloud.settings(&machine)
    };
    let provider = AzureProvider::connect(settings)
        .await
        .expect("must connect");
    assert!(provider.inventory().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_to_the_resource_manager_s_host_alone() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let change = ChangeRequest::Assign {
        interface: id(&provider).await,
        slots: addresses(1),
    };
    let Progress::Running(running) = provider.begin(&change).await.expect("is accepted") else {
        panic!("it runs for two seconds");
    };
    let elsewhere = running
        .operation
        .as_str()
        .replace("management.azure.com", "example.com");
    assert_ne!(elsewhere, running.operation.as_str());
    let before = cloud.arm.requests("GET");
    let refused = provider
        .resume(&veni_provider::OperationId::new(elsewhere))
        .await;
    assert_eq!(class(refused), ErrorClass::NotFound);
    assert_eq!(cloud.arm.requests("GET"), before, "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn an_operation_outlives_the_daemon_that_has_begun_it() {
    let cloud = cloud();
    let (machine, _) = cloud.machine(|_| {});
    let first = AzureProvider::connect(cloud.settings(&machine)).await;
    let first = first.expect("must connect");
    let interface = id(&first).await;
    let change = ChangeRequest::Assign {
        interface,
        slots: blocks(1),
    };
    let Progress::Running(running) = first.begin(&change).await.expect("is accepted") else {
        panic!("it runs for two seconds");
    };
    drop(first);

    let second = AzureProvider::connect(cloud.settings(&machine)).await;
    let second = second.expect("must connect");
    let updating = nic(&second).await;
    assert_eq!(updating.state, InterfaceState::Updating);
    assert!(
        updating.prefixes.is_empty(),
        "it has not succeeded yet: {updating:?}"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ended = second
        .resume(&running.operation)
        .await
        .expect("must answer");
    let Progress::Done(ChangeResult::Assigned(grant)) = ended else {
        panic!("it has ended: {ended:?}");
    };
    assert_eq!(nic(&second).await.prefixes, grant.prefixes);

    // Nobody remembers it for ever, and that is told.
    cloud.arm.forget_operations();
    let forgotten = class(second.resume(&running.operation).await);
    assert_eq!(forgotten, ErrorClass::NotFound);
}

#[tokio::test(start_paused = true)]
async fn the_node_sees_its_addresses_without_a_call_to_the_resource_manager() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    let grant = provider.assign(&id, addresses(2)).await.expect("must work");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cloud.arm.requests("GET");
    let view = provider.local_view().await.expect("must answer");
    assert_eq!(cloud.arm.requests("GET"), before);
    let shown = nic(&provider).await;
    assert!(cloud.arm.requests("GET") > before, "the inventory asks");
    assert_eq!(view.interfaces[&shown.mac], shown.ranges());
    assert_eq!(shown.addresses, grant.addresses);
    let unavailable = FaultKind::Refuse {
        status: 503,
        code: "busy".to_owned(),
        retry_after: None,
    };
    let fault = Fault::next(Matcher::new("GET", "/metadata/instance"), unavailable);
    cloud.arm.inject(fault);
    assert_eq!(provider.local_view().await, None);
}

/// A daemon that starts again in the same boot is served without the Resource Manager.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_remembered_is_found_without_the_resource_manager() {
    let cloud = cloud();
    let (machine, _) = cloud.machine(|_| {});
    let first = AzureProvider::connect(cloud.settings(&machine)).await;
    let first = first.expect("must connect");
    let node = first.node().await.expect("must answer");
    let primary = nic(&first).await;
    let remembered = |machine: &str| Remembered {
        machine: machine.to_owned(),
        nic: primary.id.to_string(),
        subnet: primary.subnet.to_string(),
        ranges: primary.ranges(),
    };
    let connect = async |remembered: Remembered| {
        let before = cloud.arm.requests("GET");
        let settings = AzureSettings {
            remembered: Some(remembered),
            ..cloud.settings(&machine)
        };
        let provider = AzureProvider::connect(settings).await;
        (
            provider.expect("must connect"),
            cloud.arm.requests("GET") - before,
        )
    };
    let (second, calls) = connect(remembered(&node.instance_id)).await;
    assert_eq!(calls, 0);
    assert_eq!(nic(&second).await, primary);
    // What was known of another machine says nothing of this one.
    let (_, calls) = connect(remembered("/subscriptions/s/another")).await;
    assert_eq!(calls, 2);
}

/// What pods have waits for nobody.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_remembered_is_there_before_anybody_answers() {
    let cloud = cloud();
    let (machine, _) = cloud.machine(|_| {});
    let first = AzureProvider::connect(cloud.settings(&machine)).await;
    let first = first.expect("must connect");
    let primary = nic(&first).await;
    let remembered = |machine: String| Remembered {
        machine,
        nic: primary.id.to_string(),
        subnet: primary.subnet.to_string(),
        ranges: primary.ranges(),
    };
    let own = first.node().await.expect("must answer").instance_id;
    let silent = Matcher::new("GET", "/metadata/instance");
    let silent = Fault::next(silent, FaultKind::LoseRequest).times(2);
    cloud.arm.inject(silent);

    let second = veni_provider_azure::resume(cloud.settings(&machine), remembered(own));
    assert_eq!(second.capabilities(), first.capabilities());
    assert_eq!(second.local_view().await, None, "not worth a try");
    assert_eq!(class(second.inventory().await), ErrorClass::Transient);
    let operation = veni_provider::OperationId::new("operation");
    let asked = class(second.resume(&operation).await);
    assert_eq!(asked, ErrorClass::Transient, "a change goes on meanwhile");
    // Now it answers.
    let asked = class(second.resume(&operation).await);
    assert_eq!(asked, ErrorClass::NotFound);
    let inventory = second.inventory().await.expect("must answer");
    assert_eq!(inventory.interfaces, std::slice::from_ref(&primary));

    let another = remembered("/subscriptions/s/another".to_owned());
    let another = veni_provider_azure::resume(cloud.settings(&machine), another);
    assert_eq!(class(another.inventory().await), ErrorClass::Fatal);
}
