//! A host outside of the VPC: a namespace with the cloud's internet addresses,
//! and a responder there that tells each caller the address it sees.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_util::task::AbortOnDropHandle;

use crate::command::ip_batch;
use crate::error::LabError;
use crate::namespace::{Namespace, enter};
use crate::ports::MTU;

/// Name of the VPC's port towards the internet.
pub(crate) const PORT: &str = "internet";
/// TCP port of the responder.
pub const RESPONDER_PORT: u16 = 7777;

/// The internet host's address in a lab with IPv6 (RFC 3849, documentation).
pub const INTERNET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10);

/// The host's own MAC, so that the VPC needs no ARP for it.
const MAC: &str = "02:69:6e:65:74:01";
/// The host's next hops: the VPC.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 254, 1);
const GATEWAY_V6: &str = "fe80::1";

/// The internet host.
#[derive(Debug)]
pub(crate) struct Internet {
    namespace: Namespace,
    responder: AbortOnDropHandle<()>,
}

impl Internet {
    /// Makes the host with its addresses and connects it to the VPC.
    pub(crate) async fn create(
        name: &str,
        vpc: &Path,
        addresses: &[IpAddr],
    ) -> Result<Self, LabError> {
        let namespace = Namespace::create(format!("{name}'s internet host")).await?;
        let mut outside = vec![
            format!(
                "link add {PORT} mtu {MTU} type veth peer name eth0 address {MAC} mtu {MTU} netns {}",
                namespace.holder()
            ),
            format!("link set {PORT} up"),
            format!("address replace {GATEWAY_V4}/32 dev lo"),
            format!("address replace {GATEWAY_V6}/64 dev {PORT} nodad"),
        ];
        let mut inside = vec!["link set eth0 up".to_owned()];
        for address in addresses {
            outside.push(format!(
                "neigh replace {address} lladdr {MAC} dev {PORT} nud permanent"
            ));
            outside.push(format!("route replace {address} dev {PORT}"));
            let (length, nodad) = if address.is_ipv4() {
                (32, "")
            } else {
                (128, " nodad")
            };
            inside.push(format!(
                "address replace {address}/{length} dev eth0{nodad}"
            ));
        }
        inside.push(format!(
            "route replace default via {GATEWAY_V4} dev eth0 onlink"
        ));
        if addresses.iter().any(IpAddr::is_ipv6) {
            inside.push(format!(
                "route replace default via {GATEWAY_V6} dev eth0 onlink"
            ));
        }
        ip_batch(vpc.to_owned(), "connect the internet host", outside).await?;
        let path: PathBuf = namespace.path().to_owned();
        ip_batch(path, "set the internet host up", inside).await?;
        let responder = respond(namespace.path()).await?;
        Ok(Self {
            namespace,
            responder,
        })
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) async fn remove(self) {
        self.responder.abort();
        // The responder's socket would keep the namespace alive.
        let _aborted = self.responder.await;
        self.namespace.remove().await;
    }
}

/// Answers each connection with one line, the caller's address, and closes it.
async fn respond(namespace: &Path) -> Result<AbortOnDropHandle<()>, LabError> {
    let operation = "start the internet host's responder";
    let listener = enter(namespace, || {
        // The IPv6 socket serves both families; a kernel without IPv6 has none.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, RESPONDER_PORT))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, RESPONDER_PORT)))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })
    .await
    .map_err(LabError::io(operation))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(LabError::io(operation))?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((mut stream, caller)) => {
                    let line = format!("{}\n", caller.ip().to_canonical());
                    // A caller that has gone needs no answer.
                    let _unheard = stream.write_all(line.as_bytes()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the internet host failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    })))
}

/// Calls the responder of an internet host from inside a namespace and returns
/// the address under which the caller is seen there.
///
/// # Errors
/// The connection's: no route, no answer within `patience`.
pub async fn address_seen_by_internet(
    namespace: &Path,
    host: IpAddr,
    patience: Duration,
) -> io::Result<IpAddr> {
    enter(namespace, move || {
        let responder = SocketAddr::new(host, RESPONDER_PORT);
        let mut stream = TcpStream::connect_timeout(&responder, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut line = String::new();
        stream.read_to_string(&mut line)?;
        line.trim()
            .parse()
            .map_err(|_| io::Error::other(format!("the internet host answered '{line}'")))
    })
    .await
}
