//! Who the node is, by instance metadata: a stand-in that wants tokens as the
//! real service does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use veni_provider::{AddressSlots, ErrorClass, Family, Limits, Provider};
use veni_provider_aws::{AwsProvider, AwsSettings, TypeFacts};

use super::cloud::site;
use super::server::calm;

const TOKEN: &str = "a-token";

/// Paths and their answers.
struct Metadata {
    paths: BTreeMap<String, String>,
    tokens: AtomicU32,
}

/// Serves until the test's runtime ends; the address comes back.
async fn serve(metadata: Arc<Metadata>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&metadata)));
        }
    });
    format!("http://{address}")
}

async fn answer(mut stream: TcpStream, metadata: Arc<Metadata>) {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let with_token = request.contains(&format!("x-aws-ec2-metadata-token: {TOKEN}"));
    let (status, extra, body) = if request.starts_with("put /latest/api/token ") {
        metadata.tokens.fetch_add(1, Ordering::Relaxed);
        (
            "200 OK",
            "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
            TOKEN,
        )
    } else if !with_token {
        ("401 Unauthorized", "", "")
    } else {
        match metadata.paths.get(path) {
            Some(body) => ("200 OK", "", body.as_str()),
            None => ("404 Not Found", "", ""),
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{extra}Content-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
}

#[tokio::test]
async fn the_node_finds_out_who_it_is_and_where() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mac = site.interfaces().await[0].mac_address.clone();
    let mac = mac.expect("it has one");
    let vpc = format!("/latest/meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks");
    let metadata = Arc::new(Metadata {
        paths: BTreeMap::from([
            (
                "/latest/meta-data/instance-id".to_owned(),
                site.instance.clone(),
            ),
            (vpc, "10.0.0.0/16\n100.64.0.0/16".to_owned()),
        ]),
        tokens: AtomicU32::new(0),
    });
    let mut settings = site.settings();
    settings.instance.instance_id = None;
    settings.metadata_endpoint = Some(serve(Arc::clone(&metadata)).await);
    let provider = site.provider_with(settings).await;
    let node = provider.node().await.expect("a node");
    assert_eq!(node.instance_id, site.instance);
    assert_eq!(node.instance_type, "m5.large");
    assert_eq!(node.zone, "us-east-1a");
    let ranges: Vec<String> = node.network_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/16", "100.64.0.0/16"]);
    assert!(!site.calls().await.contains_key("DescribeVpcs"));
    assert!(metadata.tokens.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn metadata_without_an_instance_id_is_trouble_that_passes() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let metadata = Metadata {
        paths: BTreeMap::new(),
        tokens: AtomicU32::new(0),
    };
    let mut settings = site.settings();
    settings.instance.instance_id = None;
    settings.metadata_endpoint = Some(serve(Arc::new(metadata)).await);
    let error = AwsProvider::connect(settings).await.expect_err("no id");
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.to_string().contains("instance-id"), "{error}");
}

#[tokio::test]
async fn an_instance_that_ec2_does_not_know_is_fatal() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.instance.instance_id = Some("i-0123456789abcdef0".to_owned());
    let error = AwsProvider::connect(settings).await.expect_err("no such");
    assert_eq!(error.class, ErrorClass::Fatal, "{error}");
}

const PRIMARY: &str = "0e:00:00:00:00:01";
const SECOND: &str = "0e:00:00:00:00:02";

fn of_interface(mac: &str, told: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = |what: &str| format!("/latest/meta-data/network/interfaces/macs/{mac}/{what}");
    let paths = told.iter();
    paths
        .map(|(what, text)| (path(what), (*text).to_owned()))
        .collect()
}

fn two_interfaces() -> BTreeMap<String, String> {
    let general = [
        ("instance-id", "i-1"),
        ("instance-type", "m5.large"),
        ("placement/availability-zone", "us-east-1a"),
        ("mac", PRIMARY),
        ("ipv6", "2600:1f14::10"),
        (
            "network/interfaces/macs/",
            "0e:00:00:00:00:02/\n0e:00:00:00:00:01/",
        ),
    ];
    let general =
        general.map(|(what, text)| (format!("/latest/meta-data/{what}"), text.to_owned()));
    let primary = of_interface(
        PRIMARY,
        &[
            ("interface-id", "eni-1"),
            ("device-number", "0"),
            ("subnet-id", "subnet-1"),
            ("vpc-id", "vpc-1"),
            ("vpc-ipv4-cidr-blocks", "10.0.0.0/16"),
            ("subnet-ipv4-cidr-block", "10.0.0.0/24"),
            ("subnet-ipv6-cidr-blocks", "2600:1f14::/64"),
            ("local-ipv4s", "10.0.0.9\n10.0.0.7"),
            ("ipv6s", "2600:1f14::10\n2600:1f14::11"),
        ],
    );
    let second = of_interface(
        SECOND,
        &[
            ("interface-id", "eni-2"),
            ("device-number", "1"),
            ("subnet-id", "subnet-1"),
            ("subnet-ipv4-cidr-block", "10.0.0.0/24"),
            ("local-ipv4s", "10.0.0.20"),
            ("ipv4-prefix", "10.0.0.32/28"),
        ],
    );
    general.into_iter().chain(primary).chain(second).collect()
}

async fn by_metadata_alone(known_type: bool) -> Result<AwsProvider, veni_provider::ProviderError> {
    let metadata = Metadata {
        paths: two_interfaces(),
        tokens: AtomicU32::new(0),
    };
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
        metadata_endpoint: Some(serve(Arc::new(metadata)).await),
        instance_types: Some(Arc::new(move |_: &str| known_type.then_some(facts))),
        // Nobody listens: whoever asks EC2 fails.
        sdk_config: Some(super::cloud::sdk_config("nobody", "127.0.0.1:1")),
        ..AwsSettings::default()
    };
    AwsProvider::connect(settings).await
}

#[tokio::test]
async fn metadata_alone_tells_what_others_have_attached_and_assigned() {
    let provider = by_metadata_alone(true).await.expect("must connect");
    let node = provider.node().await.expect("a node");
    assert_eq!(
        (node.instance_id.as_str(), node.zone.as_str()),
        ("i-1", "us-east-1a")
    );
    assert_eq!(node.network_cidrs.len(), 1);
    let inventory = provider.inventory().await.expect("an inventory");
    let [primary, second] = inventory.interfaces.as_slice() else {
        panic!("two interfaces: {inventory:?}");
    };
    let texts = |addresses: &[std::net::IpAddr]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    assert!(primary.primary && primary.managed && second.managed);
    assert_eq!(texts(&primary.own_addresses), ["10.0.0.9", "2600:1f14::10"]);
    assert_eq!(texts(&primary.addresses), ["10.0.0.7", "2600:1f14::11"]);
    assert_eq!(texts(&primary.gateways), ["10.0.0.1", "fe80:ec2::1"]);
    assert_eq!(second.id.as_str(), "eni-2");
    assert_eq!(second.prefixes.len(), 1);
    assert_eq!(inventory.subnets.len(), 1);
}

#[tokio::test]
async fn metadata_alone_changes_nothing() {
    let provider = by_metadata_alone(true).await.expect("must connect");
    let capabilities = provider.capabilities();
    assert!(!capabilities.attach_while_running && !capabilities.release);
    let slots = AddressSlots::Addresses {
        family: Family::V4,
        count: 1,
    };
    let interface = veni_provider::InterfaceId::new("eni-1");
    let answer = provider.assign(&interface, slots).await;
    assert_eq!(
        answer.expect_err("is refused").class,
        ErrorClass::Unsupported
    );
    let answer = provider.detach_interface(&interface).await;
    assert_eq!(
        answer.expect_err("is refused").class,
        ErrorClass::Unsupported
    );
}

#[tokio::test]
async fn metadata_alone_needs_the_type_in_the_table() {
    let error = by_metadata_alone(false)
        .await
        .expect_err("not in the table");
    assert_eq!(error.class, ErrorClass::Fatal);
    assert!(error.to_string().contains("m5.large"), "{error}");
}
