//! Who the node is, by instance metadata: a stand-in that wants tokens as the
//! real service does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use veni_provider::{ErrorClass, Mac, Provider};
use veni_provider_aws::{AwsProvider, AwsSettings, Remembered, TypeLookup, resume};

use super::cloud::{M5_LARGE, Site, site};
use super::server::calm;

const TOKEN: &str = "a-token";
/// Nobody listens there: whoever asks EC2 fails.
fn nobody() -> SdkConfig {
    super::cloud::sdk_config("nobody", "127.0.0.1:1")
}

/// Paths and their answers.
#[derive(Default)]
struct Metadata {
    paths: Mutex<BTreeMap<String, String>>,
    tokens: AtomicU32,
}

impl Metadata {
    fn new(paths: BTreeMap<String, String>) -> Arc<Self> {
        Arc::new(Self {
            paths: Mutex::new(paths),
            tokens: AtomicU32::new(0),
        })
    }

    /// From now on it tells this.
    fn tell(&self, paths: BTreeMap<String, String>) {
        *self.paths.lock().expect("nobody panics in it") = paths;
    }
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
            TOKEN.to_owned(),
        )
    } else if !with_token {
        ("401 Unauthorized", "", String::new())
    } else {
        let paths = metadata.paths.lock().expect("nobody panics in it");
        match paths.get(path).cloned() {
            Some(body) => ("200 OK", "", body),
            None => ("404 Not Found", "", String::new()),
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{extra}Content-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
}

/// What metadata tells of a node of the emulated cloud.
async fn metadata_of(site: &Site) -> BTreeMap<String, String> {
    let primary = site.interfaces().await.remove(0);
    let mac = primary.mac_address.expect("it has one");
    let general = [
        ("instance-id", site.instance.as_str()),
        ("instance-type", "m5.large"),
        ("placement/availability-zone", "us-east-1a"),
        ("placement/region", "us-east-1"),
        ("mac", mac.as_str()),
    ];
    let general =
        general.map(|(what, text)| (format!("/latest/meta-data/{what}"), text.to_owned()));
    let of_primary = of_interface(
        &mac,
        &[
            ("subnet-id", site.subnet.as_str()),
            ("vpc-id", &site.vpc),
            ("vpc-ipv4-cidr-blocks", "10.0.0.0/16\n100.64.0.0/16"),
        ],
    );
    general.into_iter().chain(of_primary).collect()
}

fn table_of_m5_large() -> TypeLookup {
    Arc::new(|name: &str| (name == "m5.large").then_some(M5_LARGE))
}

#[tokio::test]
async fn the_node_finds_out_who_it_is_and_where_without_a_call_to_ec2() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let metadata = Metadata::new(metadata_of(&site).await);
    let mut settings = site.settings();
    settings.instance.instance_id = None;
    settings.instance_types = Some(table_of_m5_large());
    settings.metadata_endpoint = Some(serve(Arc::clone(&metadata)).await);
    let provider = site.provider_with(settings).await;
    let node = provider.node().await.expect("a node");
    assert_eq!(node.instance_id, site.instance);
    assert_eq!(node.instance_type, "m5.large");
    assert_eq!(node.zone, "us-east-1a");
    let ranges: Vec<String> = node.network_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/16", "100.64.0.0/16"]);
    assert_eq!(site.total().await, 0, "{:?}", site.calls().await);
    assert!(metadata.tokens.load(Ordering::Relaxed) >= 1);
    // A VPC that grows is told at the next question.
    let mut told = metadata_of(&site).await;
    let mac = told["/latest/meta-data/mac"].clone();
    let ranges = "10.0.0.0/16\n100.64.0.0/16\n100.65.0.0/16";
    told.extend(of_interface(&mac, &[("vpc-ipv4-cidr-blocks", ranges)]));
    metadata.tell(told);
    let node = provider.node().await.expect("a node");
    assert_eq!(node.network_cidrs.len(), 3);
    assert_eq!(site.total().await, 0, "{:?}", site.calls().await);
    // Twin: the server does count this node's calls.
    provider.inventory().await.expect("an inventory");
    assert_eq!(site.total().await, 2, "{:?}", site.calls().await);
}

#[tokio::test]
async fn a_type_that_the_table_lacks_is_asked_of_ec2() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.instance.instance_id = None;
    settings.instance_types = Some(Arc::new(|_: &str| None));
    settings.metadata_endpoint = Some(serve(Metadata::new(metadata_of(&site).await)).await);
    let provider = site.provider_with(settings).await;
    let node = provider.node().await.expect("a node");
    assert_eq!(node.limits.interfaces, 3);
    assert_eq!(node.limits.ipv4_per_interface, 10);
    let calls = site.calls().await;
    assert_eq!(calls.get("DescribeInstanceTypes"), Some(&1), "{calls:?}");
    assert_eq!(site.total().await, 1, "{calls:?}");
}

#[tokio::test]
async fn metadata_without_an_instance_id_is_trouble_that_passes() {
    let settings = AwsSettings {
        metadata_endpoint: Some(serve(Metadata::new(BTreeMap::new())).await),
        sdk_config: Some(nobody()),
        ..AwsSettings::default()
    };
    let error = AwsProvider::connect(settings).await.expect_err("no id");
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.to_string().contains("is not there"), "{error}");
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
            ("security-group-ids", "sg-1"),
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

fn remembered() -> Remembered {
    Remembered {
        instance_id: "i-1".to_owned(),
        instance_type: "m9.unheard".to_owned(),
        facts: M5_LARGE,
    }
}

/// A provider that starts again on a node whose EC2 nobody reaches.
async fn resumed(metadata: &Arc<Metadata>) -> Arc<dyn Provider> {
    let settings = AwsSettings {
        metadata_endpoint: Some(serve(Arc::clone(metadata)).await),
        sdk_config: Some(nobody()),
        ..AwsSettings::default()
    };
    resume(settings, remembered())
}

#[tokio::test]
async fn a_node_that_is_remembered_is_found_again_when_metadata_answers() {
    let metadata = Metadata::new(BTreeMap::new());
    let provider = resumed(&metadata).await;
    let capabilities = provider.capabilities().clone();
    assert!(capabilities.ipv4_prefixes && capabilities.attach_while_running);
    let error = provider.node().await.expect_err("nothing is told yet");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert!(provider.local_view().await.is_none());
    let mut told = two_interfaces();
    let kind = "/latest/meta-data/instance-type".to_owned();
    told.insert(kind, "m9.unheard".to_owned());
    metadata.tell(told);
    // Neither a table nor EC2 knows the type: what is remembered does.
    let node = provider.node().await.expect("a node");
    assert_eq!(node.limits, M5_LARGE.limits);
    assert!(provider.local_view().await.is_some());
}

#[tokio::test]
async fn a_journal_of_another_instance_is_refused_with_its_name() {
    let mut told = two_interfaces();
    let id = "/latest/meta-data/instance-id".to_owned();
    told.insert(id, "i-2".to_owned());
    let kind = "/latest/meta-data/instance-type".to_owned();
    told.insert(kind, "m9.unheard".to_owned());
    let provider = resumed(&Metadata::new(told)).await;
    let error = provider.inventory().await.expect_err("is another node");
    assert_eq!(error.class, ErrorClass::Fatal);
    let text = error.to_string();
    assert!(text.contains("i-1") && text.contains("i-2"), "{text}");
}

#[tokio::test]
async fn a_local_view_shows_what_metadata_tells_and_follows_it() {
    let metadata = Metadata::new(two_interfaces());
    let settings = AwsSettings {
        metadata_endpoint: Some(serve(Arc::clone(&metadata)).await),
        instance_types: Some(table_of_m5_large()),
        sdk_config: Some(nobody()),
        ..AwsSettings::default()
    };
    let provider = AwsProvider::connect(settings).await.expect("must connect");
    let view = provider.local_view().await.expect("a view");
    let ranges = |mac: &str| -> Vec<String> {
        let mac: Mac = mac.parse().expect("a mac");
        view.interfaces[&mac]
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let of_primary = [
        "10.0.0.7/32",
        "10.0.0.9/32",
        "2600:1f14::10/128",
        "2600:1f14::11/128",
    ];
    assert_eq!(ranges(PRIMARY), of_primary);
    assert_eq!(ranges(SECOND), ["10.0.0.20/32", "10.0.0.32/28"]);
    assert_eq!(
        view.marks.iter().collect::<Vec<_>>(),
        ["10.0.0.0/16", "sg-1"]
    );
    assert_eq!(provider.local_view().await.as_ref(), Some(&view));
    let mut told = two_interfaces();
    told.extend(of_interface(
        SECOND,
        &[("local-ipv4s", "10.0.0.20\n10.0.0.21")],
    ));
    metadata.tell(told);
    assert_ne!(provider.local_view().await, Some(view));
    metadata.tell(BTreeMap::new());
    assert_eq!(provider.local_view().await, None);
}

#[tokio::test]
async fn an_instance_that_is_named_gets_no_local_view_through_anothers_metadata() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.metadata_endpoint = Some(serve(Metadata::new(two_interfaces())).await);
    let provider = site.provider_with(settings).await;
    assert_eq!(provider.local_view().await, None);
}
