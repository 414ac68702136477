//! Introspection in the form that scripts for the AWS plugin read.

use serde_json::json;
use veni_api::v1;

use super::*;

fn interface() -> v1::PoolInterface {
    let address = |address: &str, state: &str| v1::PoolAddress {
        address: address.to_owned(),
        state: state.to_owned(),
        ..v1::PoolAddress::default()
    };
    v1::PoolInterface {
        id: "eni-1".to_owned(),
        device_index: 1,
        subnet: "subnet-1".to_owned(),
        state: "attached".to_owned(),
        addresses: vec![address("10.0.0.5", "assigned"), address("10.0.0.6", "free")],
        prefixes: vec![
            v1::PoolPrefix {
                prefix: "10.0.1.16/28".to_owned(),
                used: vec![address("10.0.1.17", "cooling")],
                ..v1::PoolPrefix::default()
            },
            v1::PoolPrefix {
                prefix: "2001:db8::/80".to_owned(),
                ..v1::PoolPrefix::default()
            },
        ],
        ..v1::PoolInterface::default()
    }
}

fn endpoint() -> v1::Endpoint {
    v1::Endpoint {
        attachment: Some(v1::Attachment {
            network: "veni".to_owned(),
            container_id: "c0ffee".to_owned(),
            interface_name: "eth0".to_owned(),
        }),
        pod: Some(v1::Pod {
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
            uid: String::new(),
        }),
        addresses: vec!["10.0.0.5/32".to_owned()],
        created_ms: 951_782_400_000,
        ..v1::Endpoint::default()
    }
}

#[test]
fn interfaces_are_told_in_the_aws_plugin_s_form() {
    let pool = v1::PoolResponse {
        total: 18,
        assigned: 1,
        interfaces: vec![interface()],
        ..v1::PoolResponse::default()
    };
    let answer = enis::of(&pool, vec![endpoint()]);
    assert_eq!(answer["TotalIPs"], 18);
    assert_eq!(answer["AssignedIPs"], 1);
    let eni = &answer["ENIs"]["eni-1"];
    assert_eq!(eni["DeviceNumber"], 1);
    assert_eq!(eni["RouteTableID"], 22_033);
    assert_eq!(eni["SubnetID"], "subnet-1");
    let single = &eni["AvailableIPv4Cidrs"]["10.0.0.5/32"];
    assert_eq!(
        single["Cidr"],
        json!({"IP": "10.0.0.5", "Mask": "/////w=="})
    );
    assert_eq!(single["IsPrefix"], false);
    let used = &single["IPAddresses"]["10.0.0.5"];
    assert_eq!(
        used["IPAMMetadata"],
        json!({"k8sPodNamespace": "shop", "k8sPodName": "web-0"})
    );
    assert_eq!(used["AssignedTime"], "2000-02-29T00:00:00.000Z");
    let prefix = &eni["AvailableIPv4Cidrs"]["10.0.1.16/28"];
    assert_eq!(prefix["Cidr"]["Mask"], "////8A==");
    assert_eq!(prefix["IPAddresses"]["10.0.1.17"]["State"], "cooling");
    assert_eq!(eni["IPv6Cidrs"]["2001:db8::/80"]["IsPrefix"], true);
}

#[test]
fn containers_and_their_interfaces_are_not_named() {
    let pool = v1::PoolResponse {
        interfaces: vec![interface()],
        ..v1::PoolResponse::default()
    };
    let text = enis::of(&pool, vec![endpoint()]).to_string();
    assert!(text.contains("web-0"), "the pod is: {text}");
    assert!(!text.contains("c0ffee") && !text.contains("eth0"), "{text}");
}

#[test]
fn settings_are_told_by_the_aws_plugin_s_names_and_types() {
    let given = [
        ("VENI_PROVIDER", "mock"),
        ("WARM_IP_TARGET", "5"),
        ("ENABLE_PREFIX_DELEGATION", "true"),
        (
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            "10.1.0.0/16, 10.2.0.0/16",
        ),
    ];
    let lookup = |name: &str| {
        let found = given.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let config = crate::config::Config::try_new(&lookup, "node-1").expect("valid");
    let settings = config.settings(None);
    let ipamd = settings::of_ipamd(&settings);
    assert_eq!(ipamd["WARM_IP_TARGET"], 5);
    assert_eq!(ipamd["MINIMUM_IP_TARGET"], 0);
    assert_eq!(ipamd["ENABLE_PREFIX_DELEGATION"], true);
    let network = settings::of_network(&settings);
    assert_eq!(network["AWS_VPC_ENI_MTU"], 9001);
    assert_eq!(network["AWS_VPC_K8S_CNI_RANDOMIZESNAT"], "prng");
    assert_eq!(network["AWS_VPC_K8S_CNI_EXTERNALSNAT"], false);
    assert_eq!(
        network["AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"],
        json!(["10.1.0.0/16", "10.2.0.0/16"])
    );
}

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
    let listening = serving::listen(&address).expect("listens");
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
    assert!(serving::listen(&address).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "data");
}

#[test]
fn nothing_is_routed_by_an_interface_on_another_network_card() {
    let of_index_1 = veni_dataplane::plan::INTERFACE_TABLE_BASE + 1;
    for (network_card, table) in [(0, of_index_1), (1, 0)] {
        let pool = v1::PoolResponse {
            interfaces: vec![v1::PoolInterface {
                network_card,
                ..interface()
            }],
            ..v1::PoolResponse::default()
        };
        let shown = enis::of(&pool, Vec::new());
        assert_eq!(shown["ENIs"]["eni-1"]["RouteTableID"], table);
    }
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
            let got = serving::bind_either(asked, refusing(error)).expect("binds");
            assert_eq!(got, bound);
        }
        let taken = serving::bind_either(asked, refusing(rustix::io::Errno::ADDRINUSE));
        let kind = taken.expect_err("is refused").kind();
        assert_eq!(kind, io::ErrorKind::AddrInUse);
    }
    let other: SocketAddr = "[2600::4]:61678".parse().expect("an address");
    serving::bind_either(other, refusing(unknown)).expect_err("it has no counterpart");
}
