//! What a written NIC may be like, and what it is then.

use serde_json::{Value, json};

use super::client::{Served, instant};
use super::{configuration, with};

#[tokio::test]
async fn a_write_replaces_the_whole_nic() {
    let served = Served::new(instant()).await;
    let before = served.get(&Served::nic()).await.body;
    assert_eq!(before["properties"]["enableAcceleratedNetworking"], true);
    let mut poorer = before.clone();
    let properties = poorer["properties"].as_object_mut().expect("an object");
    properties.remove("enableAcceleratedNetworking");
    poorer.as_object_mut().expect("an object").remove("tags");
    assert_eq!(served.put(&poorer, None).await.status, 200);
    let after = served.get(&Served::nic()).await.body;
    assert_eq!(
        after["properties"]["enableAcceleratedNetworking"],
        Value::Null
    );
    assert_eq!(after["tags"], Value::Null);
    // What is read only stays, whatever is written.
    assert_eq!(
        after["properties"]["macAddress"],
        before["properties"]["macAddress"]
    );
}

#[tokio::test]
async fn a_write_with_an_old_etag_is_refused_and_changes_nothing() {
    let served = Served::new(instant()).await;
    let first = served.get(&Served::nic()).await;
    let etag = first.header("etag").expect("an etag").to_owned();
    assert_eq!(first.body["etag"], etag.as_str());
    let changed = with(&first.body, &[("one", None)]);
    assert_eq!(served.put(&changed, Some(&etag)).await.status, 200);
    let late = served.put(&changed, Some(&etag)).await;
    assert_eq!(
        (late.status.as_u16(), late.code()),
        (412, "PreconditionFailed")
    );
    let detail = &late.body["error"]["details"][0]["code"];
    assert_eq!(detail, "PreconditionFailedEtagMismatch");
    served.arm.write_as_rival("node-nic");
    let now = served.get(&Served::nic()).await;
    assert_ne!(now.header("etag"), Some(etag.as_str()));
    assert_eq!(
        now.body["properties"]["ipConfigurations"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
}

#[tokio::test]
async fn a_new_configuration_has_an_address_of_the_subnet_and_a_block_is_aligned() {
    let served = Served::new(instant()).await;
    let nic = served.get(&Served::nic()).await.body;
    let added = [("one", None), ("block", Some(28))];
    assert_eq!(served.put(&with(&nic, &added), None).await.status, 200);
    let nic = served.get(&Served::nic()).await.body;
    let one = configuration(&nic, "one").expect("is there");
    assert_eq!(one["privateIPAddress"], "10.0.0.5");
    assert_eq!(one["provisioningState"], "Succeeded");
    let block = configuration(&nic, "block").expect("is there");
    assert_eq!(block["privateIPAddress"], "10.0.0.16/28");
    // A version that knows no blocks shows its first address.
    let old = served.get_by(&Served::nic(), "2023-09-01").await.body;
    let block = configuration(&old, "block").expect("is there");
    assert_eq!(block["privateIPAddress"], "10.0.0.16");
    assert_eq!(block["privateIPAddressPrefixLength"], Value::Null);
}

#[tokio::test]
async fn a_version_without_blocks_takes_a_block_for_an_address() {
    let served = Served::new(instant()).await;
    let nic = served.get(&Served::nic()).await.body;
    let changed = with(&nic, &[("block", Some(28))]);
    assert_eq!(
        served.put_by(&changed, None, "2023-09-01").await.status,
        200
    );
    let nic = served.get(&Served::nic()).await.body;
    let block = configuration(&nic, "block").expect("is there");
    assert_eq!(block["privateIPAddress"], "10.0.0.5");
}

#[tokio::test]
async fn a_nic_that_no_nic_may_be_like_is_refused_at_once() {
    let served = Served::with(instant(), |node| {
        node.security_groups = vec!["web".to_owned()];
    })
    .await;
    let nic = served.get(&Served::nic()).await.body;
    let two_primaries = {
        let mut changed = with(&nic, &[("one", None)]);
        changed["properties"]["ipConfigurations"][1]["properties"]["primary"] = json!(true);
        changed
    };
    let elsewhere = {
        let mut changed = with(&nic, &[("one", None)]);
        let other = json!({"id": "/subscriptions/s/subnets/other"});
        changed["properties"]["ipConfigurations"][1]["properties"]["subnet"] = other;
        changed
    };
    let names: Vec<String> = (0..256).map(|number| format!("c{number}")).collect();
    let many: Vec<(&str, Option<u8>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    for (body, code) in [
        (
            with(&nic, &[("a", None), ("A", None)]),
            "DuplicateResourceName",
        ),
        (
            two_primaries,
            "NetworkInterfaceMustHaveOnePrimaryIpConfiguration",
        ),
        (
            elsewhere,
            "NetworkInterfaceIpConfigurationsInDifferentSubnets",
        ),
        (
            with(&nic, &[("one", None)]),
            "NetworkInterfaceApplicationSecurityGroupsDiffer",
        ),
        (
            with(&nic, &many),
            "NetworkInterfaceIpConfigurationCountExceeded",
        ),
        (json!([]), "InvalidRequestFormat"),
    ] {
        let refused = served.put(&body, None).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, code));
    }
    assert_eq!(
        served.get(&Served::nic()).await.body,
        nic,
        "nothing was changed"
    );
}

#[tokio::test]
async fn a_block_has_28_bits_and_is_never_primary() {
    let served = Served::new(instant()).await;
    let nic = served.get(&Served::nic()).await.body;
    let refused = served.put(&with(&nic, &[("block", Some(27))]), None).await;
    assert_eq!(refused.code(), "InvalidPrivateIPAddressPrefixLength");
    let mut primary = nic.clone();
    primary["properties"]["ipConfigurations"][0]["properties"]["privateIPAddressPrefixLength"] =
        json!(28);
    let refused = served.put(&primary, None).await;
    assert_eq!(refused.code(), "PrimaryIpConfigurationCannotHavePrefix");
    served.arm.configure(|config| config.blocks = false);
    let refused = served.put(&with(&nic, &[("block", Some(28))]), None).await;
    assert_eq!(refused.code(), "SubscriptionNotRegisteredForFeature");
}
