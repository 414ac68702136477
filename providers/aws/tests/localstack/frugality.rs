//! What the calls of the trait cost in calls to EC2, counted by the server.

use std::sync::{Arc, Mutex};

use serde_json::json;
use veni_provider::{AddressSlots, ErrorClass, Family, Provider, ProviderError};
use veni_provider_aws::{Action, ActionCall, ActionObserver, Undeleted};

use super::cloud::{request_for, site};
use super::server::calm;

const TWO: AddressSlots = AddressSlots::Addresses {
    family: Family::V4,
    count: 2,
};

#[tokio::test]
async fn an_interface_with_its_addresses_costs_three_calls() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    provider.inventory().await.expect("an inventory");
    let before = site.total().await;
    let made = provider.attach_interface(&request_for("three", TWO)).await;
    assert_eq!(made.expect("must attach").addresses.len(), 2);
    assert_eq!(site.total().await - before, 3, "{:?}", site.calls().await);
}

#[tokio::test]
async fn an_inventory_costs_two_calls_and_a_batch_of_addresses_one() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let connected = site.total().await;
    let inventory = provider.inventory().await.expect("an inventory");
    assert_eq!(site.total().await - connected, 2);
    let primary = inventory.interfaces[0].id.clone();
    let slots = AddressSlots::Addresses {
        family: Family::V4,
        count: 9,
    };
    let grant = provider.assign(&primary, slots).await.expect("addresses");
    assert_eq!(site.total().await - connected, 3);
    let released = provider.release(&primary, &grant).await;
    released.expect("must be released");
    assert_eq!(site.total().await - connected, 4);
}

#[tokio::test]
async fn connecting_costs_three_calls_and_one_with_what_is_known_already() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let facts = site.provider().await.node().await.expect("a node").limits;
    // The instance, its type and the VPC's ranges.
    assert_eq!(site.total().await, 3, "{:?}", site.calls().await);
    let mut settings = site.settings();
    settings.network_cidrs = vec!["10.0.0.0/16".parse().expect("a range")];
    settings.instance_types = Some(std::sync::Arc::new(move |name: &str| {
        (name == "m5.large").then_some(veni_provider_aws::TypeFacts {
            limits: facts,
            prefixes: true,
        })
    }));
    let provider = site.provider_with(settings).await;
    assert_eq!(provider.node().await.expect("a node").limits, facts);
    assert_eq!(site.total().await, 4, "{:?}", site.calls().await);
}

async fn assign_under(rule: serde_json::Value) -> (u64, Result<(), ProviderError>) {
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    let mut rule = rule;
    rule["operations"] = json!(["AssignPrivateIpAddresses"]);
    site.fault(rule).await;
    let answer = provider.assign(&inventory.interfaces[0].id, TWO).await;
    let calls = site.calls().await.get("AssignPrivateIpAddresses").copied();
    (calls.unwrap_or(0), answer.map(drop))
}

#[tokio::test]
async fn a_throttled_call_is_not_repeated() {
    let _calm = calm().await;
    let error = json!({"code": "RequestLimitExceeded", "message": "slow down", "status": 503});
    let (calls, answer) = assign_under(json!({"error": error})).await;
    let class = answer.expect_err("is throttled").class;
    assert_eq!(class, ErrorClass::Throttled { retry_after: None });
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn a_call_that_ec2_fails_at_is_not_repeated() {
    let _calm = calm().await;
    let error = json!({"code": "InternalError", "message": "sorry", "status": 500});
    let (calls, answer) = assign_under(json!({"error": error})).await;
    let class = answer.expect_err("fails").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn a_call_whose_connection_breaks_is_not_repeated() {
    let _calm = calm().await;
    for effect in ["drop_request", "lose_answer", "truncate"] {
        let (calls, answer) = assign_under(json!({effect: true})).await;
        let class = answer.expect_err("has no answer").class;
        assert_eq!(class, ErrorClass::OutcomeUnknown, "{effect}");
        assert_eq!(calls, 1, "{effect}");
    }
}

/// A call, what came of it, and HTTP's status.
type Told = (Action, Result<(), String>, Option<u16>);

/// Writes down what it is told of calls and budgets.
#[derive(Default)]
struct Notes {
    calls: Mutex<Vec<Told>>,
    budgets: Mutex<Vec<(Action, f64)>>,
}

impl ActionObserver for Notes {
    fn action(&self, call: &ActionCall<'_>) {
        let outcome = call.outcome.map_err(str::to_owned);
        let mut calls = self.calls.lock().expect("nobody panics in it");
        calls.push((call.action, outcome, call.status));
    }

    fn budget(&self, action: Action, per_second: f64) {
        let mut budgets = self.budgets.lock().expect("nobody panics in it");
        budgets.push((action, per_second));
    }

    fn not_deleted(&self, _: Undeleted, _: &ErrorClass) {}
}

#[tokio::test]
async fn a_throttled_action_gets_slower_and_all_calls_are_told_of() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let notes = Arc::new(Notes::default());
    let mut settings = site.settings();
    settings.observer = notes.clone();
    let provider = site.provider_with(settings).await;
    let inventory = provider.inventory().await.expect("an inventory");
    let told = std::mem::take(&mut *notes.budgets.lock().expect("a lock"));
    assert_eq!(told.len(), Action::ALL.len(), "all are told at the start");
    let error = json!({"code": "RequestLimitExceeded", "message": "slow down", "status": 503});
    let assign = Action::AssignPrivateIpAddresses;
    let rule = json!({"operations": [assign.label()], "count": 1, "error": error});
    site.fault(rule).await;
    let primary = &inventory.interfaces[0].id;
    provider
        .assign(primary, TWO)
        .await
        .expect_err("is throttled");
    provider.assign(primary, TWO).await.expect("passes");
    let full = told.iter().find(|(action, _)| *action == assign);
    let half = full.expect("is told").1 / 2.0;
    let changed = notes.budgets.lock().expect("a lock").clone();
    assert_eq!(changed[0], (assign, half), "{changed:?}");
    assert!(changed[1].0 == assign && changed[1].1 > half, "{changed:?}");
    let calls = notes.calls.lock().expect("a lock").clone();
    let throttled = (assign, Err("RequestLimitExceeded".to_owned()), Some(503));
    assert_eq!(calls[calls.len() - 2], throttled);
    assert_eq!(calls[calls.len() - 1], (assign, Ok(()), Some(200)));
    let counted: u64 = site.total().await;
    assert_eq!(u64::try_from(calls.len()), Ok(counted), "none is missing");
}
