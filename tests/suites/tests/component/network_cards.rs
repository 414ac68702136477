//! Nodes with more than one network card, where somebody uses the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider::{Interface, InterfaceId, Limits, Provider, SubnetId};
use veni_provider_mock::CloudConfig;
use veni_provider_mock::config::{ExistingInterface, NodeConfig};

use crate::daemon::Daemon;
use crate::world::{INSTANCE, SUBNET, Settings, World};

/// Other cards than the default one.
const CARDS: u32 = 31;
/// The default card takes 2 interfaces, with 9 addresses for pods each.
const LIMITS: Limits = Limits {
    interfaces: 2,
    ipv4_per_interface: 10,
    ipv6_per_interface: 10,
    vcpus: 192,
};
const SETTINGS: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("MAX_PODS", "60"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_INVENTORY_INTERVAL", "10"),
];

fn world() -> Arc<World> {
    let mut node = NodeConfig::new(INSTANCE, "m5.large", SUBNET);
    node.limits = Some(LIMITS);
    node.interfaces = (1..=CARDS)
        .map(|network_card| ExistingInterface {
            subnet: SubnetId::new(SUBNET),
            managed: false,
            by_hand: false,
            addresses: 0,
            prefixes: 0,
            mac: None,
            network_card,
        })
        .collect();
    World::with_node(CloudConfig::aws().instant(), node)
}

/// What is attached to device index 1 of a card.
fn second(world: &World, network_card: u32) -> Interface {
    let all = world.interfaces().into_iter();
    let mut of_card = all.filter(|one| one.network_card == network_card);
    let found = of_card.find(|one| one.device_index == 1);
    found.expect("it is attached")
}

#[tokio::test(start_paused = true)]
async fn interfaces_on_other_network_cards_take_no_place_from_pods() {
    let world = world();
    let daemon = world.start(SETTINGS).await;
    daemon.add_all((0..18).map(|n| format!("pod-{n}"))).await;
    daemon.check().await;
    let error = daemon.add("one-more").await.expect_err("the node is full");
    assert!(format!("{error:?}").contains("2 interfaces"), "{error:?}");
    assert_eq!(world.holdings().interfaces, 2 + CARDS as usize);
    assert_eq!(second(&world, 0).addresses.len(), 9);
    let report = daemon.report().await;
    assert_eq!(report.max_interfaces, 2);
    let elsewhere = report.interfaces.iter().filter(|one| one.network_card > 0);
    let states: Vec<&str> = elsewhere.map(|one| one.state.as_str()).collect();
    assert_eq!(states, ["unmanaged"; CARDS as usize]);
}

/// Waits until the pool no longer knows an interface and has acted on that.
async fn until_forgotten(daemon: &Daemon, id: &InterfaceId) {
    let knows = async || {
        let report = daemon.report().await;
        report.interfaces.iter().any(|one| one.id == id.as_str())
    };
    let patience = Instant::now() + Duration::from_secs(600);
    while knows().await {
        assert!(Instant::now() < patience, "{id} is not forgotten");
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_goes_takes_the_rules_of_its_own_card_with_it() {
    let world = world();
    let daemon = world.start(SETTINGS).await;
    daemon.add_all((0..12).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    let routed = || world.kernel.interface(INTERFACE_TABLE_BASE + 1).is_some();
    assert!(routed());
    let behind = world.other_client();
    // It has the same device index as the interface that pods use, on another card.
    let other = second(&world, 1).id;
    behind.detach_interface(&other).await.expect("goes");
    until_forgotten(&daemon, &other).await;
    assert!(routed(), "the interface of another card went");
    for number in 0..12 {
        daemon.del(&format!("pod-{number}")).await;
    }
    let ours = second(&world, 0).id;
    behind.detach_interface(&ours).await.expect("goes");
    until_forgotten(&daemon, &ours).await;
    let rules = world.kernel.interface(INTERFACE_TABLE_BASE + 1);
    assert!(rules.is_none(), "that of another card is still attached");
}
