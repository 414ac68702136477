//! Ports of the node: whose each is, over conflicts, deaths and restarts.

use std::fs;
use std::time::Duration;

use ipamd::endpoints::AddOrder;
use ipamd::journal::endpoint::Record;
use tokio::time::{Instant, sleep};
use veni_api::failure::{CniFailure, code};
use veni_dataplane::{HostPort, PortMapping, PortProtocol};

use crate::daemon::Daemon;
use crate::world::{Settings, World};

const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];
/// So that only notifications lead to repairs.
const NO_AUDIT: Settings<'_> = &[("WARM_IP_TARGET", "4"), ("VENI_AUDIT_INTERVAL", "3600")];

fn mapping(protocol: PortProtocol, host_port: u16, host: &str) -> PortMapping {
    PortMapping {
        protocol,
        host_port,
        pod_port: 80,
        host_address: host.parse().ok(),
    }
}

fn tcp(host_port: u16) -> PortMapping {
    mapping(PortProtocol::Tcp, host_port, "")
}

async fn add(
    daemon: &Daemon,
    container: &str,
    mappings: &[PortMapping],
) -> Result<Record, CniFailure> {
    let order = AddOrder {
        port_mappings: mappings.to_vec(),
        ..daemon.order(container)
    };
    daemon.app.endpoints.add(order).await
}

/// What the kernel has, and what all endpoints should have.
fn compared(daemon: &Daemon) -> (Vec<HostPort>, Vec<HostPort>) {
    let records = daemon.app.endpoints.list();
    let mut wanted: Vec<HostPort> = records
        .iter()
        .flat_map(|record| record.plan.host_ports())
        .collect();
    wanted.sort_unstable();
    (daemon.world.kernel.host_ports(), wanted)
}

fn assert_same(daemon: &Daemon) {
    let (present, wanted) = compared(daemon);
    assert_eq!(present, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_leads_to_another_pod_is_refused_with_that_pods_name() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    add(&daemon, "web", &[tcp(80), tcp(443)])
        .await
        .expect("is served");
    let before = daemon.report().await.assigned;
    let wanted = [tcp(81), mapping(PortProtocol::Tcp, 443, "10.0.0.5")];
    let failure = add(&daemon, "other", &wanted).await.expect_err("refused");
    assert_eq!(failure.code, code::HOST_PORT_TAKEN);
    assert_eq!(
        failure.message,
        "host port tcp 443 of 10.0.0.5 cannot lead to default/other: default/web has tcp 443"
    );
    assert_eq!(daemon.report().await.assigned, before);
    assert_same(&daemon);
    let beside = [mapping(PortProtocol::Udp, 443, ""), tcp(81)];
    add(&daemon, "third", &beside)
        .await
        .expect("another protocol");
    assert!(daemon.del("web").await);
    add(&daemon, "other", &wanted[1..])
        .await
        .expect("it is free");
    add(&daemon, "other", &wanted[1..])
        .await
        .expect("it is its own");
    assert_same(&daemon);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_whose_port_stays_taken_is_refused_before_it_waits_for_an_address() {
    let world = World::aws("m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    add(&daemon, "web", &[tcp(80)]).await.expect("is served");
    daemon.settle().await;
    world.cloud.deny(veni_provider::Operation::Assign);
    add(&daemon, "last", &[]).await.expect("the warm address");
    let began = Instant::now();
    let failure = add(&daemon, "other", &[tcp(80)]).await.expect_err("taken");
    assert_eq!(failure.code, code::HOST_PORT_TAKEN);
    assert!(began.elapsed() < Duration::from_secs(1), "{failure:?}");
    // The twin: without that port it waits.
    let failure = add(&daemon, "other", &[tcp(81)]).await.expect_err("waits");
    assert_ne!(failure.code, code::HOST_PORT_TAKEN);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_died_without_a_del_keeps_no_port() {
    let world = World::aws("m5.large");
    let daemon = world.start(NO_AUDIT).await;
    add(&daemon, "web", &[tcp(80)]).await.expect("is served");
    world.end_namespace("web");
    add(&daemon, "again", &[tcp(80)])
        .await
        .expect("the dead make room");
    assert_same(&daemon);
}

#[tokio::test(start_paused = true)]
async fn an_add_that_fails_frees_its_ports() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let step = veni_dataplane::memory::Step::ConfigureHost;
    world.kernel.fail(step, 1, std::io::ErrorKind::OutOfMemory);
    add(&daemon, "web", &[tcp(80)])
        .await
        .expect_err("the kernel refuses");
    assert_eq!(world.kernel.host_ports(), []);
    add(&daemon, "other", &[tcp(80)]).await.expect("is served");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_add_that_cannot_make_ports_again_leaves_the_pod_what_it_has() {
    let world = World::aws("m5.large");
    let daemon = world.start(NO_AUDIT).await;
    let first = add(&daemon, "web", &[tcp(80)]).await.expect("is served");
    world.kernel.reset_node();
    let failure = add(&daemon, "web", &[tcp(80)]).await;
    let failure = failure.expect_err("there is no table");
    assert_eq!(failure.code, code::KERNEL_REFUSED, "{failure:?}");
    assert_eq!(
        daemon.app.endpoints.list()[..],
        std::slice::from_ref(&first)[..]
    );
    assert_eq!(world.kernel.routes().len(), 1);
    daemon.settle().await;
    let again = add(&daemon, "web", &[tcp(80)]).await.expect("is whole");
    assert_eq!(again.id, first.id);
    assert_same(&daemon);
    world
        .kernel
        .delete_link(first.links.expect("a link").host_index);
    let new = add(&daemon, "web", &[tcp(80)]).await.expect("is made anew");
    assert_ne!(new.id, first.id);
    assert_same(&daemon);
}

#[tokio::test(start_paused = true)]
async fn ports_come_back_from_the_journal_when_their_table_was_flushed() {
    let world = World::aws("m5.large");
    let daemon = world.start(NO_AUDIT).await;
    add(&daemon, "web", &[tcp(80)]).await.expect("is served");
    add(
        &daemon,
        "dns",
        &[mapping(PortProtocol::Udp, 53, "10.0.0.5")],
    )
    .await
    .expect("is served");
    let (before, _) = compared(&daemon);
    assert_eq!(before.len(), 2);
    let damages: [&dyn Fn(); 2] = [&|| world.kernel.reset_node(), &|| {
        world.kernel.delete_host_port(&before[0])
    }];
    for damage in damages {
        sleep(Duration::from_secs(60)).await; // a calm time
        damage();
        assert_ne!(world.kernel.host_ports(), before);
        let began = Instant::now();
        while world.kernel.host_ports() != before {
            sleep(Duration::from_millis(20)).await;
            assert!(began.elapsed() < Duration::from_secs(2));
        }
    }
}

#[test]
fn ports_are_kept_over_a_restart_and_those_of_nobody_are_removed() {
    let world = World::aws("m5.large");
    let udp = mapping(PortProtocol::Udp, 53, "10.0.0.5");
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        add(&daemon, "a", &[udp]).await.expect("is served");
        add(&daemon, "b", &[tcp(80)]).await.expect("is served");
        add(&daemon, "c", &[]).await.expect("is served");
    });
    world.end_namespace("b");
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_same(&daemon);
        let failure = add(&daemon, "d", &[udp]).await.expect_err("taken");
        assert!(failure.message.contains("default/a"), "{failure:?}");
        add(&daemon, "d", &[tcp(80)])
            .await
            .expect("the dead have none");
        assert!(daemon.del("d").await);
        add(&daemon, "e", &[tcp(80)]).await.expect("it is free");
    });
    // The entry of d is still there, and its port is e's by now.
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_same(&daemon);
        assert_eq!(world.kernel.host_ports().len(), 2);
    });
}

#[test]
fn a_pod_whose_entry_was_lost_keeps_its_ports_until_its_link_goes() {
    let world = World::aws("m5.large");
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        add(&daemon, "web", &[tcp(80)]).await.expect("is served");
    });
    let folder = world.folder().join("journal/endpoints");
    for entry in fs::read_dir(folder).expect("lists").flatten() {
        fs::write(entry.path(), "{}").expect("writes");
    }
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_same(&daemon);
        assert_eq!(world.kernel.host_ports().len(), 1);
        let failure = add(&daemon, "other", &[tcp(80)]).await.expect_err("taken");
        assert_eq!(failure.code, code::HOST_PORT_TAKEN);
        world.end_namespace("web");
        add(&daemon, "other", &[tcp(80)]).await.expect("it is free");
        assert_same(&daemon);
    });
}
