//! Instance metadata that is fed from EC2's own Describe calls: a node that has
//! nothing else sees what a node sees that asks EC2, and its role's credentials
//! are good for EC2.

use std::sync::Arc;

use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::types::{
    HttpTokensState, InstanceMetadataEndpointState, InstanceMetadataProtocolState,
    InstanceMetadataTagsState,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_cloudlab::metadata::{Options, Role, Service, Settings, View, access_key_id, describe};
use veni_provider::{AddressSlots, AttachRequest, Family, Interface, Provider};
use veni_provider_aws::InstanceOverrides;

use super::cloud::{M5_LARGE, admin, site, tag};
use super::server::{calm, server};

async fn seen(vpc: &str) -> View {
    describe(&admin(), vpc).await.expect("a view")
}

/// Serves the first instance of a view until the guard goes; the address comes back.
async fn serve(view: View) -> (String, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let settings = Settings {
        pinned: view.instances.keys().next().cloned(),
        ..Settings::default()
    };
    tokio::spawn(Service::new(view, settings).serve(listener, stop.clone()));
    (format!("http://{address}"), stop.drop_guard())
}

/// Both tell addresses in an order of their own.
fn sorted(mut interfaces: Vec<Interface>) -> Vec<Interface> {
    for one in &mut interfaces {
        one.addresses.sort_unstable();
        one.prefixes.sort_unstable();
        // Only the tags tell.
        one.made_for_pods = false;
    }
    interfaces
}

#[tokio::test]
async fn metadata_shows_a_node_what_ec2_would() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let by_ec2 = site.provider().await;
    let slots = |family| AddressSlots::Addresses { family, count: 2 };
    let prefixes = |family| AddressSlots::Prefixes { family, count: 1 };
    let request = AttachRequest {
        subnet: None,
        slots: Some(prefixes(Family::V4)),
        token: format!("second-of-{}", site.instance),
    };
    let inventory = by_ec2.inventory().await.expect("an inventory");
    let primary = &inventory.interfaces[0].id;
    let second = by_ec2.attach_interface(&request).await;
    let second = second.expect("an interface").id;
    for (interface, slots) in [
        (primary, slots(Family::V4)),
        // The first IPv6 address of a primary interface is the node's own.
        (&second, slots(Family::V6)),
        (&second, prefixes(Family::V6)),
    ] {
        let assigned = by_ec2.assign(interface, slots).await;
        assigned.expect("must be assigned");
    }
    by_ec2.tidy().await;

    let view = seen(&site.vpc).await;
    let (endpoint, _serving) = serve(view).await;
    let mut settings = site.settings();
    settings.instance = InstanceOverrides::default();
    settings.metadata_only = true;
    settings.metadata_endpoint = Some(endpoint);
    settings.instance_types = Some(Arc::new(|_: &str| Some(M5_LARGE)));
    let by_metadata = site.provider_with(settings).await;
    let seen = by_ec2.inventory().await.expect("an inventory").interfaces;
    let told = by_metadata
        .inventory()
        .await
        .expect("an inventory")
        .interfaces;
    assert!(seen.iter().any(|one| one.made_for_pods));
    assert!(
        told.iter().all(|one| !one.made_for_pods),
        "metadata has no tags of interfaces"
    );
    assert_eq!(sorted(told), sorted(seen));
    assert_eq!(
        by_metadata.node().await.expect("a node"),
        by_ec2.node().await.expect("a node")
    );
}

#[tokio::test]
async fn what_its_owner_sets_for_metadata_and_tags_is_taken_over() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let before = seen(&site.vpc).await;
    assert_eq!(before.instances[&site.instance].options, Options::default());
    let call = admin()
        .modify_instance_metadata_options()
        .instance_id(&site.instance)
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(2)
        .http_protocol_ipv6(InstanceMetadataProtocolState::Enabled)
        .instance_metadata_tags(InstanceMetadataTagsState::Enabled);
    call.send().await.expect("must be modified");
    tag(&site.instance, "Name", "a node").await;
    let after = seen(&site.vpc).await;
    let instance = &after.instances[&site.instance];
    let expected = Options {
        enabled: true,
        ipv6: true,
        tokens_required: true,
        hop_limit: 2,
        tags: true,
    };
    assert_eq!(instance.options, expected);
    assert_eq!(instance.tags["Name"], "a node");
    assert_eq!(instance.region, "us-east-1");
}

#[tokio::test]
async fn ec2_takes_the_role_s_credentials_and_counts_them_by_their_predictable_key() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut view = seen(&site.vpc).await;
    for instance in view.instances.values_mut() {
        instance.role = Some(Role {
            name: "node".to_owned(),
            profile_arn: "arn:aws:iam::000000000000:instance-profile/node".to_owned(),
            profile_id: "AIPA1".to_owned(),
        });
    }
    let (endpoint, _serving) = serve(view).await;
    let metadata = imds::Client::builder()
        .configure(&ProviderConfig::without_region())
        .endpoint(endpoint)
        .expect("an address");
    let credentials = ImdsCredentialsProvider::builder().imds_client(metadata.build());
    let mut settings = site.settings();
    let config = settings.sdk_config.take().expect("is set").into_builder();
    let credentials = SharedCredentialsProvider::new(credentials.build());
    settings.sdk_config = Some(config.credentials_provider(credentials).build());
    let provider = site.provider_with(settings).await;
    let inventory = provider.inventory().await.expect("an inventory");
    assert_eq!(inventory.interfaces.len(), 1);
    let key = access_key_id(&site.instance);
    let counted = server().control.calls(Some(&key)).await.expect("told");
    let calls = &counted["operations"]["DescribeNetworkInterfaces"]["calls"];
    assert!(calls.as_u64().is_some_and(|calls| calls > 0), "{counted}");
}
