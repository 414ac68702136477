//! Instance metadata of a machine.

use std::time::Duration;

use veni_arm::Config;

use super::client::{Served, instant};
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

#[tokio::test]
async fn instance_metadata_shows_a_change_of_the_network_later() {
    let lagging = Config {
        metadata_lag: Duration::from_millis(400),
        ..instant()
    };
    let served = Served::new(lagging).await;
    let path = "/metadata/instance/network?api-version=2021-02-01";
    let shown = async || {
        let view = served.metadata(path, &[METADATA]).await.body;
        let addresses = view["interface"][0]["ipv4"]["ipAddress"]
            .as_array()
            .cloned();
        addresses.expect("a list").len()
    };
    let nic = served.get(&Served::nic()).await.body;
    assert_eq!(nic["properties"]["macAddress"], "00-0D-3A-00-00-01");
    let view = served.metadata(path, &[METADATA]).await.body;
    assert_eq!(view["interface"][0]["macAddress"], "000D3A000001");
    served.put(&with(&nic, &[("one", None)]), None).await;
    for _ in 0..1_000 {
        if shown().await == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never showed");
}
