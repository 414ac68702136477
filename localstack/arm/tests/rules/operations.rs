//! Writes that end later, and what subnets have left.

use std::time::Duration;

use serde_json::{Value, json};
use veni_arm::{Config, PollingStyle};

use super::client::{Served, instant};
use super::in_process::{InProcess, MOMENT};
use super::{configuration, with};

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
async fn used(node: &InProcess) -> f64 {
    let path = Served::path("Microsoft.Network/virtualNetworks/network/usages");
    let usages = node.get(&path).await;
    let usage = &usages["value"][0];
    assert_eq!(
        usage["limit"], 4091.0,
        "five addresses of a subnet are Azure's"
    );
    usage["currentValue"].as_f64().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_stays_taken_for_a_while() {
    let lag = Duration::from_millis(500);
    let node = InProcess::new(Config {
        release_lag: lag,
        ..instant()
    })
    .await;
    let uses = async |expected: f64| (used(&node).await - expected).abs() < f64::EPSILON;
    let nic = node.get(&Served::nic()).await;
    assert!(uses(1.0).await);
    let added = [("one", None), ("block", Some(28))];
    node.put(&with(&nic, &added)).await;
    assert!(uses(18.0).await);
    node.put(&nic).await;
    assert!(uses(18.0).await);
    tokio::time::sleep(lag - MOMENT).await;
    assert!(uses(18.0).await, "not yet");
    tokio::time::sleep(MOMENT).await;
    assert!(uses(1.0).await);
}

/// The states of the NIC and of its configurations.
async fn states(served: &Served) -> (String, Vec<String>) {
    let nic = served.get(&Served::nic()).await.body;
    let of = |properties: &Value| {
        let state = properties["provisioningState"].as_str();
        state.expect("a state").to_owned()
    };
    let all = nic["properties"]["ipConfigurations"].as_array();
    let all = all.expect("a list").iter();
    let all = all.map(|one| of(&one["properties"])).collect();
    (of(&nic["properties"]), all)
}

#[tokio::test]
async fn all_configurations_show_the_nic_s_state_where_that_is_so() {
    for alike in [false, true] {
        let served = Served::new(Config {
            all_show_the_nic_s_state: alike,
            ..instant()
        })
        .await;
        let nic = served.get(&Served::nic()).await.body;
        served.arm.fill("nodes-a", 0).expect("is there");
        served.put(&with(&nic, &[("one", None)]), None).await;
        let primary = if alike { "Failed" } else { "Succeeded" };
        let expected = (
            "Failed".to_owned(),
            vec![primary.to_owned(), "Failed".to_owned()],
        );
        assert_eq!(states(&served).await, expected);

        let lasting = Duration::from_secs(600);
        served
            .arm
            .configure(|config| config.operation_time = lasting);
        served.put(&nic, None).await;
        let (state, all) = states(&served).await;
        let primary = if alike { "Updating" } else { "Succeeded" };
        assert_eq!((state.as_str(), all[0].as_str()), ("Updating", primary));
    }
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
