//! Interfaces whose link is missing on the node. Their free addresses do not count, the
//! pool buys capacity elsewhere, and they serve again when the link is back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipamd::events::Event;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep};
use veni_provider::{Interface, Operation};

use crate::daemon::Daemon;
use crate::world::{Settings, World};

const SECOND: Duration = Duration::from_secs(1);
const TWO_WARM: Settings<'_> = &[("WARM_IP_TARGET", "2")];

fn messages(events: &mut Receiver<Event>) -> Vec<String> {
    std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| event.message)
        .collect()
}

async fn state_of(daemon: &Daemon, interface: &Interface) -> String {
    let report = daemon.report().await;
    let mut interfaces = report.interfaces.iter();
    let found = interfaces.find(|one| one.id == interface.id.to_string());
    found.expect("it is there").state.clone()
}

/// A node whose free addresses are on its second interface.
async fn with_a_second_interface(world: &Arc<World>) -> (Daemon, Interface) {
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    daemon.add_all((0..9).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    let second = world.interfaces()[1].clone();
    assert!(!second.addresses.is_empty());
    (daemon, second)
}

/// Makes some pods. Each must get an address of another interface within seconds.
async fn assert_served_by_another_interface(world: &World, daemon: &Daemon, second: &Interface) {
    for number in 0..3 {
        let begun = Instant::now();
        let address = daemon.add(&format!("late-{number}")).await;
        let address: IpAddr = address.expect("is served");
        let now = world.interfaces()[1].clone();
        assert_eq!(now.id, second.id);
        assert!(!now.addresses.contains(&address), "{address} leads nowhere");
        assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_loses_its_link_serves_nobody_until_it_is_back() {
    let world = World::aws("m5.large");
    let (daemon, second) = with_a_second_interface(&world).await;
    let mut events = daemon.app.events.subscribe();
    world.kernel.unplug(second.mac.0);
    sleep(10 * SECOND).await;
    assert_eq!(state_of(&daemon, &second).await, "out of service");
    let names =
        |text: &str| text.contains(second.id.as_str()) && text.contains(&second.mac.to_string());
    let held_back = daemon.plan().await.held_back;
    assert!(held_back.iter().any(|text| names(text)), "{held_back:?}");
    let told = messages(&mut events);
    let told: Vec<_> = told.iter().filter(|text| names(text)).collect();
    assert_eq!(told.len(), 2, "lost, then out of service: {told:?}");
    assert!(told[1].contains("since"), "{told:?}");
    assert_served_by_another_interface(&world, &daemon, &second).await;
    sleep(300 * SECOND).await;
    assert_eq!(world.calls.of(Operation::DetachInterface), 0, "it is kept");
    world.kernel.plug("eth1", second.mac.0);
    sleep(10 * SECOND).await;
    assert_eq!(state_of(&daemon, &second).await, "attached");
    let told = messages(&mut events);
    let again = |text: &&String| text.contains("in service on eth1 again");
    assert_eq!(told.iter().filter(again).count(), 1, "{told:?}");
    daemon.settle_for(120 * SECOND).await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_whose_link_never_comes_starves_no_pod() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    world.keep_links_away(true);
    daemon.add_all((0..8).map(|n| format!("pod-{n}"))).await;
    sleep(SECOND).await;
    world.keep_links_away(false);
    let second = world.interfaces()[1].clone();
    let begun = Instant::now();
    let pods = daemon.add_all((0..4).map(|n| format!("more-{n}"))).await;
    let of_it = pods
        .iter()
        .filter(|one| world.interfaces()[1].addresses.contains(one));
    assert_eq!(of_it.count(), 0, "{pods:?}");
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(state_of(&daemon, &second).await, "out of service");
    sleep(10 * SECOND).await;
    assert_eq!(
        daemon.report().await.free,
        2,
        "{}",
        daemon.explanation().await
    );
}

#[tokio::test(start_paused = true)]
async fn an_add_that_only_a_lost_link_could_serve_fails_with_its_name() {
    let world = World::aws("t3.nano");
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.settle().await;
    daemon.add("first").await.expect("is served");
    daemon.settle().await;
    let second = world.interfaces()[1].clone();
    world.kernel.unplug(second.mac.0);
    sleep(120 * SECOND).await;
    let begun = Instant::now();
    let failure = daemon.add("a").await.expect_err("nothing can come");
    assert!(begun.elapsed() < 10 * SECOND, "{:?}", begun.elapsed());
    let text = failure.message;
    assert!(text.contains(&second.mac.to_string()), "{text}");
    world.kernel.plug("eth1", second.mac.0);
    sleep(10 * SECOND).await;
    daemon.add("a").await.expect("the link is back");
    daemon.settle().await;
    daemon.check().await;
}
