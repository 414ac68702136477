//! What goes wrong with the real thing: error codes at once and at an operation's end, lost
//! answers, other writers, tokens that expire, a daemon that begins anew.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use veni_arm::{Config, Fault, FaultKind, Matcher, Request};
use veni_provider::{
    AddressSlots, ChangeRequest, ChangeResult, ErrorClass, Family, Grant, Interface, InterfaceId,
    InterfaceState, Operation, Progress, Provider, ProviderError, Scarcity, SlotKind,
};
use veni_provider_azure::{AzureProvider, AzureSettings};

mod fake;

use fake::{Cloud, SUBNET};

fn cloud() -> Cloud {
    Cloud::new(Config::default())
}

fn addresses(count: u32) -> AddressSlots {
    AddressSlots::new(Family::V4, SlotKind::Address, count)
}

fn blocks(count: u32) -> AddressSlots {
    AddressSlots::new(Family::V4, SlotKind::Prefix, count)
}

fn writes() -> Matcher {
    Matcher::new("PUT", "networkInterfaces")
}

async fn nic(provider: &AzureProvider) -> Interface {
    let inventory = provider.inventory().await.expect("must answer");
    inventory.interfaces[0].clone()
}

async fn id(provider: &AzureProvider) -> InterfaceId {
    nic(provider).await.id
}

fn class<T: std::fmt::Debug>(answer: Result<T, ProviderError>) -> ErrorClass {
    answer.expect_err("must fail").class
}

/// The NIC as ARM shows it, asked for without the provider.
async fn shown(cloud: &Cloud, nic: &str) -> serde_json::Value {
    let token = Request {
        method: "GET".to_owned(),
        path: "/metadata/identity/oauth2/token".to_owned(),
        query: "api-version=2018-02-01&resource=x".to_owned(),
        headers: [("metadata".to_owned(), "true".to_owned())].into(),
        ..Request::default()
    };
    let machine = nic.trim_end_matches("-nic");
    let answer = cloud
        .arm
        .handle_metadata(machine, &token)
        .await
        .expect("an answer");
    let token: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let bearer = format!(
        "Bearer {}",
        token["access_token"].as_str().expect("a token")
    );
    let group = "/subscriptions/5a0e0b7c-4d4e-4f6a-9f0d-000000000001/resourceGroups/rg";
    let request = Request {
        method: "GET".to_owned(),
        path: format!("{group}/providers/Microsoft.Network/networkInterfaces/{nic}"),
        query: "api-version=2024-05-01".to_owned(),
        headers: [("authorization".to_owned(), bearer)].into(),
        ..Request::default()
    };
    let answer = cloud.arm.handle(&request).await.expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn names(nic: &serde_json::Value) -> BTreeSet<String> {
    let all = nic["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list");
    let name = |one: &serde_json::Value| one["name"].as_str().expect("a name").to_owned();
    all.iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn every_code_of_a_refusal_is_told_as_what_the_planner_can_do() {
    let exhausted = "exhausted";
    for (status, code, expected) in [
        (400, "SubnetIsFull", exhausted),
        (400, "PrivateIPAddressIsAllocated", "transient"),
        (409, "OperationNotAllowed", "transient"),
        (409, "AnotherOperationInProgress", "transient"),
        (429, "RetryableError", "transient"),
        (400, "ReferencedResourceNotProvisioned", "transient"),
        (429, "TooManyRequests", "throttled"),
        (403, "AuthorizationFailed", "denied"),
        (409, "ScopeLocked", "denied"),
        (500, "InternalServerError", "outcome_unknown"),
    ] {
        let cloud = cloud();
        let provider = cloud.provider().await;
        let id = id(&provider).await;
        cloud.arm.inject(Fault::next(
            writes(),
            FaultKind::Refuse {
                status,
                code: code.to_owned(),
                retry_after: Some(Duration::from_secs(7)),
            },
        ));
        let change = ChangeRequest::Assign {
            interface: id,
            slots: addresses(2),
        };
        let error = provider.begin(&change).await.expect_err("must fail");
        assert_eq!(error.class.label(), expected, "{code}: {error}");
        if expected == "throttled" {
            let retry_after = Some(Duration::from_secs(7));
            assert_eq!(error.class, ErrorClass::Throttled { retry_after });
        }
        assert!(nic(&provider).await.addresses.is_empty(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_code_of_a_failed_operation_is_kept_and_the_next_change_repairs_the_nic() {
    for (code, expected) in [
        ("SubnetIsFull", "exhausted"),
        ("PrivateIPAddressIsAllocated", "outcome_unknown"),
        ("OperationNotAllowed", "outcome_unknown"),
        ("RetryableError", "outcome_unknown"),
        ("SomethingOfTomorrow", "invalid"),
    ] {
        let cloud = cloud();
        let provider = cloud.provider().await;
        let id = id(&provider).await;
        let code = code.to_owned();
        let failing = FaultKind::FailOperation { code: code.clone() };
        cloud.arm.inject(Fault::next(writes(), failing));
        let error = provider
            .assign(&id, addresses(2))
            .await
            .expect_err("must fail");
        assert_eq!(error.class.label(), expected, "{code}: {error}");
        assert!(error.reason.contains(&code), "{error}");

        let left = shown(&cloud, "node-0-nic").await;
        assert_eq!(left["properties"]["provisioningState"], "Failed", "{code}");
        assert_eq!(names(&left).len(), 3, "the fake keeps what failed: {left}");
        assert!(nic(&provider).await.addresses.is_empty(), "{code}");

        let grant = provider
            .assign(&id, addresses(1))
            .await
            .expect("must work again");
        let repaired = shown(&cloud, "node-0-nic").await;
        assert_eq!(repaired["properties"]["provisioningState"], "Succeeded");
        assert_eq!(names(&repaired).len(), 2, "{repaired}");
        assert_eq!(nic(&provider).await.addresses, grant.addresses);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subnet_that_fills_up_gives_what_is_there_and_then_says_so() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    cloud.arm.fill(SUBNET, 3).expect("is there");
    let subnet = cloud.subnet();
    let exhausted = |scarcity| ErrorClass::Exhausted {
        subnet: subnet.clone(),
        scarcity,
    };
    let block = class(provider.assign(&id, blocks(1)).await);
    assert_eq!(block, exhausted(Scarcity::Prefixes));
    let many = class(provider.assign(&id, addresses(4)).await);
    assert_eq!(many, exhausted(Scarcity::Addresses));
    let grant = provider
        .assign(&id, addresses(3))
        .await
        .expect("these are there");
    assert_eq!(grant.addresses.len(), 3);
    let inventory = provider.inventory().await.expect("must answer");
    assert_eq!(inventory.subnets[0].free_ipv4, 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_others_overtake_is_computed_anew_and_theirs_stays() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    cloud
        .arm
        .inject(Fault::next(writes(), FaultKind::Rival).times(5));
    let grant = provider
        .assign(&id, addresses(2))
        .await
        .expect("the sixth passes");
    let after = shown(&cloud, "node-0-nic").await;
    let all = names(&after);
    let rivals: Vec<&String> = all
        .iter()
        .filter(|name| name.starts_with("rival-"))
        .collect();
    assert_eq!((rivals.len(), all.len()), (5, 8), "{all:?}");
    assert_eq!(nic(&provider).await.addresses, grant.addresses);

    // What is theirs is neither lent nor given back.
    let theirs: Vec<IpAddr> = after["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| {
            one["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("rival-"))
        })
        .filter_map(|one| one["properties"]["privateIPAddress"].as_str()?.parse().ok())
        .collect();
    let grant = Grant {
        addresses: theirs,
        prefixes: Vec::new(),
    };
    assert_eq!(
        class(provider.release(&id, &grant).await),
        ErrorClass::Invalid
    );
    assert_eq!(names(&shown(&cloud, "node-0-nic").await), all);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_others_writes_ends_as_passing_trouble_that_changed_nothing() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    cloud
        .arm
        .inject(Fault::next(writes(), FaultKind::Rival).times(1_000));
    let refused = class(provider.assign(&id, addresses(2)).await);
    assert_eq!(refused, ErrorClass::Transient);
    assert!(
        cloud.arm.requests("PUT") < 20,
        "a storm is no reason for another"
    );
    let ours = names(&shown(&cloud, "node-0-nic").await);
    assert!(
        !ours.iter().any(|name| name.starts_with("veni-")),
        "{ours:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn everything_else_of_the_nic_is_written_back_as_it_was_read() {
    let cloud = cloud();
    let (machine, nic_name) = cloud.machine(|node| {
        node.security_groups = vec!["web".to_owned(), "all".to_owned()];
    });
    let provider = AzureProvider::connect(cloud.settings(&machine)).await;
    let provider = provider.expect("must connect");
    let before = shown(&cloud, &nic_name).await;
    let id = id(&provider).await;
    let grant = provider.assign(&id, addresses(3)).await.expect("must work");
    let during = shown(&cloud, &nic_name).await;
    let primary = &during["properties"]["ipConfigurations"][0]["properties"];
    for one in during["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list")
    {
        let groups = &one["properties"]["applicationSecurityGroups"];
        assert_eq!(groups, &primary["applicationSecurityGroups"], "{one}");
        assert_eq!(groups.as_array().map(Vec::len), Some(2));
    }
    provider.release(&id, &grant).await.expect("must work");
    let mut after = shown(&cloud, &nic_name).await;
    // The etags are new, and nothing else.
    let etag = before["etag"].clone();
    after["etag"] = etag.clone();
    for one in after["properties"]["ipConfigurations"]
        .as_array_mut()
        .expect("a list")
    {
        one["etag"] = etag.clone();
    }
    assert_eq!(after, before);
    assert_eq!(after["somethingNew"]["of"], "tomorrow");
}

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
async fn changes_that_wait_together_become_one_write() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    let changes = (0..20).map(|_| provider.assign(&id, addresses(5)));
    let grants = futures::future::join_all(changes).await;
    let all: BTreeSet<IpAddr> = grants
        .into_iter()
        .flat_map(|grant| grant.expect("must work").addresses)
        .collect();
    assert_eq!(all.len(), 100);
    assert!(cloud.arm.writes() <= 3, "{} writes", cloud.arm.writes());
    let held: BTreeSet<IpAddr> = nic(&provider).await.addresses.into_iter().collect();
    assert_eq!(held, all);
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_and_a_lost_answer_leave_the_same_doubt_and_the_inventory_tells() {
    for (kind, held) in [(FaultKind::LoseRequest, 0), (FaultKind::LoseAnswer, 2)] {
        let cloud = cloud();
        let provider = cloud.provider().await;
        let id = id(&provider).await;
        cloud.arm.inject(Fault::next(writes(), kind.clone()));
        let lost = class(provider.assign(&id, addresses(2)).await);
        assert_eq!(lost, ErrorClass::OutcomeUnknown, "{kind:?}");
        tokio::time::sleep(provider.capabilities().settle_time).await;
        assert_eq!(nic(&provider).await.addresses.len(), held, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_passing_trouble() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let interface = id(&provider).await;
    let reads = Matcher::new("GET", "networkInterfaces");
    for kind in [FaultKind::LoseRequest, FaultKind::LoseAnswer] {
        cloud.arm.inject(Fault::next(reads.clone(), kind));
        assert_eq!(class(provider.inventory().await), ErrorClass::Transient);
    }
    cloud.arm.inject(Fault::next(reads, FaultKind::LoseAnswer));
    let change = ChangeRequest::Assign {
        interface,
        slots: addresses(1),
    };
    assert_eq!(class(provider.begin(&change).await), ErrorClass::Transient);
    assert_eq!(cloud.arm.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_missing_are_named() {
    for right in [
        "Microsoft.Network/networkInterfaces/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
    ] {
        let cloud = cloud();
        let provider = cloud.provider().await;
        let id = id(&provider).await;
        cloud.arm.deny(right);
        let error = provider
            .assign(&id, addresses(1))
            .await
            .expect_err("must fail");
        assert_eq!(error.class, ErrorClass::Denied);
        assert!(error.reason.contains(right), "{error}");
        cloud.arm.allow_all();
        assert!(provider.assign(&id, addresses(1)).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn how_full_the_subnet_is_need_not_be_known() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    cloud
        .arm
        .deny("Microsoft.Network/virtualNetworks/usages/read");
    let inventory = provider.inventory().await.expect("must answer");
    assert_eq!(inventory.subnets[0].free_ipv4, 4096 - 5);
    assert_eq!(inventory.interfaces.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn giving_back_can_be_switched_off() {
    let cloud = cloud();
    let (machine, _) = cloud.machine(|_| {});
    let settings = AzureSettings {
        release: false,
        ..cloud.settings(&machine)
    };
    let provider = AzureProvider::connect(settings)
        .await
        .expect("must connect");
    assert!(!provider.capabilities().release);
    let id = id(&provider).await;
    let grant = provider.assign(&id, addresses(1)).await.expect("must work");
    assert_eq!(
        class(provider.release(&id, &grant).await),
        ErrorClass::Unsupported
    );
    assert_eq!(nic(&provider).await.addresses, grant.addresses);
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
    let shown = nic(&provider).await;
    assert_eq!(view.interfaces[&shown.mac], shown.ranges());
    assert_eq!(shown.addresses, grant.addresses);
    // The inventory asks three times: NIC, usages, and the network where it is not kept.
    assert!(cloud.arm.requests("GET") - before <= 3);
    let unavailable = FaultKind::Refuse {
        status: 503,
        code: "busy".to_owned(),
        retry_after: None,
    };
    let fault = Fault::next(Matcher::new("GET", "/metadata/instance"), unavailable);
    cloud.arm.inject(fault);
    assert_eq!(provider.local_view().await, None);
}

#[tokio::test(start_paused = true)]
async fn ipv6_is_refused_with_its_reason() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    let slots = AddressSlots::new(Family::V6, SlotKind::Address, 1);
    let error = provider.assign(&id, slots).await.expect_err("must fail");
    assert_eq!(error.class, ErrorClass::Unsupported);
    assert!(error.reason.contains("IPv6"), "{error}");
    assert_eq!(provider.deadline(Operation::Assign), None);
}
