//! Interfaces appear on nodes and go as the cloud attaches and detaches them.

use serde_json::Value;
use veni_cloudlab::mock::CloudConfig;
use veni_provider::{AttachRequest, Provider};

use crate::bed::{PATIENCE, ip, lab, provider, reaches};

fn named<'a>(links: &'a Value, name: &str) -> Option<&'a Value> {
    links.as_array()?.iter().find(|link| link["ifname"] == name)
}

#[tokio::test]
async fn a_booted_node_has_its_address_and_reaches_its_gateway_and_its_peer() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let primary = &lab.cloud().dump().nodes[0].interfaces[0].interface;
    let links = ip(lab.node(0).namespace().path(), &["address", "show"]).await;
    let eth0 = named(&links, "eth0").expect("eth0 is there");
    assert_eq!(eth0["address"], primary.mac.to_string());
    assert_eq!(eth0["mtu"], 9001);
    assert_eq!(
        eth0["addr_info"][0]["local"],
        primary.own_addresses[0].to_string()
    );
    assert!(reaches(lab.node(0), primary.gateways[0]).await);
    assert!(reaches(lab.node(0), lab.node(1).addresses()[0]).await);
    assert!(reaches(lab.node(1), lab.node(0).addresses()[0]).await);
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_attached_interface_appears_down_without_address_and_goes_when_detached() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let provider = provider(&lab, 0);
    let request = AttachRequest {
        subnet: None,
        slots: None,
        token: "one".to_owned(),
    };
    let attached = provider.attach_interface(&request).await.unwrap();
    lab.settled().await.unwrap();

    let node = lab.node(0).namespace().path();
    let links = ip(node, &["address", "show"]).await;
    let eth1 = named(&links, "eth1").expect("eth1 is there");
    assert_eq!(eth1["address"], attached.mac.to_string());
    assert_eq!(eth1["operstate"], "DOWN");
    assert_eq!(eth1["addr_info"], Value::Array(Vec::new()));

    provider.detach_interface(&attached.id).await.unwrap();
    lab.settled().await.unwrap();
    let links = ip(node, &["link", "show"]).await;
    assert!(named(&links, "eth1").is_none(), "{links}");
    assert!(
        named(&links, "eth0").is_some(),
        "the look sees what is there"
    );
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_change_is_followed_without_being_asked_for() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let request = AttachRequest {
        subnet: None,
        slots: None,
        token: "one".to_owned(),
    };
    provider(&lab, 0).attach_interface(&request).await.unwrap();
    let node = lab.node(0).namespace().path().to_owned();
    tokio::time::timeout(PATIENCE, async {
        while named(&ip(&node, &["link", "show"]).await, "eth1").is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("eth1 appears");
    lab.shutdown().await.unwrap();
}
