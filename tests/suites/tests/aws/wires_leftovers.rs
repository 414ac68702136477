//! A node whose daemon is killed between detach and delete: who removes the interface.

use veni_testbed::cloudlab::sdk::types::Filter;
use veni_testbed::ec2::tag;
use veni_testbed::traffic::{Stream, reaches};
use veni_testbed::{Bed, BedConfig, eventually};

use crate::wires::{all, end_well, until_secondary};

/// Older than any interface on its way to an instance.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// Ids of the interfaces of the VPC that are attached to nothing.
async fn unattached(bed: &Bed) -> Vec<String> {
    let filter = |name, value| Filter::builder().name(name).values(value).build();
    let call = bed.ec2().client().describe_network_interfaces();
    let call = call.filters(filter("vpc-id", bed.ec2().vpc()));
    let call = call.filters(filter("status", "available"));
    let told = call.send().await.expect("described");
    let found = told.network_interfaces().iter();
    let ids = found.filter_map(|one| one.network_interface_id());
    ids.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_s_daemon_deletes_what_another_node_s_left_between_detach_and_delete() {
    let config = BedConfig::localstack(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1")
        .set("VENI_LEAK_INTERVAL", "2");
    let bed = Bed::start(config).await;
    let (living, other) = bed.running(1, "living").await;
    let pods = until_secondary(&bed, 0, "p").await;
    let (first, added) = &pods[0];
    let stream = Stream::start(living.path(), added.address()).await;
    let rule = serde_json::json!({"operations": ["DeleteNetworkInterface"], "drop_request": true});
    let fault = bed.fault(0, rule).await;
    for (pod, _) in &pods[1..] {
        bed.del(pod).await.expect("DEL");
    }
    let left = eventually("an interface is detached and not deleted", async || {
        let left = unattached(&bed).await;
        match left.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(format!("{left:?} are unattached")),
        }
    })
    .await;
    bed.daemon(0).kill().await;
    assert_eq!(unattached(&bed).await, [left.as_str()]);
    let deletes = async || {
        let calls = bed.calls(1).await;
        calls.get("DeleteNetworkInterface").copied()
    };
    assert_eq!(deletes().await, None, "it may be on its way to an instance");

    tag(&left, "node.k8s.amazonaws.com/createdAt", LONG_AGO).await;
    eventually("it is deleted", async || {
        match unattached(&bed).await.is_empty() {
            true => Ok(()),
            false => Err(bed.daemon(1).log_tail()),
        }
    })
    .await;
    assert_eq!(deletes().await, Some(1), "by the other node's daemon");
    bed.mend(fault).await;
    bed.daemon(0).start().await;
    stream.lost_nothing().await;
    assert!(reaches(first.path(), other.address()).await);
    let pods = [pods];
    let mut everybody = all(&pods);
    everybody.push(&living);
    end_well(bed, &everybody).await;
}
