//! IPv6, alone and beside IPv4.

use std::net::IpAddr;

use crate::world::World;

#[tokio::test]
async fn a_node_of_ipv6_serves_pods_out_of_one_prefix() {
    let world = World::new("m5.large").await;
    let settings = [
        ("ENABLE_IPv4", "false"),
        ("ENABLE_IPv6", "true"),
        ("ENABLE_PREFIX_DELEGATION", "true"),
    ];
    let daemon = world.start(&settings).await;
    daemon.add_pods(0..30).await;
    daemon.until_holding(1, 0, 1).await;
    let prefix = *world.interfaces().await[0].ranges.first().expect("one");
    assert_eq!(prefix.prefix_len(), 80);
    for record in daemon.app.endpoints.list() {
        assert_eq!(record.addresses().len(), 1);
        assert!(prefix.contains(&record.addresses()[0]));
    }
    daemon.del_pods(0..30).await;
    daemon.finish().await;
}

#[tokio::test]
async fn pods_may_have_an_address_of_both_families() {
    let world = World::new("m5.large").await;
    let settings = [("ENABLE_IPv6", "true"), ("WARM_IP_TARGET", "1")];
    let daemon = world.start(&settings).await;
    daemon.add_pods(0..12).await;
    for record in daemon.app.endpoints.list() {
        let families = record
            .addresses()
            .iter()
            .map(IpAddr::is_ipv6)
            .collect::<Vec<_>>();
        assert_eq!(families, [false, true]);
    }
    daemon.rest().await;
    let interfaces = world.interfaces().await;
    assert_eq!(interfaces.len(), 2);
    assert_eq!(
        interfaces.iter().map(|one| one.prefixes()).sum::<usize>(),
        1
    );
    daemon.del_pods(0..12).await;
    daemon.until_holding(1, 1, 1).await;
    daemon.finish().await;
}

#[tokio::test]
async fn ipv6_is_refused_on_a_type_without_prefixes_and_the_reason_told() {
    let world = World::new("m4.large").await;
    let settings = [("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true")];
    let told = world.refusal(&settings).await;
    assert!(
        told.contains("ENABLE_IPv6=true") && told.contains("m4.large"),
        "{told}"
    );
    world.terminate().await;
}
