//! What the tests share: a small lab of its own for each, and eyes.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use veni_cloudlab::mock::{CloudConfig, MockProvider};
use veni_cloudlab::{Lab, LabConfig, Node, enter, ping};
use veni_provider::{AddressSlots, Family, Grant, InterfaceId, Provider};

/// Long enough for anything that will happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come before we believe that nothing comes.
pub(crate) const SILENCE: Duration = Duration::from_millis(600);

/// A lab with two nodes of eight interfaces, in a folder that goes with it.
pub(crate) async fn lab(cloud: CloudConfig) -> (Lab, TempDir) {
    let parent = tempfile::tempdir().unwrap();
    let config = LabConfig::new("test", cloud, 2, "m5.4xlarge").folder(parent.path().join("lab"));
    (Lab::start(config).await.unwrap(), parent)
}

/// The cloud as a node's daemon sees it.
pub(crate) fn provider(lab: &Lab, node: usize) -> MockProvider {
    lab.cloud().provider(lab.node(node).instance_id())
}

/// The node's primary interface.
pub(crate) async fn primary(provider: &MockProvider) -> InterfaceId {
    provider.inventory().await.unwrap().interfaces[0].id.clone()
}

/// Assigns one address to an interface and waits for the wires.
pub(crate) async fn assign(
    lab: &Lab,
    node: usize,
    interface: &InterfaceId,
    family: Family,
) -> IpAddr {
    let slots = AddressSlots::Addresses { family, count: 1 };
    let grant: Grant = provider(lab, node).assign(interface, slots).await.unwrap();
    lab.settled().await.unwrap();
    grant.addresses[0]
}

/// What `ip -j` prints inside a namespace.
pub(crate) async fn ip(namespace: &Path, arguments: &[&str]) -> Value {
    let output = veni_cloudlab::command_in(namespace, "ip")
        .arg("-j")
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// Runs `ip` on a node to change something.
pub(crate) async fn ip_set(node: &Node, arguments: &str) {
    let output = node
        .exec("ip")
        .args(arguments.split(' '))
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Gives a node an address that lives on its loopback, as a pod's would live behind it.
pub(crate) async fn hold(node: &Node, address: IpAddr) {
    // Without nodad an IPv6 address cannot be bound to until the kernel finds the time.
    let text = match address {
        IpAddr::V4(_) => format!("address add {address}/32 dev lo"),
        IpAddr::V6(_) => format!("address add {address}/128 dev lo nodad"),
    };
    ip_set(node, &text).await;
}

/// Whether a ping from a node (by the address its routes choose) is answered.
pub(crate) async fn reaches(node: &Node, target: IpAddr) -> bool {
    ping(node.namespace().path(), vec![target], PATIENCE)
        .await
        .unwrap()[0]
        .is_some()
}

/// Whether a ping stays unanswered.
pub(crate) async fn silent(node: &Node, target: IpAddr) -> bool {
    ping(node.namespace().path(), vec![target], SILENCE)
        .await
        .unwrap()[0]
        .is_none()
}

/// Sends `count` datagrams from an address of a node to another; each is one packet.
pub(crate) async fn send(node: &Node, from: IpAddr, to: IpAddr, count: u32) {
    enter(node.namespace().path(), move || {
        let socket = UdpSocket::bind((from, 0))?;
        (0..count).try_for_each(|_| socket.send_to(b"x", (to, 9)).map(drop))
    })
    .await
    .unwrap();
}

/// A socket in a node that datagrams to an address arrive at.
pub(crate) async fn listen(node: &Node, address: IpAddr, port: u16) -> UdpSocket {
    enter(node.namespace().path(), move || {
        let socket = UdpSocket::bind((address, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })
    .await
    .unwrap()
}
