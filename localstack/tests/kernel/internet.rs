//! The host outside of the VPC is there for interfaces' own addresses only.

use std::net::IpAddr;

use veni_cloudlab::address_seen_by_internet;
use veni_cloudlab::mock::CloudConfig;
use veni_provider::Family;

use crate::bed::{PATIENCE, assign, hold, lab, primary, provider, send};

#[tokio::test]
async fn a_node_is_seen_with_its_own_address() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let host = lab.cloud().config().internet[0];
    for node in lab.nodes() {
        let path = node.namespace().path();
        let seen = address_seen_by_internet(path, host, PATIENCE)
            .await
            .unwrap();
        assert_eq!(seen, node.addresses()[0]);
    }
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_secondary_address_does_not_get_out_and_is_counted() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let host: IpAddr = lab.cloud().config().internet[0];
    let id = primary(&provider(&lab, 0)).await;
    let assigned = assign(&lab, 0, &id, Family::V4).await;
    hold(lab.node(0), assigned).await;
    send(lab.node(0), assigned, host, 5).await;
    let counters = lab.counters().await.unwrap()[&id];
    assert_eq!((counters.untranslatable, counters.forged), (5, 0));
    lab.shutdown().await.unwrap();
}
