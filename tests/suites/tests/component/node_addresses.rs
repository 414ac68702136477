//! Addresses that a link of the node itself carries: no pod gets one while that lasts.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::world::{Settings, World};

const WARM: Settings<'_> = &[("WARM_IP_TARGET", "3")];
/// Settings of a pool that releases an excess soon.
const SPARE_GOES: Settings<'_> = &[
    ("WARM_IP_TARGET", "1"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
    ("VENI_DETACH_AGE", "0"),
];
/// Time for a notification to arrive.
const A_MOMENT: Duration = Duration::from_secs(1);

fn on_node(world: &World, address: IpAddr) -> IpNet {
    let carried = IpNet::new(address, 20).expect("a length");
    world.kernel.add_address("eth0", carried);
    carried
}

fn of_pool(world: &World, place: usize) -> Vec<IpAddr> {
    world.interfaces()[place].addresses.clone()
}

async fn state_of(daemon: &Daemon, address: IpAddr) -> String {
    let (report, text) = (daemon.report().await, address.to_string());
    let mut listed = report.interfaces.iter().flat_map(|one| &one.addresses);
    let listed = listed.find(|one| one.address == text);
    listed.expect("it is the pool's").state.clone()
}

fn has_event(
    events: &mut tokio::sync::broadcast::Receiver<ipamd::events::Event>,
    parts: &[&str],
) -> bool {
    let mut found = false;
    while let Ok(event) = events.try_recv() {
        found |= parts.iter().all(|part| event.message.contains(part));
    }
    found
}

fn gauge(daemon: &Daemon, state: &str) -> bool {
    let text = daemon.app.metrics.text().expect("is text");
    text.contains(&format!("veni_node_addresses{{state=\"{state}\"}} 1"))
}

#[tokio::test(start_paused = true)]
async fn no_pod_gets_an_address_that_the_node_carries_until_it_is_gone_from_there() {
    let world = World::aws("t3.small");
    let daemon = world.start(WARM).await;
    daemon.settle().await;
    let mut events = daemon.app.events.subscribe();
    let address = of_pool(&world, 0)[0];
    let carried = on_node(&world, address);
    sleep(A_MOMENT).await;
    assert_eq!(state_of(&daemon, address).await, "carried");
    let report = daemon.report().await;
    let listed = report.interfaces.iter().flat_map(|one| &one.addresses);
    let free = listed.filter(|one| one.state == "free").count();
    assert_eq!(report.free as usize, free, "it is not among the free ones");
    let (text, cure) = (
        address.to_string(),
        format!("ip address delete {carried} dev eth0"),
    );
    assert!(
        report.host_warnings[0].contains(&cure),
        "{:?}",
        report.host_warnings
    );
    assert!(has_event(&mut events, &[&text, "eth0", "no pod gets it"]));
    assert!(gauge(&daemon, "unused"));
    // All other slots of the node's three interfaces.
    let got = daemon.add_all((0..8).map(|n| format!("pod-{n}"))).await;
    assert!(!got.contains(&address), "{got:?}");
    let refused = daemon.add("one-more").await.expect_err("it is no pod's");
    let refused = format!("{refused:?}");
    assert!(refused.contains(&text), "{refused}");
    world.kernel.remove_address("eth0", carried);
    sleep(A_MOMENT).await;
    assert!(has_event(&mut events, &[&text, "no longer"]));
    assert_eq!(daemon.report().await.host_warnings, Vec::<String>::new());
    assert_eq!(daemon.add("last").await.expect("is served"), address);
}

#[tokio::test(start_paused = true)]
async fn an_add_that_waits_gets_an_address_the_moment_the_node_gives_it_up() {
    let world = World::aws("t3.small");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("IP_COOLDOWN_PERIOD", "600")])
        .await;
    daemon.settle().await;
    let carried = on_node(&world, of_pool(&world, 0)[0]);
    sleep(A_MOMENT).await;
    daemon.add_all((0..8).map(|n| format!("pod-{n}"))).await;
    daemon.del("pod-0").await;
    let waits = daemon.begin_add("waits");
    sleep(A_MOMENT).await;
    assert!(!waits.is_finished(), "the only other one cools for long");
    world.kernel.remove_address("eth0", carried);
    sleep(A_MOMENT).await;
    let got = waits.await.expect("no panic").expect("is served");
    assert_eq!(got, carried.addr());
}

#[tokio::test(start_paused = true)]
async fn what_the_node_carries_is_not_released_because_nobody_uses_it() {
    let world = World::aws("t3.small");
    let daemon = world.start(SPARE_GOES).await;
    daemon.add_all((0..6).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    let last = world.interfaces().len() - 1;
    let carried: Vec<IpNet> = [of_pool(&world, 0)[0], of_pool(&world, last)[0]]
        .into_iter()
        .map(|address| on_node(&world, address))
        .collect();
    sleep(A_MOMENT).await;
    for number in 0..6 {
        daemon.del(&format!("pod-{number}")).await;
    }
    sleep(Duration::from_secs(180)).await;
    daemon.settle().await;
    for one in &carried {
        assert!(world.cloud_knows(one.addr()), "{one} is the node's still");
        world.kernel.remove_address("eth0", *one);
    }
    sleep(Duration::from_secs(180)).await;
    daemon.settle().await;
    assert_eq!(
        world.holdings().addresses,
        1,
        "then it is spare as any other"
    );
    assert_eq!(world.holdings().interfaces, 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_of_a_pod_that_appears_on_the_node_is_reported_at_once_and_stays_the_pods() {
    let world = World::aws("t3.small");
    let daemon = world.start(WARM).await;
    let address = daemon.add("victim").await.expect("is served");
    daemon.settle().await;
    let mut events = daemon.app.events.subscribe();
    on_node(&world, address);
    sleep(A_MOMENT).await;
    let text = address.to_string();
    assert!(has_event(&mut events, &[&text, "eth0", "in use by a pod"]));
    let warnings = daemon.report().await.host_warnings;
    assert!(
        warnings[0].contains("in the place of the pods"),
        "{warnings:?}"
    );
    assert!(gauge(&daemon, "in_use"));
    assert_eq!(state_of(&daemon, address).await, "assigned");
    assert!(daemon.del("victim").await);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(state_of(&daemon, address).await, "carried");
}

#[test]
fn a_daemon_that_starts_knows_before_its_first_lease_what_the_node_carries() {
    let world = World::aws("t3.small");
    let address = world.until_killed(async {
        let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
        daemon.settle().await;
        of_pool(&world, 0)[0]
    });
    on_node(&world, address);
    for reboot in [false, true] {
        if reboot {
            world.reboot();
        }
        world.until_killed(async {
            let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
            let got = daemon.add("early").await.expect("is served");
            assert_ne!(got, address, "reboot: {reboot}");
            daemon.del("early").await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn one_carried_address_of_a_prefix_leaves_the_others_to_pods() {
    let world = World::aws("t3.small");
    let settings = [
        ("ENABLE_PREFIX_DELEGATION", "true"),
        ("WARM_IP_TARGET", "1"),
        ("MAX_PODS", "15"),
    ];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let prefix = world.interfaces()[0].prefixes[0];
    let carried = prefix.hosts().nth(3).expect("an address");
    on_node(&world, carried);
    sleep(A_MOMENT).await;
    let got = daemon.add_all((0..15).map(|n| format!("pod-{n}"))).await;
    assert!(!got.contains(&carried));
    assert!(got.iter().all(|one| prefix.contains(one)), "{got:?}");
}
