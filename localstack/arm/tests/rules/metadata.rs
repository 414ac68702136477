//! Instance metadata of a machine.

use std::time::Duration;

use tokio::time::sleep;
use veni_arm::Config;

use super::client::{Served, instant};
use super::in_process::{InProcess, MOMENT};
use super::with;

const METADATA: (&str, &str) = ("Metadata", "true");

#[tokio::test]
async fn instance_metadata_wants_its_header_and_no_proxy() {
    let served = Served::new(instant()).await;
    let path = "/metadata/instance/compute?api-version=2021-01-01";
    assert_eq!(served.metadata(path, &[]).await.status, 400);
    let proxied = [METADATA, ("X-Forwarded-For", "10.0.0.9")];
    assert_eq!(served.metadata(path, &proxied).await.status, 400);
    assert_eq!(
        served
            .metadata("/metadata/instance/compute", &[METADATA])
            .await
            .status,
        400
    );
    let told = served.metadata(path, &[METADATA]).await;
    assert_eq!(told.status, 200);
    let machine = Served::path("Microsoft.Compute/virtualMachines/node");
    assert_eq!(told.body["resourceId"], machine.as_str());
    assert_eq!(told.body["vmSize"], "Standard_D4s_v5");
}

#[tokio::test]
async fn of_several_identities_a_token_s_request_must_say_which() {
    let served = Served::with(instant(), |node| {
        node.identities = vec!["one".to_owned(), "two".to_owned()];
    })
    .await;
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=arm";
    assert_eq!(served.metadata(path, &[METADATA]).await.status, 400);
    let meant = served
        .metadata(&format!("{path}&client_id=two"), &[METADATA])
        .await;
    assert_eq!(meant.status, 200);
    let expires = meant.body["expires_on"]
        .as_str()
        .and_then(|one| one.parse::<u64>().ok());
    assert!(expires.is_some(), "{meant:?}");
    let other = served
        .metadata(&format!("{path}&client_id=three"), &[METADATA])
        .await;
    assert_eq!(other.status, 400);
}

#[tokio::test(start_paused = true)]
async fn instance_metadata_shows_a_change_of_the_network_later() {
    let lag = Duration::from_millis(400);
    let node = InProcess::new(Config {
        metadata_lag: lag,
        ..instant()
    })
    .await;
    let view = async || node.metadata("/metadata/instance/network").await;
    let shown = async || {
        let view = view().await;
        let addresses = view["interface"][0]["ipv4"]["ipAddress"].as_array();
        addresses.expect("a list").len()
    };
    let nic = node.get(&Served::nic()).await;
    assert_eq!(nic["properties"]["macAddress"], "00-0D-3A-00-00-01");
    assert_eq!(view().await["interface"][0]["macAddress"], "000D3A000001");
    node.put(&with(&nic, &[("one", None)])).await;
    assert_eq!(shown().await, 1);
    sleep(lag - MOMENT).await;
    assert_eq!(shown().await, 1, "not yet");
    sleep(MOMENT).await;
    assert_eq!(shown().await, 2);
}
