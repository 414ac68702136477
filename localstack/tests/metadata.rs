//! Instance metadata as a client on loopback meets it: over connections of its
//! own, with requests that are written out by hand, and with Amazon's SDK.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "metadata/sdk.rs"]
#[cfg(feature = "aws")]
mod sdk;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_cloudlab::metadata::{Instance, Interface, Role, Service, Settings, View};

/// Long enough for anything that will happen at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// An instance whose own address is one of loopback's.
fn instance(id: &str, own: Ipv4Addr) -> Instance {
    let mac = format!("0e:00:00:00:00:{:02x}", own.octets()[3]);
    let mut interface = Interface::new(&format!("eni-of-{id}"), mac.parse().unwrap(), 0);
    interface.ipv4 = vec![own];
    let mut instance = Instance::new(id, "m5.large");
    instance.options.tokens_required = true;
    instance.role = Some(Role {
        name: "node".to_owned(),
        profile_arn: "arn:aws:iam::000000000000:instance-profile/node".to_owned(),
        profile_id: "AIPA1".to_owned(),
    });
    instance.interfaces = vec![interface];
    instance
}

/// A running service for an instance at 127.0.0.1 and one at 127.0.0.2.
struct Running {
    service: Service,
    address: SocketAddr,
    stop: DropGuard,
    serving: tokio::task::JoinHandle<()>,
}

async fn running() -> Running {
    let mut view = View::of(instance("i-1", Ipv4Addr::new(127, 0, 0, 1)));
    let second = instance("i-2", Ipv4Addr::new(127, 0, 0, 2));
    view.instances.insert(second.id.clone(), second);
    let service = Service::new(view, Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(service.clone().serve(listener, stop.clone()));
    Running {
        service,
        address,
        stop: stop.drop_guard(),
        serving,
    }
}

impl Running {
    /// A connection from an address of loopback.
    async fn from(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        let own = Ipv4Addr::new(127, 0, 0, last);
        socket.bind((own, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

/// One exchange on a connection that stays open: status, head, body.
async fn exchange(stream: &mut TcpStream, request: &str, headers: &str) -> (u16, String, String) {
    let text = format!("{request} HTTP/1.1\r\nHost: metadata\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let head = loop {
        answer.push(stream.read_u8().await.unwrap());
        if answer.ends_with(b"\r\n\r\n") {
            break String::from_utf8(std::mem::take(&mut answer)).unwrap();
        }
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, String::from_utf8(body).unwrap())
}

const PUT: &str = "PUT /latest/api/token";
const LIFE: &str = "X-aws-ec2-metadata-token-ttl-seconds: 300\r\n";

async fn token(stream: &mut TcpStream) -> String {
    let (status, head, token) = exchange(stream, PUT, LIFE).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("x-aws-ec2-metadata-token-ttl-seconds: 300\r\n"),
        "{head}"
    );
    format!("X-aws-ec2-metadata-token: {token}\r\n")
}

#[tokio::test]
async fn a_session_on_one_connection_asks_for_a_token_and_then_for_everything() {
    let running = running().await;
    let mut stream = running.from(1).await;
    let token = token(&mut stream).await;
    let root = "GET /latest/meta-data";
    for (path, expected) in [
        ("/instance-id", "i-1"),
        ("/network/interfaces/macs/", "0e:00:00:00:00:01/"),
        ("/local-ipv4", "127.0.0.1"),
    ] {
        let (status, head, body) = exchange(&mut stream, &format!("{root}{path}"), &token).await;
        assert_eq!((status, body.as_str()), (200, expected), "{path}");
        assert!(head.contains("content-type: text/plain\r\n"), "{head}");
    }
    let (status, ..) = exchange(&mut stream, &format!("{root}/ipv6"), &token).await;
    assert_eq!(status, 404);
    let (status, ..) = exchange(&mut stream, &format!("{root}/mac"), "").await;
    assert_eq!(status, 401);
    let (status, _, body) = exchange(&mut stream, "GET /2021-07-15/meta-data/mac", &token).await;
    assert_eq!((status, body.as_str()), (200, "0e:00:00:00:00:01"));
}

#[tokio::test]
async fn the_address_that_asks_tells_the_instance() {
    let running = running().await;
    let path = "GET /latest/meta-data/instance-id";
    let mut second = running.from(2).await;
    let of_second = token(&mut second).await;
    let (_, _, body) = exchange(&mut second, path, &of_second).await;
    assert_eq!(body, "i-2");
    let mut first = running.from(1).await;
    let (status, ..) = exchange(&mut first, path, &of_second).await;
    assert_eq!(status, 401, "a token of another instance");
    let mut stranger = running.from(3).await;
    let (status, ..) = exchange(&mut stranger, PUT, LIFE).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_service_that_is_told_to_stop_closes_its_connections() {
    let running = running().await;
    let mut stream = running.from(1).await;
    token(&mut stream).await;
    drop(running.stop);
    running.serving.await.unwrap();
    let end = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
    assert!(end.expect("no silence").is_err());
    let refused = TcpStream::connect(running.address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // It is still there to be served elsewhere.
    assert_eq!(running.service.shown().instances.len(), 2);
}
