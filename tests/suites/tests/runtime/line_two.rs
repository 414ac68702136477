//! The same by containerd 2, which takes the newest version of the conflist, CNI 1.1.0, and
//! asks for STATUS when it is asked for its own.

use veni_testbed::{BedConfig, eventually};

use crate::containerd::Line;
use crate::node::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_two_nodes_have_addresses_of_the_cloud_and_talk_to_each_other() {
    crate::two_nodes_talk(Line::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_goes_on_while_ipamd_and_containerd_are_killed() {
    crate::traffic_goes_on_over_kills(Line::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_stopped_while_ipamd_is_down_gives_its_address_back_later() {
    crate::stopped_while_ipamd_is_down(Line::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_fails_while_ipamd_is_down_and_succeeds_afterwards() {
    crate::fails_while_ipamd_is_down(Line::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_port_reaches_its_pod_from_another_node() {
    crate::host_port_is_reached(Line::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_s_annotations_limit_its_bandwidth() {
    crate::annotations_limit(Line::Two).await;
}

/// Waits until the node is not ready, for the reason that the plugin gives.
async fn until_not_ready(site: &Site) {
    let reason = "the node daemon has not been ready since the node started";
    eventually("a node that is not ready", async || {
        match site.runtime(0).network_ready().await {
            Err(told) if told.contains("status: false") && told.contains(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_daemon_was_not_ready_since_it_started_is_not_ready_until_it_is() {
    let site = Site::start(Line::Two, BedConfig::new(1)).await;
    let runtime = site.runtime(0);
    let pod = site.pod(0, "one", &[]).await;
    site.bed.daemon(0).kill().await;
    // Its pods are well, and it is expected back.
    runtime.network_ready().await.expect("a restart");
    // As a boot leaves the run folder.
    let mark = site.bed.daemon(0).run_dir().join("ready");
    std::fs::remove_file(mark).expect("the daemon has been ready");
    until_not_ready(&site).await;
    site.bed.daemon(0).start().await;
    eventually("a node that is ready", async || {
        runtime.network_ready().await
    })
    .await;
    let next = site.pod(0, "two", &[]).await;
    site.end(vec![pod, next]).await;
}
