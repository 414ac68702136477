//! Each rule of the fake Resource Manager, by a plain HTTP client.

use std::time::Duration;

use serde_json::{Value, json};
use veni_arm::{Bucket, Buckets, Config, PollingStyle};

mod client;

use client::{Served, instant};

/// A NIC as it was read, with configurations added by name: `None` is a single address, a
/// length a block.
fn with(nic: &Value, added: &[(&str, Option<u8>)]) -> Value {
    let mut changed = nic.clone();
    let subnet = nic["properties"]["ipConfigurations"][0]["properties"]["subnet"].clone();
    let all = changed["properties"]["ipConfigurations"]
        .as_array_mut()
        .expect("a list");
    for (name, length) in added {
        let mut properties = json!({"primary": false, "subnet": subnet});
        if let Some(length) = length {
            properties["privateIPAddressPrefixLength"] = json!(length);
        }
        all.push(json!({"name": name, "properties": properties}));
    }
    changed
}

fn configuration<'a>(nic: &'a Value, name: &str) -> Option<&'a Value> {
    let all = nic["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list");
    all.iter()
        .find(|one| one["name"] == name)
        .map(|one| &one["properties"])
}

#[tokio::test]
async fn a_request_needs_a_token_that_is_good() {
    let mut served = Served::new(instant()).await;
    let path = format!("{}?api-version=2024-05-01", Served::nic());
    let missing = served.bare("GET", &path, &[]).await;
    assert_eq!(
        (missing.status.as_u16(), missing.code()),
        (401, "AuthenticationFailed")
    );
    let wrong = served
        .bare("GET", &path, &[("Authorization", "Bearer x")])
        .await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code()),
        (401, "InvalidAuthenticationToken")
    );
    assert_eq!(served.get(&Served::nic()).await.status, 200);
    served.arm.expire_tokens();
    let expired = served.get(&Served::nic()).await;
    assert_eq!(
        (expired.status.as_u16(), expired.code()),
        (401, "ExpiredAuthenticationToken")
    );
    served.renew().await;
    assert_eq!(served.get(&Served::nic()).await.status, 200);
}

#[tokio::test]
async fn a_request_needs_a_version_of_the_api() {
    let served = Served::new(instant()).await;
    let bearer = format!("Bearer {}", served.token);
    let headers = [("Authorization", bearer.as_str())];
    let missing = served.bare("GET", &Served::nic(), &headers).await;
    assert_eq!(
        (missing.status.as_u16(), missing.code()),
        (400, "MissingApiVersionParameter")
    );
    for version in ["tomorrow", "2010-01-01", "20240501"] {
        let invalid = served.get_by(&Served::nic(), version).await;
        let seen = (invalid.status.as_u16(), invalid.code());
        assert_eq!(seen, (400, "InvalidApiVersionParameter"), "{version}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_case_does_not_matter() {
    let served = Served::new(instant()).await;
    let nobody = Served::path("Microsoft.Network/networkInterfaces/nobody");
    let answer = served.get(&nobody).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (404, "ResourceNotFound")
    );
    assert_eq!(served.get(&Served::nic().to_uppercase()).await.status, 200);
    let machine = Served::path("Microsoft.Compute/virtualMachines/node");
    let answer = served.get(&machine).await;
    let nic = &answer.body["properties"]["networkProfile"]["networkInterfaces"][0]["id"];
    assert_eq!(nic, Served::nic().as_str());
}

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

/// Asks an operation until it has ended.
async fn ended(served: &Served, url: &str) -> Value {
    for _ in 0..1_000 {
        let answer = served.follow(url).await;
        if answer.body["status"] != "InProgress" {
            return answer.body;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{url} never ended");
}

#[tokio::test]
async fn a_full_subnet_shows_when_the_operation_ends() {
    let served = Served::new(Config {
        operation_time: Duration::from_millis(100),
        ..instant()
    })
    .await;
    served.arm.fragment("nodes-a").expect("is there");
    let nic = served.get(&Served::nic()).await.body;
    let accepted = served.put(&with(&nic, &[("block", Some(28))]), None).await;
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.body["properties"]["provisioningState"], "Updating");
    let url = accepted
        .header("azure-asyncoperation")
        .expect("a URL")
        .to_owned();
    let failed = ended(&served, &url).await;
    assert_eq!(failed["status"], "Failed");
    assert_eq!(failed["error"]["code"], "InsufficientCidrBlocks");

    served.arm.fill("nodes-a", 0).expect("is there");
    let nic = served.get(&Served::nic()).await.body;
    assert_eq!(nic["properties"]["provisioningState"], "Failed");
    let accepted = served.put(&with(&nic, &[("one", None)]), None).await;
    let url = accepted
        .header("azure-asyncoperation")
        .expect("a URL")
        .to_owned();
    assert_eq!(ended(&served, &url).await["error"]["code"], "SubnetIsFull");
    // What failed stays without an address, and what was there is there.
    let nic = served.get(&Served::nic()).await.body;
    let left = configuration(&nic, "one").expect("is there");
    assert_eq!(left["provisioningState"], "Failed");
    assert_eq!(left["privateIPAddress"], Value::Null);
    let primary = configuration(&nic, "ipconfig1").expect("is there");
    assert_eq!(primary["privateIPAddress"], "10.0.0.4");
}

#[tokio::test]
async fn while_a_write_runs_the_nic_is_updating_and_takes_no_other() {
    let served = Served::new(Config {
        operation_time: Duration::from_secs(600),
        ..instant()
    })
    .await;
    let nic = served.get(&Served::nic()).await.body;
    let changed = with(&nic, &[("one", None)]);
    let accepted = served.put(&changed, None).await;
    assert!(accepted.header("retry-after").is_some());
    let shown = served.get(&Served::nic()).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Updating");
    let new = configuration(&shown, "one").expect("shows at once");
    assert_eq!(new["privateIPAddress"], Value::Null);
    let second = served.put(&changed, None).await;
    let code = "RetryableErrorDueToAnotherOperation";
    assert_eq!((second.status.as_u16(), second.code()), (429, code));
    assert!(second.header("retry-after").is_some());
}

#[tokio::test]
async fn an_operation_is_asked_about_by_location_where_that_is_the_style() {
    let served = Served::new(Config {
        operation_time: Duration::from_millis(300),
        polling: PollingStyle::Location,
        ..instant()
    })
    .await;
    let nic = served.get(&Served::nic()).await.body;
    let accepted = served.put(&with(&nic, &[("one", None)]), None).await;
    assert_eq!(accepted.status, 202);
    let url = accepted.header("location").expect("a URL").to_owned();
    let mut answer = served.follow(&url).await;
    for _ in 0..1_000 {
        if answer.status != 202 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = served.follow(&url).await;
    }
    assert_eq!(answer.status, 200);
    assert!(configuration(&answer.body, "one").is_some());
    served.arm.forget_operations();
    assert_eq!(served.follow(&url).await.status, 404);
}

#[tokio::test]
async fn a_static_address_must_be_free() {
    let served = Served::new(instant()).await;
    let nic = served.get(&Served::nic()).await.body;
    let fixed = |address: &str| {
        let mut changed = with(&nic, &[("fixed", None)]);
        let properties = &mut changed["properties"]["ipConfigurations"][1]["properties"];
        properties["privateIPAllocationMethod"] = json!("Static");
        properties["privateIPAddress"] = json!(address);
        changed
    };
    let taken = served.put(&fixed("10.0.0.4"), None).await;
    let url = taken
        .header("azure-asyncoperation")
        .expect("a URL")
        .to_owned();
    assert_eq!(
        ended(&served, &url).await["error"]["code"],
        "PrivateIPAddressIsAllocated"
    );
    assert_eq!(served.put(&fixed("10.0.0.99"), None).await.status, 200);
    let nic = served.get(&Served::nic()).await.body;
    let fixed = configuration(&nic, "fixed").expect("is there");
    assert_eq!(fixed["privateIPAddress"], "10.0.0.99");
}

/// How much of the first subnet is used.
async fn used(served: &Served) -> f64 {
    let path = Served::path("Microsoft.Network/virtualNetworks/network/usages");
    let usages = served.get(&path).await.body;
    let usage = &usages["value"][0];
    assert_eq!(
        usage["limit"], 4091.0,
        "five addresses of a subnet are Azure's"
    );
    usage["currentValue"].as_f64().expect("a number")
}

#[tokio::test]
async fn what_is_given_back_stays_taken_for_a_while() {
    let served = Served::new(Config {
        release_lag: Duration::from_millis(500),
        ..instant()
    })
    .await;
    let nic = served.get(&Served::nic()).await.body;
    assert!((used(&served).await - 1.0).abs() < f64::EPSILON);
    let added = [("one", None), ("block", Some(28))];
    served.put(&with(&nic, &added), None).await;
    assert!((used(&served).await - 18.0).abs() < f64::EPSILON);
    served.put(&nic, None).await;
    for _ in 0..1_000 {
        if (used(&served).await - 1.0).abs() < f64::EPSILON {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never became free");
}

#[tokio::test]
async fn a_bucket_that_is_empty_refuses_and_says_for_how_long() {
    let slow = Bucket {
        burst: 2,
        per_second: 0.01,
    };
    let served = Served::new(Config {
        buckets: Some(Buckets {
            reads: slow,
            ..Buckets::default()
        }),
        ..instant()
    })
    .await;
    let first = served.get(&Served::nic()).await;
    let left = first.header("x-ms-ratelimit-remaining-subscription-reads");
    assert_eq!(left, Some("1"));
    assert_eq!(served.get(&Served::nic()).await.status, 200);
    let refused = served.get(&Served::nic()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (429, "TooManyRequests")
    );
    let wait = refused
        .header("retry-after")
        .and_then(|text| text.parse::<u64>().ok());
    assert!(
        wait.is_some_and(|seconds| (1..=100).contains(&seconds)),
        "{wait:?}"
    );
    // Writes have a bucket of their own.
    assert_eq!(served.put(&first.body, None).await.status, 200);
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let served = Served::new(Config {
        page: 2,
        ..instant()
    })
    .await;
    for name in ["a", "b", "c", "d"] {
        let node = veni_arm::NodeConfig::new(name, "nodes-a");
        served.arm.add_node(node).expect("there is room");
    }
    let path = Served::path("Microsoft.Network/networkInterfaces");
    let mut page = served.get(&path).await.body;
    let mut names = Vec::new();
    loop {
        let all = page["value"].as_array().expect("a list");
        assert!(all.len() <= 2);
        names.extend(
            all.iter()
                .filter_map(|nic| nic["name"].as_str().map(str::to_owned)),
        );
        let Some(next) = page["nextLink"].as_str().map(str::to_owned) else {
            break;
        };
        page = served.follow(&next).await.body;
    }
    assert_eq!(names, ["a-nic", "b-nic", "c-nic", "d-nic", "node-nic"]);
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let served = Served::new(instant()).await;
    let nic = served.get(&Served::nic()).await.body;
    served.arm.deny("Microsoft.Network/networkInterfaces/write");
    let refused = served.put(&nic, None).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "AuthorizationFailed")
    );
    served.arm.allow_all();
    let join = "Microsoft.Network/virtualNetworks/subnets/join/action";
    served.arm.deny(join);
    let refused = served.put(&nic, None).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "LinkedAuthorizationFailed")
    );
    let message = refused.body["error"]["message"].as_str().expect("a text");
    assert!(message.contains(join), "{message}");
}

#[tokio::test]
async fn a_network_shows_its_peerings_and_its_subnets() {
    let served = Served::new(Config {
        peered: vec!["10.9.0.0/16".parse().expect("a range")],
        ..instant()
    })
    .await;
    let path = Served::path("Microsoft.Network/virtualNetworks/network");
    let network = served.get(&path).await.body["properties"].clone();
    assert_eq!(
        network["addressSpace"]["addressPrefixes"],
        json!(["10.0.0.0/16"])
    );
    let peering = &network["virtualNetworkPeerings"][0]["properties"];
    assert_eq!(
        peering["remoteAddressSpace"]["addressPrefixes"],
        json!(["10.9.0.0/16"])
    );
    assert_eq!(
        network["subnets"][0]["properties"]["addressPrefix"],
        "10.0.0.0/20"
    );
    let subnet = served.get(&format!("{path}/subnets/nodes-b")).await.body;
    assert_eq!(subnet["properties"]["addressPrefix"], "10.0.16.0/20");
}

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
