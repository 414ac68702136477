//! Addresses that can be had, and those that cannot.

use axum::routing::get;

use super::*;

#[tokio::test]
async fn a_unix_socket_replaces_a_dead_one_s_and_serves_root_alone() {
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("made/introspection.sock");
    std::fs::create_dir(folder.path().join("made")).expect("makes the folder");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    let shutdown = CancellationToken::new();
    let address = IntrospectionAddress::Unix(path.clone());
    let router = Router::new().route("/", get(async || "here"));
    let stop = shutdown.clone();
    let listening = listen(&address).expect("listens");
    let served = tokio::spawn(listening.serve(router, stop));
    let mut stream = loop {
        match tokio::net::UnixStream::connect(&path).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.ends_with("here"), "{answer}");
    shutdown.cancel();
    served.await.expect("no panic").expect("ends well");
}

#[tokio::test]
async fn what_is_in_the_socket_s_place_and_no_socket_stays() {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").expect("writes");
    let address = IntrospectionAddress::Unix(path.clone());
    assert!(listen(&address).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "data");
}

#[test]
fn an_ipv6_address_that_the_kernel_does_not_know_is_taken_in_ipv4_and_no_other_refusal_is() {
    use std::io;
    let unknown = rustix::io::Errno::AFNOSUPPORT;
    let refusing = |error: rustix::io::Errno| {
        move |address: SocketAddr| match address {
            SocketAddr::V4(_) => Ok(address.to_string()),
            SocketAddr::V6(_) => Err(io::Error::from(error)),
        }
    };
    for (asked, bound) in [
        ("[::]:61678", "0.0.0.0:61678"),
        ("[::1]:61678", "127.0.0.1:61678"),
        ("[::ffff:10.0.0.4]:1", "10.0.0.4:1"),
    ] {
        let asked: SocketAddr = asked.parse().expect("an address");
        for error in [unknown, rustix::io::Errno::ADDRNOTAVAIL] {
            let got = bind_either(asked, refusing(error)).expect("binds");
            assert_eq!(got, bound);
        }
        let taken = bind_either(asked, refusing(rustix::io::Errno::ADDRINUSE));
        let kind = taken.expect_err("is refused").kind();
        assert_eq!(kind, io::ErrorKind::AddrInUse);
    }
    let other: SocketAddr = "[2600::4]:61678".parse().expect("an address");
    bind_either(other, refusing(unknown)).expect_err("it has no counterpart");
}
