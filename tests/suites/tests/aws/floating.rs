//! A floating address on the primary interface: Veni neither unassigns it nor gives it to
//! a pod, unless it was there before Veni was.

use std::net::IpAddr;

use veni_provider::SubnetId;
use veni_provider_aws::CustomNetwork;
use veni_testbed::ec2::make_subnet;

use crate::daemon::Daemon;
use crate::others::assign;
use crate::world::{Settings, World};

const LOOKS_OFTEN: Settings<'_> = &[("WARM_IP_TARGET", "1"), ("VENI_INVENTORY_INTERVAL", "1")];

/// Single addresses that the primary interface holds besides its own.
async fn secondary(world: &World) -> Vec<IpAddr> {
    let primary = world.interfaces().await[0].clone();
    primary.ranges.iter().map(|range| range.addr()).collect()
}

/// Somebody assigns one address to the primary interface.
async fn by_hand(world: &World) -> IpAddr {
    let before = secondary(world).await;
    let primary = world.interfaces().await[0].interface.clone();
    assign(&primary, 1).await;
    let after = secondary(world).await;
    let new = after.into_iter().find(|one| !before.contains(one));
    new.expect("it was assigned")
}

fn of_pods(daemon: &Daemon) -> Vec<IpAddr> {
    let records = daemon.app.endpoints.list();
    records
        .iter()
        .flat_map(|record| record.addresses())
        .collect()
}

/// Makes and deletes pods, then waits long enough for every excess to go back. Returns the
/// addresses that the pods had.
async fn busy(daemon: &Daemon, pods: u32) -> Vec<IpAddr> {
    daemon.add_pods(0..pods).await;
    let had = of_pods(daemon);
    daemon.del_pods(0..pods).await;
    daemon
        .until("what is spare goes back", async || {
            let held = daemon.world.interfaces().await;
            held.iter().map(|one| one.addresses()).sum::<usize>() <= 3
        })
        .await;
    daemon.rest_with_looks().await;
    had
}

#[tokio::test]
async fn a_floating_address_that_comes_to_the_primary_interface_serves_no_pod_and_stays() {
    let world = World::new("t3.small").await;
    let first = by_hand(&world).await;
    let daemon = world.start(LOOKS_OFTEN).await;
    daemon.rest_with_looks().await;
    let floating = by_hand(&world).await;
    daemon.rest_with_looks().await;
    // All that three interfaces hold but for this one.
    let had = busy(&daemon, 8).await;
    assert!(!had.contains(&floating), "{floating} is no pod's: {had:?}");
    assert!(had.contains(&first), "what was there first serves pods");
    let kept = secondary(&world).await;
    assert!(
        kept.contains(&floating) && kept.contains(&first),
        "{kept:?}"
    );
    daemon.stop().await;
    let again = world.start(LOOKS_OFTEN).await;
    again.rest_with_looks().await;
    let kept = secondary(&world).await;
    assert!(kept.contains(&floating), "over a restart: {kept:?}");
    again.stop().await;
    world.terminate().await;
}

#[tokio::test]
async fn with_custom_networking_floating_addresses_of_the_primary_interface_stay() {
    let world = World::new("t3.small").await;
    let pods = make_subnet(&world.site.vpc, "10.0.6.0/24", None, &[]).await;
    let custom = CustomNetwork {
        subnet: SubnetId::new(pods),
        security_groups: Vec::new(),
    };
    let first = by_hand(&world).await;
    let daemon = world
        .start_with(LOOKS_OFTEN, |settings| {
            settings.custom_network = custom.always()
        })
        .await;
    daemon.rest_with_looks().await;
    let floating = by_hand(&world).await;
    let had = busy(&daemon, 5).await;
    for one in [first, floating] {
        assert!(!had.contains(&one), "{one} is no pod's: {had:?}");
        let kept = secondary(&world).await;
        assert!(kept.contains(&one), "{one} stays: {kept:?}");
    }
    daemon.stop().await;
    world.terminate().await;
}
