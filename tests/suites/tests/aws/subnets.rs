//! Further subnets: found by their tags, used when the first is full.

use std::net::IpAddr;

use ipnet::IpNet;
use veni_cloudlab::Fill;
use veni_provider::SubnetId;
use veni_provider_aws::CustomNetwork;
use veni_testbed::ec2::{fill, make_subnet, tag};

use crate::lives::ONE_WARM;
use crate::world::World;

const ROLE: &str = "kubernetes.io/role/cni";

fn is_in(range: &str, address: IpAddr) -> bool {
    let range: IpNet = range.parse().expect("a range");
    range.contains(&address)
}

#[tokio::test]
async fn pods_are_told_that_the_eni_config_s_subnet_is_not_the_network_s() {
    let elsewhere = World::new("m5.large").await;
    let foreign = make_subnet(&elsewhere.site.vpc, "10.0.5.0/24", None, &[]).await;
    for subnet in [foreign.as_str(), "subnet-0123456789abcdef0"] {
        let world = World::new("m5.large").await;
        let custom = CustomNetwork {
            subnet: SubnetId::new(subnet),
            security_groups: Vec::new(),
        };
        let daemon = world
            .start_with(&[("WARM_IP_TARGET", "1")], |settings| {
                settings.custom_network = custom.always();
            })
            .await;
        let told = daemon.add("pod").await.expect_err("nothing can come");
        let told = told.message;
        assert!(
            told.contains(subnet) && told.contains("ENIConfig"),
            "{told}"
        );
        let calls = world.site.calls().await;
        assert!(
            calls
                .iter()
                .all(|(name, _)| name != "CreateNetworkInterface")
        );
        daemon.finish().await;
    }
}

#[tokio::test]
async fn a_second_subnet_serves_when_the_first_is_full() {
    let world = World::new("m5.large").await;
    let vpc = &world.site.vpc;
    // Bigger, and not for pods.
    make_subnet(vpc, "10.0.16.0/20", None, &[(ROLE, "0")]).await;
    make_subnet(vpc, "10.0.32.0/20", None, &[]).await;
    let second = make_subnet(vpc, "10.0.1.0/24", None, &[(ROLE, "1")]).await;
    fill(&second, Fill::Leave(200)).await;
    let daemon = world.start(ONE_WARM).await;
    daemon.until_holding(1, 1, 0).await;
    daemon.add("first").await.expect("is served");
    fill(&world.site.subnet, Fill::Leave(0)).await;
    let mut served = Vec::new();
    for number in 0..6 {
        served.push(daemon.retry(&format!("pod-{number}")).await);
    }
    assert!(
        served.iter().any(|one| is_in("10.0.1.0/24", *one)),
        "{served:?}"
    );
    let elsewhere = |one: &&IpAddr| !is_in("10.0.0.0/24", **one) && !is_in("10.0.1.0/24", **one);
    assert_eq!(served.iter().find(elsewhere), None);
    daemon.rest().await;
    daemon.check().await;
    fill(&world.site.subnet, Fill::Clear).await;
    daemon.finish().await;
}

#[tokio::test]
async fn only_subnets_of_the_own_cluster_serve() {
    let world = World::new("m5.large").await;
    let vpc = &world.site.vpc;
    let of = |name: &str| format!("cni.networking.k8s.aws/cluster/{name}");
    let (ours, theirs) = (of("blue"), of("green"));
    let shared = "shared";
    make_subnet(vpc, "10.0.2.0/24", None, &[(ROLE, "1"), (&theirs, shared)]).await;
    let second = make_subnet(vpc, "10.0.3.0/24", None, &[(ROLE, "1"), (&ours, shared)]).await;
    fill(&second, Fill::Leave(30)).await;
    fill(&world.site.subnet, Fill::Leave(0)).await;
    let settings = [("WARM_IP_TARGET", "1"), ("CLUSTER_NAME", "blue")];
    let daemon = world.start(&settings).await;
    let served = daemon.retry("pod-0").await;
    assert!(is_in("10.0.3.0/24", served), "{served}");
    let made = world.interfaces().await[1].interface.clone();
    let tags = world.site.described(&made).await;
    let has = |key: &str, value: &str| {
        tags.tag_set()
            .iter()
            .any(|tag| tag.key() == Some(key) && tag.value() == Some(value))
    };
    assert!(has("cluster.k8s.amazonaws.com/name", "blue"));
    daemon.finish().await;
}

#[tokio::test]
async fn a_subnet_that_is_taken_from_the_pods_is_left() {
    let world = World::new("m5.large").await;
    let second = make_subnet(&world.site.vpc, "10.0.1.0/24", None, &[(ROLE, "1")]).await;
    fill(&world.site.subnet, Fill::Leave(0)).await;
    let settings = [("WARM_IP_TARGET", "2"), ("VENI_INVENTORY_INTERVAL", "1")];
    let daemon = world.start(&settings).await;
    let kept = daemon.retry("kept").await;
    assert!(is_in("10.0.1.0/24", kept), "{kept}");
    tag(&second, ROLE, "0").await;
    fill(&world.site.subnet, Fill::Clear).await;
    daemon
        .until("what is free in it goes back", async || {
            let interfaces = world.interfaces().await;
            interfaces
                .iter()
                .any(|one| one.subnet == second && one.addresses() == 1)
        })
        .await;
    for number in 0..6 {
        let new = daemon.retry(&format!("pod-{number}")).await;
        assert!(is_in("10.0.0.0/24", new), "{new}");
    }
    daemon.rest_with_looks().await;
    daemon.check().await;
    assert!(daemon.del("kept").await);
    world.end_namespace("kept");
    daemon
        .until("the interface goes with its last pod", async || {
            world
                .interfaces()
                .await
                .iter()
                .all(|one| one.subnet != second)
        })
        .await;
    daemon.finish_with_looks().await;
}
