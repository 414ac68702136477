//! A node that may not ask EC2: node and inventory by instance metadata alone.
//! Metadata is served on loopback; nobody listens where EC2 would be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_cloudlab::metadata::{Instance, Interface as Told, Service, Settings, View};
use veni_provider::{
    AddressSlots, ErrorClass, Family, Grant, Interface, InterfaceId, Limits, Provider,
    ProviderError,
};
use veni_provider_aws::{AwsProvider, AwsSettings, TypeFacts};

/// The node's own address, which it asks from.
const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn all<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// An interface at a device index of card 0, with addresses of 10.0.0.0/24.
fn told(device_index: u8, ipv4: &[&str]) -> Told {
    let mac = format!("0e:00:00:00:00:{device_index:02x}");
    let id = format!("eni-{device_index}");
    let mut told = Told::new(&id, mac.parse().unwrap(), device_index.into());
    told.subnet = "subnet-1".to_owned();
    told.subnet_cidrs = all(&["10.0.0.0/24"]);
    told.vpc = "vpc-1".to_owned();
    told.vpc_cidrs = all(&["10.0.0.0/16", "100.64.0.0/16"]);
    told.ipv4 = all(ipv4);
    told
}

/// A primary interface with a secondary address, and a second one with a prefix.
fn node() -> Instance {
    let mut second = told(1, &["10.0.0.20"]);
    second.prefixes = all(&["10.0.0.32/28"]);
    let mut instance = Instance::new("i-1", "m5.large");
    instance.options.tokens_required = true;
    instance.interfaces = vec![told(0, &[&OWN.to_string(), "10.0.0.9"]), second];
    instance
}

/// A node's metadata, and the settings of a provider that has nothing else.
struct Site {
    service: Service,
    settings: AwsSettings,
    _serving: DropGuard,
}

async fn site(instance: Instance) -> Site {
    let service = Service::new(View::of(instance), Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(service.clone().serve(listener, stop.clone()));
    let facts = TypeFacts {
        limits: Limits {
            interfaces: 3,
            ipv4_per_interface: 10,
            ipv6_per_interface: 10,
            vcpus: 2,
        },
        prefixes: true,
    };
    let settings = AwsSettings {
        metadata_only: true,
        metadata_endpoint: Some(endpoint),
        instance_types: Some(Arc::new(move |name: &str| {
            (name == "m5.large").then_some(facts)
        })),
        sdk_config: Some(no_ec2()),
        ..AwsSettings::default()
    };
    Site {
        service,
        settings,
        _serving: stop.drop_guard(),
    }
}

/// Whoever asks EC2 fails.
fn no_ec2() -> SdkConfig {
    let credentials = Credentials::new("nobody", "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url("http://127.0.0.1:1")
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl Site {
    async fn provider(&self) -> Result<AwsProvider, ProviderError> {
        AwsProvider::connect(self.settings.clone()).await
    }
}

async fn interfaces(provider: &AwsProvider) -> Vec<Interface> {
    provider.inventory().await.unwrap().interfaces
}

#[tokio::test]
async fn the_node_is_who_metadata_says() {
    let site = site(node()).await;
    let node = site.provider().await.unwrap().node().await.unwrap();
    assert_eq!(node.instance_id, "i-1");
    assert_eq!(node.instance_type, "m5.large");
    assert_eq!(node.zone, "us-east-1a");
    assert_eq!(node.limits.interfaces, 3);
    assert_eq!(texts(&node.network_cidrs), ["10.0.0.0/16", "100.64.0.0/16"]);
}

#[tokio::test]
async fn the_inventory_has_what_others_attached_and_assigned() {
    let site = site(node()).await;
    let provider = site.provider().await.unwrap();
    let inventory = provider.inventory().await.unwrap();
    let [primary, second] = inventory.interfaces.as_slice() else {
        panic!("two interfaces: {inventory:?}");
    };
    assert!(primary.primary && primary.managed);
    assert_eq!(texts(&primary.own_addresses), ["127.0.0.1"]);
    assert_eq!(texts(&primary.addresses), ["10.0.0.9"]);
    assert_eq!(texts(&primary.gateways), ["10.0.0.1"]);
    assert!(primary.prefixes.is_empty());
    assert!(!second.primary && second.managed);
    assert_eq!((second.id.as_str(), second.device_index), ("eni-1", 1));
    assert_eq!(second.mac.to_string(), "0e:00:00:00:00:01");
    assert_eq!(texts(&second.own_addresses), ["10.0.0.20"]);
    assert!(second.addresses.is_empty());
    assert_eq!(texts(&second.prefixes), ["10.0.0.32/28"]);
    let [subnet] = inventory.subnets.as_slice() else {
        panic!("one subnet: {inventory:?}");
    };
    assert_eq!((subnet.id.as_str(), subnet.usable), ("subnet-1", false));
}

#[tokio::test]
async fn single_ipv6_addresses_of_the_primary_interface_are_the_node_s_and_prefixes_are_pods() {
    let mut instance = node();
    for interface in &mut instance.interfaces {
        interface.subnet_cidrs = all(&["10.0.0.0/24", "2600:1f14:0:1::/64"]);
        interface
            .vpc_cidrs
            .extend(all::<ipnet::IpNet>(&["2600:1f14::/56"]));
    }
    instance.interfaces[0].ipv6 = all(&["2600:1f14:0:1::11", "2600:1f14:0:1::10"]);
    instance.interfaces[1].prefixes = all(&["10.0.0.32/28", "2600:1f14:0:1:1::/80"]);
    let site = site(instance).await;
    let provider = site.provider().await.unwrap();
    assert!(provider.capabilities().ipv6_prefixes);
    let ranges = provider.node().await.unwrap().network_cidrs;
    assert_eq!(texts(&ranges).last().unwrap(), "2600:1f14::/56");
    let [primary, second] = &interfaces(&provider).await[..] else {
        panic!("two interfaces");
    };
    // The instance's comes first, whatever others there are.
    assert_eq!(
        texts(&primary.own_addresses),
        ["127.0.0.1", "2600:1f14:0:1::11", "2600:1f14:0:1::10"]
    );
    assert_eq!(texts(&primary.addresses), ["10.0.0.9"]);
    assert_eq!(texts(&primary.gateways), ["10.0.0.1", "fe80:ec2::1"]);
    assert_eq!(
        texts(&second.prefixes),
        ["10.0.0.32/28", "2600:1f14:0:1:1::/80"]
    );
}

#[tokio::test]
async fn what_is_on_another_network_card_is_shown_and_left_alone() {
    let mut instance = node();
    instance.several_cards = true;
    let mut other = told(2, &["10.0.0.30", "10.0.0.31"]);
    (other.device_index, other.network_card) = (0, 1);
    instance.interfaces.insert(0, other);
    // An interface for remote memory access alone has no address at all.
    let mut bare = told(3, &[]);
    (bare.device_index, bare.network_card) = (1, 1);
    instance.interfaces.insert(0, bare);
    let site = site(instance).await;
    let found = interfaces(&site.provider().await.unwrap()).await;
    let shown = found
        .iter()
        .map(|one| (one.id.as_str(), one.network_card, one.primary, one.managed));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("eni-0", 0, true, true),
            ("eni-1", 0, false, true),
            ("eni-2", 1, false, false),
            ("eni-3", 1, false, false),
        ]
    );
}

#[tokio::test]
async fn what_others_change_is_seen_when_metadata_tells_it() {
    let site = site(node()).await;
    let provider = site.provider().await.unwrap();
    assert_eq!(interfaces(&provider).await.len(), 2);
    let mut later = node();
    later.interfaces[1] = told(2, &["10.0.0.40", "10.0.0.41"]);
    site.service.publish(View::of(later));
    let found = interfaces(&provider).await;
    assert_eq!(found[1].id.as_str(), "eni-2");
    assert_eq!(texts(&found[1].addresses), ["10.0.0.41"]);
}

#[tokio::test]
async fn an_interface_without_a_list_that_it_must_have_is_trouble_that_passes() {
    let site = site(node()).await;
    let provider = site.provider().await.unwrap();
    let lists: [fn(&mut Instance); 3] = [
        |instance| instance.interfaces[0].subnet_cidrs.clear(),
        |instance| instance.interfaces[1].ipv4.clear(),
        |instance| instance.interfaces[1].subnet_cidrs.clear(),
    ];
    for lose in lists {
        let mut later = node();
        lose(&mut later);
        site.service.publish(View::of(later));
        let error = provider.inventory().await.expect_err("it proves nothing");
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        assert!(error.to_string().contains("eni-"), "{error}");
    }
    site.service.publish(View::of(node()));
    assert_eq!(interfaces(&provider).await.len(), 2);
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_replaced() {
    let site = site(node()).await;
    let provider = site.provider().await.unwrap();
    site.service.revoke_tokens();
    let inventory = provider.inventory().await.unwrap();
    assert_eq!(inventory.interfaces.len(), 2);
}

#[tokio::test]
async fn metadata_that_is_out_of_order_is_trouble_that_passes_and_no_empty_inventory() {
    let site = site(node()).await;
    let provider = site.provider().await.unwrap();
    site.service.set_unavailable(true);
    let error = provider.inventory().await.expect_err("no answer");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    site.service.set_unavailable(false);
    assert_eq!(interfaces(&provider).await.len(), 2);
}

#[tokio::test]
async fn metadata_that_is_switched_off_is_said_to_be() {
    let mut off = node();
    off.options.enabled = false;
    let error = site(off).await.provider().await.expect_err("no metadata");
    assert!(error.to_string().contains("IMDS is disabled"), "{error}");
}

#[tokio::test]
async fn where_there_is_no_metadata_the_place_and_the_way_out_are_named() {
    let mut settings = site(node()).await.settings.clone();
    settings.metadata_endpoint = Some("http://127.0.0.1:1".to_owned());
    let error = AwsProvider::connect(settings)
        .await
        .expect_err("nobody is there");
    for part in [
        "http://127.0.0.1:1",
        "is this an EC2 instance?",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "refused",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn metadata_alone_changes_nothing() {
    let site = site(node()).await;
    let provider = site.provider().await.unwrap();
    let capabilities = provider.capabilities();
    assert!(!capabilities.attach_while_running && !capabilities.release);
    let slots = AddressSlots::Addresses {
        family: Family::V4,
        count: 1,
    };
    let interface = InterfaceId::new("eni-1");
    let before = provider.inventory().await.unwrap();
    let refusals = [
        provider.assign(&interface, slots).await.err(),
        provider.release(&interface, &Grant::default()).await.err(),
        provider.detach_interface(&interface).await.err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap().class, ErrorClass::Unsupported);
    }
    assert_eq!(provider.inventory().await.unwrap(), before);
}

#[tokio::test]
async fn metadata_alone_needs_the_type_in_the_table() {
    let mut other = node();
    other.instance_type = "m5.unheard-of".to_owned();
    let error = site(other).await.provider().await.expect_err("no facts");
    assert_eq!(error.class, ErrorClass::Fatal);
    assert!(error.to_string().contains("m5.unheard-of"), "{error}");
}
