//! Who the node is, by instance metadata and one Describe.

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_cloudlab::metadata::{Instance, Interface, Service, Settings, View};
use veni_provider::{ErrorClass, Provider};
use veni_provider_aws::AwsProvider;

use super::cloud::site;
use super::server::calm;

/// Serves the first instance of a view until the guard goes; the address comes back.
pub(crate) async fn serve(view: View) -> (String, DropGuard) {
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

#[tokio::test]
async fn the_node_finds_out_who_it_is_and_where() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mac = site.interfaces().await[0].mac_address.clone();
    let mac = mac.expect("it has one").parse().expect("a good one");
    let mut interface = Interface::new("eni-1", mac, 0);
    interface.vpc_cidrs = ["10.0.0.0/16", "100.64.0.0/16"]
        .map(|range| range.parse().expect("a range"))
        .to_vec();
    let mut instance = Instance::new(&site.instance, "asked of EC2");
    instance.options.tokens_required = true;
    instance.interfaces = vec![interface];
    let (endpoint, _serving) = serve(View::of(instance)).await;
    let mut settings = site.settings();
    settings.instance.instance_id = None;
    settings.metadata_endpoint = Some(endpoint);
    let provider = site.provider_with(settings).await;
    let node = provider.node().await.expect("a node");
    assert_eq!(node.instance_id, site.instance);
    assert_eq!(node.instance_type, "m5.large");
    assert_eq!(node.zone, "us-east-1a");
    let ranges: Vec<String> = node.network_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/16", "100.64.0.0/16"]);
    assert!(!site.calls().await.contains_key("DescribeVpcs"));
}

#[tokio::test]
async fn metadata_without_an_instance_id_is_trouble_that_passes() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let (endpoint, _serving) = serve(View::default()).await;
    let mut settings = site.settings();
    settings.instance.instance_id = None;
    settings.metadata_endpoint = Some(endpoint);
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
