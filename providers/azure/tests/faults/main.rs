//! What goes wrong with the real thing: error codes at once and at an operation's end, lost
//! answers, other writers, tokens that expire, a daemon that begins anew.

#[path = "../fake/mod.rs"]
mod fake;
mod identity;
mod refusals;
mod states;
mod writers;

use std::collections::BTreeSet;

use veni_arm::{Config, Matcher, Request};
use veni_provider::{
    AddressSlots, ErrorClass, Family, Interface, InterfaceId, Provider, ProviderError, SlotKind,
};
use veni_provider_azure::AzureProvider;

use fake::Cloud;

fn cloud() -> Cloud {
    Cloud::new(Config::default())
}

fn addresses(count: u32) -> AddressSlots {
    AddressSlots::new(Family::V4, SlotKind::Address, count)
}

fn blocks(count: u32) -> AddressSlots {
    AddressSlots::new(Family::V4, SlotKind::Prefix, count)
}

fn writes() -> Matcher {
    Matcher::new("PUT", "networkInterfaces")
}

async fn nic(provider: &AzureProvider) -> Interface {
    let inventory = provider.inventory().await.expect("must answer");
    inventory.interfaces[0].clone()
}

async fn id(provider: &AzureProvider) -> InterfaceId {
    nic(provider).await.id
}

fn class<T: std::fmt::Debug>(answer: Result<T, ProviderError>) -> ErrorClass {
    answer.expect_err("must fail").class
}

/// The NIC as ARM shows it, asked for without the provider.
async fn shown(cloud: &Cloud, nic: &str) -> serde_json::Value {
    let token = Request {
        method: "GET".to_owned(),
        path: "/metadata/identity/oauth2/token".to_owned(),
        query: "api-version=2018-02-01&resource=x".to_owned(),
        headers: [("metadata".to_owned(), "true".to_owned())].into(),
        ..Request::default()
    };
    let machine = nic.trim_end_matches("-nic");
    let answer = cloud
        .arm
        .handle_metadata(machine, &token)
        .await
        .expect("an answer");
    let token: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let bearer = format!(
        "Bearer {}",
        token["access_token"].as_str().expect("a token")
    );
    let group = "/subscriptions/5a0e0b7c-4d4e-4f6a-9f0d-000000000001/resourceGroups/rg";
    let request = Request {
        method: "GET".to_owned(),
        path: format!("{group}/providers/Microsoft.Network/networkInterfaces/{nic}"),
        query: "api-version=2024-05-01".to_owned(),
        headers: [("authorization".to_owned(), bearer)].into(),
        ..Request::default()
    };
    let answer = cloud.arm.handle(&request).await.expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn names(nic: &serde_json::Value) -> BTreeSet<String> {
    let all = nic["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list");
    let name = |one: &serde_json::Value| one["name"].as_str().expect("a name").to_owned();
    all.iter().map(name).collect()
}
