//! A port of a node that leads to a pod, tried from a pod of another node.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use veni_cloudlab::enter;
use veni_terminal::println;

use super::super::control::{Description, HostPort};

/// The port that pods `a…` are reached by.
pub(super) const PORT: HostPort = HostPort {
    host_port: 8080,
    pod_port: 80,
};

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the first node's pod, which answers with whom it sees.
pub(super) async fn tell(lab: &Description) -> anyhow::Result<()> {
    let (pod, client) = (lab.pod("a1")?, lab.pod("a2")?);
    let node = lab.node(&pod.node)?;
    let address = *node.addresses.first().context("the node has no address")?;
    let any = match address {
        IpAddr::V4(_) => "0.0.0.0",
        IpAddr::V6(_) => "::",
    };
    let bind: SocketAddr = SocketAddr::new(any.parse()?, PORT.pod_port);
    let listener = enter(&pod.namespace, move || TcpListener::bind(bind)).await?;
    // Ends with the demo, if nobody asks.
    std::thread::spawn(move || {
        let (mut stream, from) = listener.accept()?;
        stream.write_all(from.ip().to_string().as_bytes())
    });
    let to = SocketAddr::new(address, PORT.host_port);
    let asked = enter(&client.namespace, move || {
        let began = Instant::now();
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok((stream.local_addr()?.ip(), said, began.elapsed()))
    });
    let (own, said, took) = asked
        .await
        .with_context(|| format!("pod {} was not reached by {to}", pod.name))?;
    println!(
        "hostPort: {to} of {} leads to port {} of {}, which sees {} as {said}; {:.1} ms",
        node.name,
        PORT.pod_port,
        pod.name,
        client.name,
        took.as_secs_f64() * 1e3
    );
    ensure!(
        said == own.to_string(),
        "the pod does not see the address of its client, which is {own}"
    );
    Ok(())
}
