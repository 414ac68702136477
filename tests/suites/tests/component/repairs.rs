//! What others change in the kernel comes back when the kernel notifies. The daemon does
//! not mistake living pods for gone ones, and backs off from a program that keeps changing
//! things.

use std::time::Duration;

use ipamd::events::EventKind;
use tokio::time::{Instant, sleep, timeout};
use veni_dataplane::memory::Step;
use veni_dataplane::plan::INTERFACE_TABLE_BASE;

use crate::daemon::Daemon;
use crate::world::{LONG, Settings, World};

/// Nine addresses on the primary interface, three on a second one. Without a slow audit, so
/// that only notifications lead to repairs.
const TWELVE: Settings<'_> = &[("WARM_IP_TARGET", "12"), ("VENI_AUDIT_INTERVAL", "3600")];
/// Settings with which only the slow audit leads to repairs.
const AUDITED: Settings<'_> = &[("WARM_IP_TARGET", "4")];
/// Time for two slow audits.
const TWO_AUDITS: Duration = Duration::from_secs(25);
/// Time in which the daemon must have repaired.
const WITHIN: Duration = Duration::from_secs(2);
const SECOND: u32 = INTERFACE_TABLE_BASE + 1;

/// Waits for something that only the daemon can do. Returns how long it took.
async fn until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    let waits = async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = timeout(LONG / 2, waits).await;
    assert!(waited.is_ok(), "{what} never came about");
    began.elapsed()
}

/// Index of the link of the only pod.
fn index(daemon: &Daemon) -> u32 {
    let records = daemon.app.endpoints.list();
    records[0].links.expect("it has a link").host_index
}

#[tokio::test(start_paused = true)]
async fn rules_routes_and_the_nodes_set_up_come_back_when_the_kernel_tells() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWELVE).await;
    let address = daemon.add("a").await.expect("is served");
    daemon.settle().await;
    let mut events = daemon.app.events.subscribe();
    let counted = daemon.app.metrics.repairs();
    world.kernel.flush_table(SECOND);
    let took = until("the table", || world.kernel.interface(SECOND).is_some()).await;
    assert!(took < WITHIN, "{took:?}");
    world.kernel.reset_node();
    let took = until("the node", || world.kernel.node().is_some()).await;
    assert!(took < WITHIN, "{took:?}");
    world.kernel.delete_route(address);
    let took = until("the route", || !world.kernel.routes().is_empty()).await;
    assert!(took < WITHIN, "{took:?}");
    sleep(WITHIN).await;
    // The table, the route, and three kinds of things of the node itself.
    assert_eq!(daemon.app.metrics.repairs(), counted + 5);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.extend((event.kind == EventKind::Repair).then_some(event.message));
    }
    assert_eq!(told.len(), 5, "{told:?}");
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_compared_once_where_notifications_were_lost() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWELVE).await;
    daemon.settle().await;
    let steps = [Step::PrepareNode, Step::EnsureInterface, Step::Observe];
    let taken = || steps.map(|step| world.kernel.taken(step));
    let before = taken();
    sleep(WITHIN).await;
    assert_eq!(taken(), before, "nothing is compared without a reason");
    world.kernel.overrun();
    sleep(WITHIN).await;
    let interfaces = u32::try_from(world.interfaces().len()).expect("few");
    assert_eq!(
        taken(),
        [before[0] + 1, before[1] + interfaces, before[2] + 1]
    );
}

#[tokio::test(start_paused = true)]
async fn who_keeps_changing_the_same_thing_is_named_and_repaired_ever_more_seldom() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWELVE).await;
    daemon.settle().await;
    let mut events = daemon.app.events.subscribe();
    let counted = world.kernel.taken(Step::PrepareNode);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(300) {
        if world.kernel.node().is_some() {
            world.kernel.reset_node();
        }
        sleep(Duration::from_millis(200)).await;
    }
    let repairs = world.kernel.taken(Step::PrepareNode) - counted;
    // At once three times; then after about 4, 8, 16, 32, 60, 60, 60 seconds.
    assert!((8..=14).contains(&repairs), "{repairs} repairs");
    let mut named = Vec::new();
    while let Ok(event) = events.try_recv() {
        named.extend(
            event
                .message
                .contains("keeps changing")
                .then_some(event.message),
        );
    }
    assert_eq!(named.len(), 3, "said once of each kind: {named:?}");
    // Another kind does not wait meanwhile. After a calm time, this one does not either.
    let address = daemon.add("a").await.expect("is served");
    world.kernel.delete_route(address);
    let took = until("the route", || !world.kernel.routes().is_empty()).await;
    assert!(took < WITHIN, "{took:?}");
    until("the last repair", || world.kernel.node().is_some()).await;
    sleep(Duration::from_secs(180)).await;
    world.kernel.reset_node();
    let took = until("the node", || world.kernel.node().is_some()).await;
    assert!(took < WITHIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_link_a_dump_lacks_is_not_released_and_one_whose_link_is_gone_is() {
    let world = World::aws("m5.large");
    let daemon = world.start(AUDITED).await;
    daemon.add("a").await.expect("is served");
    let index = index(&daemon);
    world.kernel.hide_from_dumps(index);
    sleep(TWO_AUDITS).await;
    assert_eq!(daemon.app.endpoints.list().len(), 1, "it lives");
    assert_eq!(world.kernel.routes().len(), 1);
    world.kernel.delete_link(index);
    sleep(TWO_AUDITS).await;
    assert_eq!(daemon.app.endpoints.list().len(), 0, "it is gone");
}

#[test]
fn a_pod_whose_link_a_dump_lacks_survives_a_restart() {
    let world = World::aws("m5.large");
    let index = world.until_killed(async {
        let daemon = world.start(AUDITED).await;
        daemon.add("a").await.expect("is served");
        index(&daemon)
    });
    world.kernel.hide_from_dumps(index);
    world.until_killed(async {
        let daemon = world.start(AUDITED).await;
        assert_eq!(daemon.app.endpoints.list().len(), 1, "it lives");
        sleep(TWO_AUDITS).await;
        assert_eq!(world.kernel.routes().len(), 1);
        daemon.check().await;
    });
}

#[test]
fn a_pod_whose_links_mac_was_changed_keeps_its_link_over_a_restart_and_it_is_told() {
    let world = World::aws("m5.large");
    let (index, mac) = world.until_killed(async {
        let daemon = world.start(AUDITED).await;
        daemon.add("a").await.expect("is served");
        let index = index(&daemon);
        (index, world.kernel.mac(index))
    });
    world.kernel.set_mac(index, [2, 0, 0, 0, 9, 9]);
    world.until_killed(async {
        let daemon = world.start(AUDITED).await;
        assert_eq!(daemon.app.metrics.repairs(), 1);
        assert_eq!(daemon.app.endpoints.list().len(), 1, "it lives");
        sleep(TWO_AUDITS).await;
        assert_eq!(world.kernel.mac(index), mac, "the pod sends to this one");
        assert_eq!(world.kernel.routes().len(), 1);
        daemon.check().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_changed_mac_is_noticed_by_the_audit_and_told() {
    let world = World::aws("m5.large");
    let daemon = world.start(AUDITED).await;
    daemon.add("a").await.expect("is served");
    let mut events = daemon.app.events.subscribe();
    let (index, before) = (index(&daemon), world.kernel.mac(index(&daemon)));
    world.kernel.set_mac(index, [2, 0, 0, 0, 9, 9]);
    until("the MAC", || world.kernel.mac(index) == before).await;
    let mut told = false;
    while let Ok(event) = events.try_recv() {
        told |= event.kind == EventKind::Repair && event.message.contains("MAC of");
    }
    assert!(told);
    assert_eq!(daemon.app.endpoints.list().len(), 1);
}
