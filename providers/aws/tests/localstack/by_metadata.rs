//! A node that sees itself by instance metadata alone, fed from EC2's own
//! Describe calls, sees what a node sees that asks EC2.

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use veni_cloudlab::metadata::{Service, Settings, access_key_id, describe};
use veni_provider::{AddressSlots, AttachRequest, Family, Interface, Provider};

use super::cloud::{admin, site};
use super::server::calm;

/// Apart from what metadata cannot know.
fn comparable(interfaces: Vec<Interface>) -> Vec<Interface> {
    let sorted = |mut one: Interface| {
        one.addresses.sort_unstable();
        one.prefixes.sort_unstable();
        one
    };
    interfaces.into_iter().map(sorted).collect()
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

    let view = describe(&admin()).await.expect("a view").of_vpc(&site.vpc);
    let settings = Settings {
        pinned: Some(site.instance.clone()),
        ..Settings::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let _serving = stop.clone().drop_guard();
    tokio::spawn(Service::new(view.clone(), settings).serve(listener, stop));

    let mut settings = site.settings();
    settings.instance = veni_provider_aws::InstanceOverrides::default();
    settings.metadata_only = true;
    settings.metadata_endpoint = Some(endpoint);
    settings.instance_types = Some(std::sync::Arc::new(|_: &str| {
        Some(veni_provider_aws::TypeFacts {
            limits: veni_provider::Limits {
                interfaces: 3,
                ipv4_per_interface: 10,
                ipv6_per_interface: 10,
                vcpus: 2,
            },
            prefixes: true,
        })
    }));
    let by_metadata = site.provider_with(settings).await;
    let (seen, told) = (by_ec2.inventory().await, by_metadata.inventory().await);
    assert_eq!(
        comparable(told.expect("an inventory").interfaces),
        comparable(seen.expect("an inventory").interfaces)
    );
    assert_eq!(
        by_metadata.node().await.expect("a node"),
        by_ec2.node().await.expect("a node")
    );
    let instance = &view.instances[&site.instance];
    assert_eq!(
        (instance.region.as_str(), instance.account.len()),
        ("us-east-1", 12)
    );
    assert!(access_key_id(&instance.id).starts_with("ASIA"));
}
