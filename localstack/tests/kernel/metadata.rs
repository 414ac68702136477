//! How far a token travels: over a node's own wire with a hop limit of 1, into a
//! namespace behind the node with 2.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veni_cloudlab::metadata::{Instance, Interface, Service, Settings, View};
use veni_cloudlab::{Namespace, enter};

use crate::bed::PATIENCE;

const METADATA: &str = "169.254.169.254:80";
const PUT: &str = "PUT /latest/api/token HTTP/1.1\r\nHost: metadata\r\n\
                   X-aws-ec2-metadata-token-ttl-seconds: 60\r\nConnection: close\r\n\r\n";
const GET: &str = "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: metadata\r\n\
                   Connection: close\r\n\r\n";

/// The service in one namespace, a node next to it, a pod behind the node.
struct Site {
    cloud: Namespace,
    node: Namespace,
    pod: Namespace,
    service: Service,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn run(namespace: &Namespace, script: &str) -> String {
    let output = namespace
        .command("sh")
        .args(["-euc", script])
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn view(hop_limit: u8) -> View {
    let mac = "0e:00:00:00:00:01".parse().unwrap();
    let mut interface = Interface::new("eni-1", mac, 0);
    interface.ipv4 = vec!["10.9.0.2".parse().unwrap()];
    interface.prefixes = vec!["10.9.1.0/28".parse().unwrap()];
    let mut instance = Instance::new("i-1", "m5.large");
    instance.options.hop_limit = hop_limit;
    instance.interfaces = vec![interface];
    View::of(instance)
}

impl Site {
    async fn new() -> Self {
        let cloud = Namespace::create("cloud").await.unwrap();
        let node = Namespace::create("node").await.unwrap();
        let pod = Namespace::create("pod").await.unwrap();
        let (at_node, at_pod) = (node.holder(), pod.holder());
        run(
            &cloud,
            &format!(
                "ip link add wire type veth peer name eth0 netns {at_node}
                 ip addr add 169.254.169.254/32 dev lo
                 ip addr add 10.9.0.1/24 dev wire; ip link set wire up
                 ip route add 10.9.1.0/28 via 10.9.0.2"
            ),
        )
        .await;
        run(
            &node,
            &format!(
                "ip link add veth type veth peer name eth0 netns {at_pod}
                 ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up
                 ip addr add 10.9.1.1/28 dev veth; ip link set veth up
                 ip route add default via 10.9.0.1
                 echo 1 >/proc/sys/net/ipv4/ip_forward"
            ),
        )
        .await;
        let behind = "ip addr add 10.9.1.2/28 dev eth0; ip link set eth0 up
                      ip route add default via 10.9.1.1";
        run(&pod, behind).await;
        let listener = enter(cloud.path(), || {
            let listener = TcpListener::bind(METADATA)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = tokio::net::TcpListener::from_std(listener.await.unwrap()).unwrap();
        let service = Service::new(view(1), Settings::default());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(service.clone().serve(listener, stop.clone()));
        Self {
            cloud,
            node,
            pod,
            service,
            stop,
            serving,
        }
    }

    /// Packets that the node did not forward because they had travelled enough.
    async fn died_at_node(&self) -> u64 {
        let snmp = run(&self.node, "cat /proc/net/snmp").await;
        let mut lines = snmp.lines().filter(|line| line.starts_with("Icmp:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let column = names.split(' ').position(|name| name == "OutTimeExcds");
        values
            .split(' ')
            .nth(column.unwrap())
            .unwrap()
            .parse()
            .unwrap()
    }

    async fn remove(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
        for namespace in [self.pod, self.node, self.cloud] {
            namespace.remove().await;
        }
    }
}

/// Sends a request from a namespace.
async fn send(namespace: &Namespace, request: &'static str) -> TcpStream {
    let metadata: SocketAddr = METADATA.parse().unwrap();
    enter(namespace.path(), move || {
        let mut stream = TcpStream::connect_timeout(&metadata, PATIENCE)?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    })
    .await
    .unwrap()
}

/// The first line of the answer to a request from a namespace.
async fn ask(namespace: &Namespace, request: &'static str) -> String {
    let mut stream = send(namespace, request).await;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    let read = tokio::task::spawn_blocking(move || {
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = read.await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_token_dies_where_it_is_forwarded_once_too_often_and_nothing_else_does() {
    let site = Site::new().await;
    // On the node itself nothing forwards it.
    assert_eq!(ask(&site.node, PUT).await, "HTTP/1.1 200 OK");
    assert_eq!(site.died_at_node().await, 0);

    let stream = send(&site.pod, PUT).await;
    tokio::time::timeout(PATIENCE, async {
        while site.died_at_node().await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the answer dies at the node");
    stream.set_nonblocking(true).unwrap();
    let nothing = (&stream).read(&mut [0; 16]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(ask(&site.pod, GET).await, "HTTP/1.1 200 OK");

    site.service.publish(view(2));
    assert_eq!(ask(&site.pod, PUT).await, "HTTP/1.1 200 OK");
    assert_eq!(ask(&site.pod, GET).await, "HTTP/1.1 200 OK");
    site.remove().await;
}
