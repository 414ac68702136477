//! Accounts with very many interfaces, which EC2 describes in pages or by fast
//! filters alone.

use serde_json::json;
use veni_provider::Provider;

use super::cloud::{admin, mend, request, settled, site};
use super::leftovers::leaked;
use super::server::knobs;

#[tokio::test]
async fn every_look_at_interfaces_passes_where_there_are_very_many() {
    let _knobs = knobs(json!({"interfaces_without_paging": 0})).await;
    let site = site("m5.large").await;
    let refused = admin().describe_network_interfaces().send().await;
    refused.expect_err("the rule is in force");
    let provider = site.provider().await;
    provider.inventory().await.expect("an inventory");
    let made = provider.attach_interface(&request("second")).await;
    let made = made.expect("must attach");
    // Looks for what a process before left, then after what it has found.
    settled().await;
    provider.tidy().await;
    let operations = ["AttachNetworkInterface", "DeleteNetworkInterface"];
    let fault = site
        .fault(json!({"operations": operations, "deny": true}))
        .await;
    let answer = provider.attach_interface(&request("stuck")).await;
    answer.expect_err("cannot be undone");
    mend(fault).await;
    settled().await;
    provider.tidy().await;
    assert_eq!(site.unattached().await, [""; 0], "the leftover is gone");
    // Waits for the detachment, of an interface that is known and of one that is not.
    provider.detach_interface(&made.id).await.expect("must go");
    let by_hand = site.foreign(Some(1)).await;
    provider.detach_interface(&by_hand).await.expect("must go");
    assert_eq!(site.interfaces().await.len(), 1);
    let dead = leaked(&site, "aws-K8S-i-gone", Some("2020-01-02T03:04:05Z")).await;
    provider.clean_leaks().await.expect("must look");
    assert_eq!(site.interfaces().await.len(), 1, "{dead} was leaked");
}
