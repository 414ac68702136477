//! Who the node is, by instance metadata: a stand-in that wants tokens as the
//! real service does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use veni_provider::{ErrorClass, Provider};
use veni_provider_aws::AwsProvider;

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
