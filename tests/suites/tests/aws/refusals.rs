//! What EC2 refuses for a while: permissions, credentials, full subnets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use serde_json::{Value, json};
use veni_cloudlab::Fill;
use veni_testbed::ec2::{fill, mend};

use crate::lives::ONE_WARM;
use crate::world::World;

#[tokio::test]
async fn a_permission_may_be_taken_away_and_given_back_while_the_daemon_runs() {
    let world = World::new("m5.large").await;
    let daemon = world.start(ONE_WARM).await;
    daemon.until_holding(1, 1, 0).await;
    let denied = world
        .site
        .fault(json!({"operations": ["mutating"], "deny": true}))
        .await;
    daemon.add("first").await.expect("there is a free address");
    let told = daemon.add("second").await.expect_err("nothing can come");
    let told = told.message;
    assert!(
        told.contains("UnauthorizedOperation") && told.contains("AssignPrivateIpAddresses"),
        "{told}"
    );
    let calls = world.site.calls().await;
    assert!(
        calls["AssignPrivateIpAddresses"] <= 3,
        "it is not asked again and again: {calls:?}"
    );
    mend(denied).await;
    daemon.retry("second").await;
    daemon.finish().await;
}

#[tokio::test]
async fn without_the_right_to_release_pods_are_still_served() {
    let world = World::new("m5.large").await;
    let daemon = world.start(ONE_WARM).await;
    let rights = ["UnassignPrivateIpAddresses", "DetachNetworkInterface"];
    let denied = world
        .site
        .fault(json!({"operations": rights, "deny": true}))
        .await;
    daemon.add_pods(0..12).await;
    daemon.del_pods(1..12).await;
    let said = "nothing goes back";
    daemon
        .until("the refusal is told", async || {
            daemon.explanation().await.contains(said)
        })
        .await;
    daemon.add_pods(12..26).await;
    mend(denied).await;
    daemon.del_pods(12..26).await;
    daemon.until_holding(1, 2, 0).await;
    daemon.finish().await;
}

/// Credentials of a role, which are renewed when they have expired.
#[derive(Debug)]
struct Role {
    old: String,
    /// When the old ones expire, as they say.
    expiry: SystemTime,
    renewed: Arc<AtomicBool>,
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let later = SystemTime::now() + Duration::from_secs(3600);
        let renewed = self.renewed.load(Ordering::Relaxed);
        let (key, expiry) = match renewed {
            true => (format!("{}-renewed", self.old), later),
            false => (self.old.clone(), self.expiry),
        };
        let credentials = Credentials::new(key, "secret", None, Some(expiry), "role");
        future::ProvideCredentials::ready(Ok::<_, CredentialsError>(credentials))
    }
}

#[tokio::test]
async fn credentials_may_expire_and_be_renewed() {
    let world = World::new("m5.large").await;
    let renewed = Arc::new(AtomicBool::new(false));
    let role = Role {
        old: world.site.access_key.clone(),
        // The SDK fetches new ones ten seconds before: after some four seconds.
        expiry: SystemTime::now() + Duration::from_secs(14),
        renewed: Arc::clone(&renewed),
    };
    let daemon = world
        .start_with(ONE_WARM, |settings| {
            let config = settings.sdk_config.take().expect("is set").into_builder();
            let role = SharedCredentialsProvider::new(role);
            settings.sdk_config = Some(config.credentials_provider(role).build());
        })
        .await;
    daemon.until_holding(1, 1, 0).await;
    world.site.fault(json!({"expired": true})).await;
    renewed.store(true, Ordering::Relaxed);
    daemon.add_pods(0..12).await;
    let old = world.site.calls().await["AssignPrivateIpAddresses"];
    assert!(old <= 6, "refused calls are not repeated at once: {old}");
    daemon.finish().await;
}

#[tokio::test]
async fn a_subnet_may_fill_up_and_have_room_again() {
    let world = World::new("m5.large").await;
    // The next try comes only after a minute, so only an inventory can tell before.
    let settings = [("WARM_IP_TARGET", "1"), ("VENI_SUBNET_RETRY", "60")];
    let daemon = world.start(&settings).await;
    daemon.until_holding(1, 1, 0).await;
    fill(&world.site.subnet, Fill::Leave(3)).await;
    daemon.add_pods(0..4).await;
    let told = daemon
        .add("one-more")
        .await
        .expect_err("the subnet is full")
        .message;
    assert!(told.contains("InsufficientFreeAddressesInSubnet"), "{told}");
    daemon.check().await;
    let before = world.site.total().await;
    fill(&world.site.subnet, Fill::Clear).await;
    daemon.retry("one-more").await;
    daemon.add_pods(4..12).await;
    let calls = world.site.total().await - before;
    assert!(calls <= 30, "{calls} calls");
    daemon.finish().await;
}

/// EC2 detaches an interface and then refuses the rest. Other interfaces serve pods that
/// start meanwhile, and the interface goes as soon as EC2 allows it.
async fn detach_that_cannot_be_finished(rule: Value) {
    let world = World::new("m5.large").await;
    let daemon = world.start(ONE_WARM).await;
    daemon.add_pods(0..12).await;
    daemon.rest().await;
    let fault = world.site.fault(rule).await;
    daemon.del_pods(2..12).await;
    let unattached = async || !world.site.unattached().await.is_empty();
    daemon
        .until("an interface is detached and not deleted", unattached)
        .await;
    let leaving = world.site.unattached().await;
    // More than the primary interface has room for.
    daemon.add_pods(12..26).await;
    daemon.check_beside(&leaving).await;
    mend(fault).await;
    let gone = async || world.site.unattached().await.is_empty();
    daemon.until("it is deleted", gone).await;
    daemon.del_pods(12..26).await;
    daemon.until_holding(1, 3, 0).await;
    daemon.finish().await;
}

#[tokio::test]
async fn an_interface_that_is_detached_serves_nobody_and_goes_when_ec2_lets_it() {
    let throttled = json!({"code": "RequestLimitExceeded", "message": "slow down", "status": 503});
    let delete = json!(["DeleteNetworkInterface"]);
    let lives = [
        json!({"operations": delete, "deny": true}),
        json!({"operations": delete, "error": throttled}),
        json!({"operations": ["DescribeNetworkInterfaces"], "error": throttled, "count": 2}),
    ]
    .map(detach_that_cannot_be_finished);
    futures::future::join_all(lives).await;
}
