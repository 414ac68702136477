//! Pods with IPv6 addresses, alone or beside IPv4.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use veni_provider_mock::CloudConfig;

use crate::world::World;

fn dual_stack_network() -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    let range = |text: &str| text.parse::<IpNet>().expect("a range");
    config.vpc_cidrs.push(range("fd00:1::/56"));
    config.subnets[0].cidrs.push(range("fd00:1::/64"));
    config
}

#[tokio::test(start_paused = true)]
async fn dual_stack_pods_have_an_address_of_each_family() {
    let world = World::new(dual_stack_network(), "m5.large");
    let daemon = world
        .start(&[("ENABLE_IPv6", "true"), ("WARM_IP_TARGET", "2")])
        .await;
    daemon.add_all((0..14).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    for record in daemon.app.endpoints.list() {
        let addresses = record.addresses();
        assert!(
            matches!(addresses[..], [IpAddr::V4(_), IpAddr::V6(_)]),
            "{addresses:?}"
        );
    }
    assert_eq!(
        world.holdings().prefixes,
        1,
        "one /80 is enough for the node"
    );
    daemon.check().await;
    for number in 0..14 {
        assert!(daemon.del(&format!("pod-{number}")).await);
    }
    daemon.settle_for(Duration::from_secs(300)).await;
    let held = world.holdings();
    assert_eq!((held.interfaces, held.addresses, held.prefixes), (1, 2, 1));
    let told = daemon.report().await;
    assert_eq!(
        told.interfaces[0].slots_used, 2,
        "the /80 fills no slot of IPv4"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_with_ipv6_alone_needs_one_prefix_and_no_second_interface() {
    let world = World::new(dual_stack_network(), "m5.large");
    let settings = [("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true")];
    let daemon = world.start(&settings).await;
    let addresses = daemon.add_all((0..29).map(|n| format!("pod-{n}"))).await;
    assert!(addresses.iter().all(IpAddr::is_ipv6));
    daemon.settle().await;
    let held = world.holdings();
    assert_eq!((held.interfaces, held.addresses, held.prefixes), (1, 0, 1));
    daemon.check().await;
}

#[test]
fn node_local_addresses_are_nobody_else_s_over_kills_and_for_their_cooldown() {
    let world = World::new(dual_stack_network(), "m5.large");
    let settings = [
        ("ENABLE_IPv4", "false"),
        ("ENABLE_IPv6", "true"),
        ("IP_COOLDOWN_PERIOD", "30"),
    ];
    let locals = |daemon: &crate::daemon::Daemon| -> Vec<IpAddr> {
        let records = daemon.app.endpoints.list();
        let locals = records.iter().map(|record| record.plan.egress);
        locals.map(|local| local.expect("one each")).collect()
    };
    let distinct = |all: &[IpAddr]| all.iter().collect::<std::collections::BTreeSet<_>>().len();
    let before = world.until_killed(async {
        let daemon = world.start(&settings).await;
        daemon.add_all((0..5).map(|n| format!("pod-{n}"))).await;
        let before = locals(&daemon);
        assert!(daemon.del("pod-0").await);
        before
    });
    assert_eq!(distinct(&before), 5);
    world.until_killed(async {
        let daemon = world.start(&settings).await;
        assert_eq!(locals(&daemon), before[1..]);
        daemon.add_all((5..8).map(|n| format!("pod-{n}"))).await;
        let mut all = locals(&daemon);
        all.push(before[0]); // it cools
        assert_eq!(distinct(&all), 8, "{all:?}");
        daemon.settle_for(Duration::from_secs(60)).await;
        daemon.check().await;
    });
    world.until_killed(async {
        let daemon = world.start(&settings).await;
        daemon.add("fresh").await.expect("is served");
        let fresh = *locals(&daemon).last().expect("one");
        assert_eq!(fresh, before[0], "it has cooled");
    });
}

#[tokio::test(start_paused = true)]
async fn an_add_that_finds_no_node_local_address_says_so_and_leaves_nothing() {
    let world = World::new(dual_stack_network(), "m5.large");
    let settings = [
        ("ENABLE_IPv4", "false"),
        ("ENABLE_IPv6", "true"),
        ("IP_COOLDOWN_PERIOD", "3600"),
    ];
    let daemon = world.start(&settings).await;
    for _ in 0..1022 {
        daemon.add("pod").await.expect("is served");
        assert!(daemon.del("pod").await);
    }
    let failure = daemon.add("pod").await.expect_err("all of them cool");
    assert!(failure.message.contains("169.254.172.0/22"), "{failure:?}");
    assert_eq!(daemon.report().await.assigned, 0);
    daemon.check().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    daemon.add("pod").await.expect("is served");
    daemon.settle().await;
    daemon.check().await;
}

#[test]
fn dual_stack_pods_keep_both_addresses_over_a_kill() {
    let world = World::new(dual_stack_network(), "m5.large");
    let settings = [("ENABLE_IPv6", "true"), ("WARM_IP_TARGET", "2")];
    let all = |daemon: &crate::daemon::Daemon| -> Vec<IpAddr> {
        let records = daemon.app.endpoints.list();
        records
            .iter()
            .flat_map(|record| record.addresses())
            .collect()
    };
    let before = world.until_killed(async {
        let daemon = world.start(&settings).await;
        daemon.add_all((0..3).map(|n| format!("pod-{n}"))).await;
        all(&daemon)
    });
    world.until_killed(async {
        let daemon = world.start(&settings).await;
        assert_eq!(all(&daemon), before);
        let fresh = daemon
            .app
            .endpoints
            .add(daemon.order("fresh"))
            .await
            .expect("is served");
        assert!(
            fresh
                .addresses()
                .iter()
                .all(|address| !before.contains(address))
        );
        daemon.settle().await;
        daemon.check().await;
    });
}
