//! Prefix delegation turned on and off on a running node, and a subnet too
//! fragmented for it.

use std::net::IpAddr;

use veni_cloudlab::Fill;
use veni_testbed::ec2::fill;

use crate::daemon::Daemon;
use crate::lives::{ONE_WARM, ONE_WARM_PREFIX};
use crate::world::World;

/// The pods' addresses, by attachment.
fn addresses(daemon: &Daemon) -> Vec<(String, IpAddr)> {
    let records = daemon.app.endpoints.list();
    let mut all: Vec<_> = records
        .iter()
        .map(|r| (r.key.to_string(), r.addresses()[0]))
        .collect();
    all.sort();
    all
}

/// Whether EC2 has an address in a prefix of the node.
async fn is_of_a_prefix(world: &World, address: IpAddr) -> bool {
    let interfaces = world.interfaces().await;
    let mut ranges = interfaces.iter().flat_map(|one| &one.ranges);
    ranges.any(|range| range.prefix_len() == 28 && range.contains(&address))
}

#[tokio::test]
async fn prefix_delegation_can_be_turned_on_under_running_pods() {
    let world = World::new("m5.large").await;
    let daemon = world.start(&[("WARM_IP_TARGET", "4")]).await;
    daemon.add_pods(0..12).await;
    daemon.rest().await;
    let before = addresses(&daemon);
    daemon.stop().await;

    let daemon = world.start(ONE_WARM_PREFIX).await;
    assert_eq!(addresses(&daemon), before);
    // Free single addresses go back, a prefix comes.
    daemon
        .until("only pods hold single addresses", async || {
            let held = world.holdings().await;
            held.addresses == 12 && held.prefixes >= 1
        })
        .await;
    daemon.check().await;
    let new = daemon.add("new").await.expect("is served");
    assert!(is_of_a_prefix(&world, new).await, "{new}");
    assert_eq!(
        addresses(&daemon)
            .iter()
            .filter(|one| before.contains(one))
            .count(),
        12
    );
    daemon.del_pods(0..12).await;
    daemon
        .until("no single address is left", async || {
            let held = world.holdings().await;
            (held.addresses, held.prefixes) == (0, 1)
        })
        .await;
    assert_eq!(addresses(&daemon).len(), 1);
    daemon.finish().await;
}

#[tokio::test]
async fn prefix_delegation_can_be_turned_off_under_running_pods() {
    let world = World::new("m5.large").await;
    let daemon = world.start(ONE_WARM_PREFIX).await;
    daemon.add_pods(0..20).await;
    daemon.rest().await;
    assert_eq!(world.holdings().await.prefixes, 2);
    let before = addresses(&daemon);
    daemon.stop().await;

    let daemon = world.start(ONE_WARM).await;
    assert_eq!(addresses(&daemon), before);
    daemon.rest().await;
    daemon.check().await;
    daemon.add_pods(20..24).await;
    // One prefix after the other runs empty and goes back.
    daemon.del_pods(0..20).await;
    daemon
        .until("no prefix is left but for pods", async || {
            let held = world.holdings().await;
            held.prefixes <= 1
        })
        .await;
    daemon.rest().await;
    let new = daemon.add("new").await.expect("is served");
    daemon.del_pods(20..24).await;
    daemon
        .until("no prefix is left", async || {
            world.holdings().await.prefixes == 0
        })
        .await;
    assert!(!is_of_a_prefix(&world, new).await);
    daemon.finish().await;
}

#[tokio::test]
async fn single_addresses_stand_in_while_a_subnet_is_fragmented() {
    let world = World::new("m5.large").await;
    fill(&world.site.subnet, Fill::Fragment).await;
    let daemon = world.start(ONE_WARM_PREFIX).await;
    daemon.add_pods(0..6).await;
    daemon.rest().await;
    daemon.check().await;
    let held = world.holdings().await;
    assert_eq!(held.prefixes, 0, "no block of 16 is free");
    fill(&world.site.subnet, Fill::Clear).await;
    // Prefixes are tried again without anybody's doing.
    daemon
        .until("a prefix comes", async || {
            world.holdings().await.prefixes == 1
        })
        .await;
    let new = daemon.add("new").await.expect("is served");
    assert!(is_of_a_prefix(&world, new).await, "{new}");
    daemon.del_pods(0..6).await;
    daemon.until_holding(1, 0, 1).await;
    daemon.finish().await;
}
