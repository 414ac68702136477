//! Pods with more than one interface, as a plugin that calls plugins makes them: each is
//! an attachment of its own, all of one container.

use std::collections::HashSet;

use ipamd::serve::cni::add_response;
use veni_api::failure::code;
use veni_dataplane::DefaultRoute;

use crate::daemon::{Daemon, key};
use crate::world::{Settings, World};

const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];

/// Interfaces of container `a` that the daemon has, in order.
fn interfaces(daemon: &Daemon) -> Vec<String> {
    let records = daemon.app.endpoints.list().into_iter();
    let mut names: Vec<String> = records.map(|one| one.key.interface_name).collect();
    names.sort();
    names
}

async fn add_as(
    daemon: &Daemon,
    container: &str,
    is_default_gateway: Option<bool>,
) -> DefaultRoute {
    let mut order = daemon.order(container);
    order.is_default_gateway = is_default_gateway;
    let record = daemon.app.endpoints.add(order).await.expect("is served");
    record.plan.default_route
}

#[tokio::test(start_paused = true)]
async fn the_first_interface_takes_the_default_route_and_others_only_when_asked_to() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    for (container, asked, expected) in [
        ("a", None, DefaultRoute::Only),
        ("a:net1", None, DefaultRoute::None),
        ("a:net2", Some(false), DefaultRoute::None),
        ("a:net3", Some(true), DefaultRoute::InFront),
        ("b:net1", None, DefaultRoute::None),
        ("b", Some(true), DefaultRoute::Only),
        ("c", Some(false), DefaultRoute::None),
    ] {
        assert_eq!(
            add_as(&daemon, container, asked).await,
            expected,
            "{container}"
        );
    }
    daemon.check().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_tells_the_routes_that_an_interface_has() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let mut seen = Vec::new();
    for (container, asked) in [("a", None), ("a:net1", None), ("a:net2", Some(true))] {
        let mut order = daemon.order(container);
        order.is_default_gateway = asked;
        let record = daemon.app.endpoints.add(order).await.expect("is served");
        let table = record.links.map_or(0, |links| 0x5700 + links.pod_index);
        let routes = add_response(&record).routes.into_iter();
        let routes = routes.map(|route| {
            let own = |number: u32| {
                if number == table {
                    "own".to_owned()
                } else {
                    number.to_string()
                }
            };
            let (to, hop) = (route.destination, route.gateway);
            format!(
                "{to} by '{hop}' in {} at {}",
                own(route.table),
                own(route.priority)
            )
        });
        seen.push(routes.collect::<Vec<String>>());
    }
    let further = [
        "169.254.1.1/32 by '' in 0 at own",
        "169.254.1.1/32 by '' in own at 0",
        "0.0.0.0/0 by '169.254.1.1' in own at 0",
    ];
    let everything = "0.0.0.0/0 by '169.254.1.1' in 0 at 0";
    assert_eq!(seen[0], ["169.254.1.1/32 by '' in 0 at 0", everything]);
    assert_eq!(seen[1], further);
    assert_eq!(seen[2], [&further[..], &[everything]].concat());
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_interface_of_a_pod_goes_by_itself() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let mut addresses = HashSet::new();
    for container in ["a", "a:net1", "a:net2"] {
        let address = daemon.add(container).await.expect("is served");
        assert_eq!(daemon.add(container).await.expect("again"), address);
        addresses.insert(address);
    }
    assert_eq!(addresses.len(), 3);
    assert_eq!(world.pod_rules("a"), 2);
    let endpoints = &daemon.app.endpoints;
    let namespace = || Some(world.namespace("a"));
    let deleted = endpoints.delete_from(&key("a:net1"), namespace()).await;
    assert!(deleted.expect("deleted"));
    assert_eq!(interfaces(&daemon), ["eth0", "net2"]);
    assert_eq!(world.pod_rules("a"), 1, "that of net2");
    daemon.check().await;
    let deleted = endpoints.delete_from(&key("a"), namespace()).await;
    assert!(deleted.expect("deleted"));
    assert_eq!(interfaces(&daemon), ["net2"]);
    assert_eq!(world.pod_rules("a"), 1, "that of net2");
    daemon.check().await;
    // A DEL that comes without a namespace, or after it, succeeds all the same.
    world.end_namespace("a");
    assert!(daemon.del("a:net2").await);
    daemon.check().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn gc_releases_one_interface_of_a_pod_and_keeps_the_other() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.add("a").await.expect("is served");
    daemon.add("a:net1").await.expect("is served");
    let valid = HashSet::from([("a".to_owned(), "eth0".to_owned())]);
    // The call's time is the machine's, in milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(3));
    let released = daemon.app.endpoints.collect_garbage("veni", &valid).await;
    assert_eq!(released.expect("collected"), 1);
    assert_eq!(interfaces(&daemon), ["eth0"]);
    daemon.check().await;
    daemon.stop().await;
}

#[test]
fn a_restarted_daemon_has_both_interfaces_and_clears_the_rules_of_the_one_that_goes() {
    let world = World::aws("m5.large");
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        for container in ["a", "a:net1"] {
            daemon.add(container).await.expect("is served");
        }
    });
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        daemon.check().await;
        assert_eq!(interfaces(&daemon), ["eth0", "net1"]);
        let again = daemon.add("a:net1").await.expect("again");
        let records = daemon.app.endpoints.list();
        assert!(records.iter().any(|record| record.addresses() == [again]));
        assert_eq!(world.pod_rules("a"), 1);
        let namespace = Some(world.namespace("a"));
        let deleted = daemon
            .app
            .endpoints
            .delete_from(&key("a:net1"), namespace)
            .await;
        assert!(deleted.expect("deleted"));
        assert_eq!(world.pod_rules("a"), 0);
        assert_eq!(interfaces(&daemon), ["eth0"]);
        daemon.check().await;
        daemon.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_two_interfaces_is_one_pod_to_the_limit_of_pods() {
    let world = World::aws("m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("MAX_PODS", "4")])
        .await;
    for pod in ["a", "b", "c", "d"] {
        daemon.add(pod).await.expect("is served");
        daemon.add(&format!("{pod}:net1")).await.expect("is served");
    }
    let failure = daemon.add("e").await.expect_err("a fifth pod");
    assert_eq!(failure.code, code::NO_ADDRESS, "{}", failure.message);
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 8);
    daemon.check().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_beside_another_plugins_counts_as_one_pod() {
    let world = World::aws("m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("MAX_PODS", "4")])
        .await;
    for pod in ["a:net1", "b:net1", "c:net1", "d:net1"] {
        daemon.add(pod).await.expect("is served");
    }
    let failure = daemon.add("e:net1").await.expect_err("a fifth pod");
    assert_eq!(failure.code, code::NO_ADDRESS, "{}", failure.message);
    daemon.stop().await;
}
