//! Limits of pods' bandwidth over the daemon's life: kept over restarts, made again when
//! others take them away, gone with their pods.

use std::time::Duration;

use ipamd::endpoints::AddOrder;
use tokio::time::{Instant, sleep, timeout};
use veni_dataplane::{Bandwidth, DataPlane, Limit};

use crate::daemon::Daemon;
use crate::world::{LONG, Settings, World};

/// Without a slow audit, so that only notifications lead to repairs.
const UNAUDITED: Settings<'_> = &[("WARM_IP_TARGET", "4"), ("VENI_AUDIT_INTERVAL", "3600")];
/// Time in which the daemon must have repaired.
const WITHIN: Duration = Duration::from_secs(2);
/// Time for two slow audits.
const TWO_AUDITS: Duration = Duration::from_secs(25);
const BOTH: (Option<u64>, Option<u64>) = (Some(10_000_000), Some(5_000_000));

fn order(daemon: &Daemon, container: &str) -> AddOrder {
    let limit = |rate| Limit::try_new(rate, 0).expect("a rate");
    AddOrder {
        bandwidth: Bandwidth {
            to_pod: limit(10_000_000),
            from_pod: limit(5_000_000),
        },
        ..daemon.order(container)
    }
}

/// Adds a pod with both limits. Returns the index of its host's end.
async fn add(daemon: &Daemon, container: &str) -> u32 {
    let added = daemon.app.endpoints.add(order(daemon, container)).await;
    let links = added.expect("is served").links;
    links.expect("it has a link").host_index
}

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

#[tokio::test(start_paused = true)]
async fn limits_that_others_take_away_come_back_when_the_kernel_tells() {
    let world = World::aws("m5.large");
    let daemon = world.start(UNAUDITED).await;
    let host = add(&daemon, "a").await;
    let ifb = world
        .kernel
        .index_of(&format!("veni-{host}"))
        .expect("made");
    daemon.settle().await;
    for index in [host, ifb] {
        let counted = daemon.app.metrics.repairs();
        world.kernel.delete_qdiscs(index);
        assert_ne!(world.kernel.rates(host), BOTH);
        let took = until("the limits", || world.kernel.rates(host) == BOTH).await;
        assert!(took < WITHIN, "{took:?}");
        sleep(WITHIN).await;
        assert!(daemon.app.metrics.repairs() > counted, "it is told");
    }
    world.kernel.delete_link(ifb);
    let took = until("the ifb device", || world.kernel.rates(host) == BOTH).await;
    assert!(
        took < 3 * WITHIN,
        "{took:?}: three repairs in a row are a contest"
    );
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_add_answers_the_same_limits_and_makes_lost_ones_again() {
    let world = World::aws("m5.large");
    let daemon = world.start(UNAUDITED).await;
    let host = add(&daemon, "a").await;
    let names = world.kernel.link_names();
    assert_eq!(add(&daemon, "a").await, host);
    assert_eq!(world.kernel.link_names(), names);
    world.kernel.delete_qdiscs(host);
    assert_eq!(add(&daemon, "a").await, host);
    assert_eq!(world.kernel.rates(host), BOTH);
    daemon.check().await;
}

#[test]
fn limits_are_kept_over_a_restart_and_made_again_where_they_were_lost_meanwhile() {
    let world = World::aws("m5.large");
    let host = std::cell::Cell::new(0);
    world.until_killed(async {
        let daemon = world.start(&[]).await;
        daemon.settle().await;
        host.set(add(&daemon, "a").await);
    });
    world.kernel.delete_qdiscs(host.get());
    world.until_killed(async {
        let daemon = world.start(&[]).await;
        assert_eq!(world.kernel.rates(host.get()), BOTH);
        daemon.settle().await;
        daemon.del("a").await;
        daemon.settle().await;
        let left = world.kernel.index_of(&format!("veni-{}", host.get()));
        assert_eq!(left, None);
        daemon.check().await;
    });
}

#[test]
fn an_ifb_device_whose_pod_vanished_while_the_daemon_was_down_goes_at_the_start() {
    let world = World::aws("m5.large");
    let host = std::cell::Cell::new(0);
    world.until_killed(async {
        let daemon = world.start(&[]).await;
        daemon.settle().await;
        host.set(add(&daemon, "a").await);
    });
    world.end_namespace("a");
    let name = format!("veni-{}", host.get());
    assert!(world.kernel.index_of(&name).is_some());
    world.until_killed(async {
        let daemon = world.start(&[]).await;
        daemon.settle().await;
        until("the end of the ifb device", || {
            world.kernel.index_of(&name).is_none()
        })
        .await;
        daemon.check().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_limited_sandbox_that_died_is_told_as_one_repair() {
    let world = World::aws("m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "4")]).await;
    daemon.settle().await;
    let host = add(&daemon, "a").await;
    daemon.settle().await;
    let counted = daemon.app.metrics.repairs();
    world.end_namespace("a");
    sleep(TWO_AUDITS).await;
    let ifb = world.kernel.index_of(&format!("veni-{host}"));
    assert_eq!(ifb, None);
    assert_eq!(daemon.app.metrics.repairs() - counted, 1);
}

#[tokio::test(start_paused = true)]
async fn an_ifb_device_that_no_record_knows_goes_with_the_audit() {
    let world = World::aws("m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "4")]).await;
    daemon.add("a").await.expect("is served");
    let record = daemon.app.endpoints.list().remove(0);
    let host = record.links.expect("it has a link").host_index;
    let mut plan = record.plan.clone();
    plan.bandwidth = order(&daemon, "a").bandwidth;
    let made = world.kernel.ensure_limits(&plan, host).await;
    made.expect("made");
    let name = format!("veni-{host}");
    sleep(TWO_AUDITS).await;
    assert!(world.kernel.index_of(&name).is_some(), "its endpoint lives");
    world.end_namespace("a");
    until("the end of the ifb device", || {
        world.kernel.index_of(&name).is_none()
    })
    .await;
    daemon.check().await;
}
