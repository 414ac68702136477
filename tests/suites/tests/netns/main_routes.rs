//! Pods beside what DHCP clients and people put into a node's main table by secondary
//! interfaces: the VPC drops what comes by an interface that does not hold its source,
//! and counts it.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use veni_api::v1::PoolRequest;
use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cloudlab::{INTERNET_V6, with_ipv6};
use veni_testbed::traffic::{Stream, is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, TestPod, eventually, kernel};

use super::traffic::{interface_of, on_secondary};

/// Two nodes with both families; on the first one a pod of the primary interface and one
/// of a secondary interface.
struct Scene {
    bed: Bed,
    primary: (TestPod, Added),
    secondary: (TestPod, Added),
    further: Vec<TestPod>,
    peer: (TestPod, Added),
}

impl Scene {
    async fn new() -> Self {
        let cloud = with_ipv6(CloudConfig::aws().instant());
        let config = BedConfig::new(2)
            .cloud(cloud)
            .instance_type("t3.small")
            .set("ENABLE_IPv6", "true")
            .set("VENI_AUDIT_INTERVAL", "1");
        let bed = Bed::start(config).await;
        let peer = bed.running(1, "peer").await;
        let primary = bed.running(0, "primary").await;
        let (secondary, further) = on_secondary(&bed, 0).await;
        for address in &primary.1.addresses {
            assert!(interface_of(&bed, *address).interface.primary);
        }
        Self {
            bed,
            primary,
            secondary,
            further,
            peer,
        }
    }

    fn node(&self) -> &Path {
        self.bed.node(0)
    }

    /// Packets of the first node that came by the wrong interface.
    async fn dropped(&self) -> u64 {
        let dump = self.bed.lab().cloud().dump();
        let id = self.bed.lab().node(0).instance_id();
        let node = dump.node(id).expect("the node");
        let counters = self.bed.lab().counters().await.expect("counters");
        let ids = node.interfaces.iter().map(|one| &one.interface.id);
        ids.filter_map(|id| counters.get(id))
            .map(|counters| counters.forged)
            .sum()
    }

    /// From each pod to everybody: in the VPC and beyond, by both families.
    fn ways(&self) -> Vec<(&TestPod, IpAddr)> {
        let internet = self.bed.lab().cloud().config().internet[0];
        let mut peers = self.peer.1.addresses.clone();
        peers.extend(self.bed.lab().node(1).addresses());
        peers.extend([internet, INTERNET_V6.into()]);
        let pods = [&self.primary.0, &self.secondary.0];
        pods.into_iter()
            .flat_map(|pod| peers.iter().map(move |peer| (pod, *peer)))
            .collect()
    }

    async fn everybody_is_reached(&self) {
        for (pod, peer) in self.ways() {
            let name = pod.name();
            assert!(
                reaches(pod.path(), peer).await,
                "{name} does not reach {peer}"
            );
        }
    }

    async fn streams(&self) -> Vec<Stream> {
        let mut streams = Vec::new();
        for (pod, peer) in self.ways() {
            streams.push(Stream::start(pod.path(), peer).await);
        }
        streams
    }

    /// What a DHCP client does to the second interface, and a network manager to the
    /// first: an address with its subnet and a preferred default route.
    async fn disturb(&self) {
        let node = self.node();
        for family in ["-4", "-6"] {
            let default = &listed(node, &format!("{family} route show default")).await[0];
            let gateway = default["gateway"].as_str().expect("a next hop").to_owned();
            let network = match family {
                "-4" => "10.0.0.0/16",
                _ => "2001:db8:10::/56",
            };
            for command in [
                format!("route add default via {gateway} dev eth0 metric 900 onlink"),
                format!(
                    "route delete default via {gateway} dev eth0 metric {}",
                    metric(default)
                ),
                format!("route add default via {gateway} dev eth1 metric 1 onlink"),
                format!("route add {network} via {gateway} dev eth1 onlink"),
            ] {
                kernel::ip(node, &format!("{family} {command}")).await;
            }
        }
        let subnet = &listed(node, "-4 route show dev eth0 proto kernel").await[0];
        let subnet = subnet["dst"].as_str().expect("the subnet").to_owned();
        let (base, length) = subnet.split_once('/').expect("a prefix");
        let free = base
            .rsplit_once('.')
            .map(|(start, _)| format!("{start}.250"));
        let free = free.expect("an IPv4 subnet");
        for command in [
            format!("route add {subnet} dev eth0 metric 900"),
            format!("route delete {subnet} dev eth0 metric 0"),
            format!("address add {free}/{length} dev eth1"),
        ] {
            kernel::ip(node, &command).await;
        }
    }

    async fn end(self) {
        let mut all = vec![&self.primary.0, &self.secondary.0, &self.peer.0];
        all.extend(&self.further);
        self.bed.sound(&all).await;
        self.bed.end().await;
    }
}

async fn listed(node: &Path, arguments: &str) -> Vec<Value> {
    let text = kernel::ip(node, &format!("-j {arguments}")).await;
    serde_json::from_str(&text).expect("JSON")
}

fn metric(route: &Value) -> u64 {
    route["metric"].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn what_others_route_by_a_secondary_interface_loses_no_packet_of_a_pod() {
    let scene = Scene::new().await;
    scene.everybody_is_reached().await;
    let before = scene.dropped().await;
    let streams = scene.streams().await;
    scene.disturb().await;
    scene.bed.daemon(0).kill().await;
    scene.bed.daemon(0).start().await;
    scene.everybody_is_reached().await;
    for stream in streams {
        stream.lost_nothing().await;
    }
    assert_eq!(scene.dropped().await, before);

    // Nobody repairs, and the rules for what is forwarded are gone.
    scene.bed.daemon(0).terminate().await;
    for family in ["-4", "-6"] {
        for priority in [32763, 32764] {
            kernel::ip(
                scene.node(),
                &format!("{family} rule del priority {priority}"),
            )
            .await;
        }
    }
    let node = scene.bed.lab().node(1).addresses();
    for peer in node {
        let pod = &scene.primary.0;
        assert!(is_silent(pod.path(), *peer).await, "{peer} is reached");
    }
    assert!(
        scene.dropped().await > before,
        "the VPC counts what comes by eth1"
    );
    scene.bed.daemon(0).start().await;
    scene.everybody_is_reached().await;
    scene.end().await;
}

#[tokio::test]
async fn another_program_that_takes_the_interface_out_of_its_group_is_overruled_and_told_of() {
    let scene = Scene::new().await;
    scene.disturb().await;
    kernel::ip(scene.node(), "link set eth1 group 0").await;
    eventually("the group of the interface", async || {
        let links = kernel::links(scene.node()).await;
        let link = links.into_iter().find(|link| link.name == "eth1");
        match link.expect("eth1").group.as_str() {
            "22099" => Ok(()),
            group => Err(format!("it is in group {group}")),
        }
    })
    .await;
    scene.everybody_is_reached().await;
    eventually("a word of the default route", async || {
        let mut operator = scene.bed.daemon(0).operator().await?;
        let report = operator.pool(PoolRequest {}).await;
        let warnings = report
            .map_err(|status| status.to_string())?
            .into_inner()
            .host_warnings;
        let told = warnings
            .iter()
            .any(|one| one.contains("secondary interface eth1"));
        if told {
            Ok(())
        } else {
            Err(format!("{warnings:?}"))
        }
    })
    .await;
    scene.end().await;
}

#[tokio::test]
async fn the_primary_interface_has_the_mtu_that_the_settings_say() {
    let config = BedConfig::new(1).set("AWS_VPC_ENI_MTU", "1400");
    let bed = Bed::start(config.set("VENI_AUDIT_INTERVAL", "1")).await;
    let mtu = async || listed(bed.node(0), "link show eth0").await[0]["mtu"].as_u64();
    assert_eq!(mtu().await, Some(1400));
    kernel::ip(bed.node(0), "link set eth0 mtu 9001").await;
    eventually("the MTU", async || match mtu().await {
        Some(1400) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    bed.end().await;
}
