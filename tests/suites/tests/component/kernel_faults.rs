//! A kernel that refuses, is slow, or has lost the pod: nothing half-made stays.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_api::failure::code;
use veni_dataplane::memory::Step;
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider_mock::CloudConfig;

use crate::world::{Settings, World};

const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];
/// Nine addresses on the primary interface, three on a second one.
const TWELVE: Settings<'_> = &[("WARM_IP_TARGET", "12")];

#[tokio::test(start_paused = true)]
async fn an_add_that_fails_in_the_kernel_is_undone_and_its_address_is_free_again() {
    for step in [Step::CreatePair, Step::ConfigurePod, Step::ConfigureHost] {
        let world = World::aws("m5.large");
        let daemon = world.start(FOUR_WARM).await;
        daemon.settle().await;
        world.kernel.fail(step, 1, ErrorKind::OutOfMemory);
        let failure = daemon.add("a").await.expect_err("the kernel refuses");
        assert_eq!(failure.code, code::KERNEL_REFUSED, "{step:?}");
        assert!(
            failure.message.contains("veni/a/eth0"),
            "{}",
            failure.message
        );
        let report = daemon.report().await;
        assert_eq!((report.assigned, report.cooling), (0, 0), "{step:?}");
        assert!(report.free >= 4, "{step:?}");
        assert_eq!(world.journal("endpoints"), 0, "{step:?}");
        assert_eq!(world.kernel.link_names(), ["eth0"], "{step:?}");
        daemon.add("a").await.expect("goes right the second time");
        daemon.settle().await;
        daemon.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_add_into_a_namespace_that_is_gone_says_so() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    let order = daemon.order("a");
    world.end_namespace("a");
    let failure = daemon.app.endpoints.add(order).await.expect_err("is gone");
    assert_eq!(failure.code, code::UNKNOWN_CONTAINER);
    assert!(daemon.report().await.free >= 4);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_whose_undoing_fails_keeps_its_address_until_it_is_deleted() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    world
        .kernel
        .fail(Step::ConfigureHost, 1, ErrorKind::OutOfMemory);
    world
        .kernel
        .fail(Step::RemoveEndpoint, 1, ErrorKind::OutOfMemory);
    daemon.add("a").await.expect_err("the kernel refuses");
    assert_eq!(
        daemon.report().await.assigned,
        1,
        "its routes may still be there"
    );
    assert!(daemon.del("a").await);
    assert_eq!(daemon.report().await.assigned, 0);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(world.journal("endpoints"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_del_that_the_kernel_refuses_is_repeated_and_then_done() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let address = daemon.add("a").await.expect("is served");
    world
        .kernel
        .fail(Step::RemoveEndpoint, 1, ErrorKind::ResourceBusy);
    let key = crate::daemon::key("a");
    let failure = daemon
        .app
        .endpoints
        .delete(&key)
        .await
        .expect_err("refused");
    assert_eq!(failure.code, code::KERNEL_REFUSED);
    assert_eq!(daemon.report().await.assigned, 1, "nobody else gets it yet");
    assert_eq!(world.kernel.routes().len(), 1);
    assert!(daemon.del("a").await);
    assert!(world.kernel.routes().is_empty());
    let other = daemon.add("b").await.expect("is served");
    assert_ne!(other, address, "it cools");
}

#[tokio::test(start_paused = true)]
async fn dying_links_that_the_kernel_keeps_are_deleted_later() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.add("a").await.expect("is served");
    for nth in 1..=5 {
        world.kernel.fail(Step::Reap, nth, ErrorKind::ResourceBusy);
    }
    assert!(daemon.del("a").await);
    assert_eq!(
        world.kernel.link_names().len(),
        2,
        "the look sees it while it is there"
    );
    sleep(Duration::from_secs(15)).await;
    assert_eq!(world.kernel.link_names(), ["eth0"]);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_cannot_be_wired_is_tried_again_and_serves_nobody_before() {
    let world = World::aws("m5.large");
    let daemon = world.start(&[]).await;
    daemon.settle().await;
    for nth in 1..=6 {
        world
            .kernel
            .fail(Step::EnsureInterface, nth, ErrorKind::OutOfMemory);
    }
    let adds: Vec<_> = (0..12)
        .map(|n| daemon.begin_add(&format!("pod-{n}")))
        .collect();
    for add in adds {
        let address = add.await.expect("no panic").expect("is served in the end");
        let interfaces = world.interfaces();
        let mut secondary = interfaces[1..].iter();
        let holder = secondary.find(|i| i.addresses.contains(&address));
        let ruled = holder.is_none_or(|holder| {
            let table = INTERFACE_TABLE_BASE + holder.device_index;
            world.kernel.interface(table).is_some()
        });
        assert!(ruled, "{address} has no rule");
    }
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn addresses_are_given_out_after_their_rules_exist() {
    let world = World::aws("m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.settle().await;
    world
        .kernel
        .delay(Step::EnsureInterface, Duration::from_secs(5));
    let begun = Instant::now();
    let adds: Vec<_> = (0..12)
        .map(|n| daemon.begin_add(&format!("pod-{n}")))
        .collect();
    let mut slowest = Duration::ZERO;
    for add in adds {
        let address = add.await.expect("no panic").expect("is served");
        let second = world.interfaces().into_iter().nth(1);
        if second.is_some_and(|second| second.addresses.contains(&address)) {
            slowest = slowest.max(begun.elapsed());
        }
    }
    assert!(slowest >= Duration::from_secs(5), "{slowest:?}");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_appears_late_is_waited_for() {
    let world = World::new(CloudConfig::aws(), "m5.large");
    world.delay_links(Duration::from_secs(12));
    let daemon = world.start(TWELVE).await;
    let addresses = daemon.add_all((0..12).map(|n| format!("pod-{n}"))).await;
    assert_eq!(addresses.len(), 12);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_waits_for_a_link_in_vain_is_told_which() {
    let world = World::aws("t3.nano");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("VENI_ADD_WAIT", "20")])
        .await;
    daemon.settle().await;
    world.delay_links(Duration::from_secs(1_000));
    daemon.add("warm").await.expect("is served");
    let failure = daemon.add("a").await.expect_err("the link never appears");
    assert_eq!(failure.code, code::TRY_AGAIN_LATER);
    let second = &world.interfaces()[1];
    assert!(
        failure.message.contains("not in service"),
        "{}",
        failure.message
    );
    assert!(
        failure.message.contains(&second.mac.to_string()),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_refuses_at_the_start_is_tried_until_it_does_not() {
    let world = World::aws("m5.large");
    for nth in 1..=3 {
        world
            .kernel
            .fail(Step::PrepareNode, nth, ErrorKind::PermissionDenied);
    }
    let daemon = world.start(FOUR_WARM).await;
    assert_eq!(world.kernel.taken(Step::PrepareNode), 4);
    daemon.add("a").await.expect("is served");
}
