//! Metrics and introspection on addresses that another program has taken or that the node
//! does not have.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use veni_api::v1::PoolRequest;
use veni_testbed::cloudlab::enter;
use veni_testbed::{Bed, BedConfig, Daemon, eventually};

const METRICS: &str = "127.0.0.1:61678";
const INTROSPECTION: &str = "127.0.0.1:61679";

/// What operators are told of the host's addresses.
async fn warnings(daemon: &Daemon) -> Vec<String> {
    let mut operator = daemon.operator().await.expect("it runs");
    let pool = operator.pool(PoolRequest {}).await.expect("it is ready");
    let mut told = pool.into_inner().host_warnings;
    told.retain(|one| one.contains("metrics") || one.contains("introspection"));
    told
}

fn ask(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The answer of a server on a node.
async fn get(node: &Path, address: &str, path: &'static str) -> Result<String, String> {
    let address: SocketAddr = address.parse().expect("an address");
    let asked = enter(node, move || {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        ask(stream, path)
    });
    asked.await.map_err(|error| error.to_string())
}

/// Waits until a server on a node answers well, and with these words.
async fn until_served(bed: &Bed, address: &str, path: &'static str, words: &str) {
    eventually(address, async || {
        let answer = get(bed.node(0), address, path).await?;
        match answer.contains(words) {
            true => Ok(()),
            false => Err(answer),
        }
    })
    .await;
}

#[tokio::test]
async fn ports_that_are_taken_are_told_of_and_served_as_soon_as_they_are_free() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let holding = async |address: &'static str| {
        let held = enter(bed.node(0), move || TcpListener::bind(address)).await;
        held.expect("the port is free")
    };
    let held = [holding(METRICS).await, holding(INTROSPECTION).await];
    bed.daemon(0).start().await;
    let (pod, _) = bed.running(0, "pod").await;
    for port in ["61678", "61679"] {
        eventually("word of the port", async || {
            let told = warnings(bed.daemon(0)).await;
            let found = told.iter().any(|one| one.contains(port));
            if found {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        })
        .await;
        let log = bed.daemon(0).log();
        let said = log.lines().filter(|line| line.contains("for now:"));
        let said = said.filter(|line| line.contains(port)).count();
        assert_eq!(said, 1, "it is said once:\n{log}");
    }
    drop(held);
    until_served(&bed, METRICS, "/metrics", "awscni_assigned_ip_addresses 1").await;
    until_served(&bed, INTROSPECTION, "/v1/enis", "AssignedIPs").await;
    assert_eq!(warnings(bed.daemon(0)).await, Vec::<String>::new());
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_unix_socket_whose_place_is_taken_is_served_as_soon_as_it_is_free() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let path = bed.folder().join("introspection.sock");
    std::fs::write(&path, "precious").expect("a file");
    let address = format!("unix:{}", path.display());
    let daemon = bed.daemon(0);
    let further = [("INTROSPECTION_BIND_ADDRESS", address.as_str())];
    daemon.start_with(&further).await;
    daemon.ready().await;
    eventually("word of the socket", async || {
        let told = warnings(daemon).await;
        let found = told.iter().any(|one| one.contains(&address));
        if found {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await;
    let text = std::fs::read_to_string(&path).expect("it stays");
    assert_eq!(text, "precious");
    std::fs::remove_file(&path).expect("its owner removes it");
    eventually("the socket", async || {
        let stream = UnixStream::connect(&path).map_err(|error| error.to_string())?;
        let answer = ask(stream, "/").map_err(|error| error.to_string())?;
        match answer.contains("AvailableCommands") {
            true => Ok(()),
            false => Err(answer),
        }
    })
    .await;
    assert_eq!(warnings(daemon).await, Vec::<String>::new());
    bed.end().await;
}

#[tokio::test]
async fn metrics_are_served_over_ipv4_on_a_node_whose_ipv6_is_switched_off() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    for setting in ["disable_ipv6=1", "bindv6only=1"] {
        let name = match setting {
            "bindv6only=1" => format!("net.ipv6.{setting}"),
            _ => format!("net.ipv6.conf.all.{setting}"),
        };
        let set = bed.exec(0, "sysctl").arg("-qw").arg(name).status().await;
        assert!(set.expect("sysctl can be executed").success());
    }
    let daemon = bed.daemon(0);
    for (address, differs) in [("[::]:61678", false), ("[::1]:61678", true)] {
        daemon
            .start_with(&[("VENI_METRICS_ADDRESS", address)])
            .await;
        daemon.ready().await;
        until_served(&bed, METRICS, "/metrics", "awscni_eni_max").await;
        let told = warnings(daemon).await;
        let of_it = told.iter().filter(|one| one.contains(METRICS)).count();
        assert_eq!(of_it, usize::from(differs), "{told:?}");
        daemon.kill().await;
    }
    bed.end().await;
}
