//! Error codes at once and at an operation's end, a full subnet, rights, lost answers.

use std::time::Duration;

use veni_arm::{Fault, FaultKind, Matcher};
use veni_provider::{
    AddressSlots, ChangeRequest, ErrorClass, Family, Operation, Provider, Scarcity, SlotKind,
};
use veni_provider_azure::{AzureProvider, AzureSettings};

use super::fake::SUBNET;
use super::{addresses, blocks, class, cloud, id, names, nic, shown, writes};

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
