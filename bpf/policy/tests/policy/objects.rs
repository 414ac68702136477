//! What the API's objects must be like, and what is kept of them.

use std::net::IpAddr;

use serde_json::{Value, json};
use veni_policy::objects::{ContainerPort, NetworkPolicy, Object, Peer, Pod, Port, Rule};
use veni_policy::{Ports, Protocol};

fn policy_with(spec: Value) -> Result<NetworkPolicy, String> {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "api"}, "spec": spec,
    });
    match Object::read(object).remove(0) {
        Ok(Object::NetworkPolicy(policy)) => Ok(policy),
        Ok(other) => panic!("read as {other:?}"),
        Err(invalid) => Err(invalid.to_string()),
    }
}

fn policy(spec: Value) -> NetworkPolicy {
    policy_with(spec).expect("well-formed")
}

fn pod(spec: Value, status: Value) -> Result<Pod, String> {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "db-0", "labels": {"app": "db"}},
        "spec": spec, "status": status,
    });
    match Object::read(object).remove(0) {
        Ok(Object::Pod(pod)) => Ok(pod),
        Ok(other) => panic!("read as {other:?}"),
        Err(invalid) => Err(invalid.to_string()),
    }
}

fn tcp(first: u16, last: u16) -> Port {
    let protocol = Protocol::Tcp;
    Port::Number(Ports::Some {
        protocol,
        first,
        last,
    })
}

#[test]
fn directions_without_policy_types_are_ingress_and_what_has_egress_rules() {
    let cases = [
        (json!({}), true, false),
        (json!({"egress": []}), true, false),
        (json!({"egress": [{}]}), true, true),
        (json!({"policyTypes": null, "egress": [{}]}), true, true),
        (
            json!({"policyTypes": ["Egress"], "ingress": [{}]}),
            false,
            true,
        ),
        (
            json!({"policyTypes": ["Ingress"], "egress": [{}]}),
            true,
            false,
        ),
        (json!({"policyTypes": ["Ingress", "Egress"]}), true, true),
    ];
    for (spec, ingress, egress) in cases {
        let policy = policy(spec.clone());
        let isolated = (policy.ingress.is_some(), policy.egress.is_some());
        assert_eq!(isolated, (ingress, egress), "{spec}");
    }
}

#[test]
fn null_and_absent_lists_of_a_rule_are_empty() {
    let policy = policy(json!({"ingress": [{"from": null, "ports": null}, {}]}));
    assert_eq!(policy.ingress, Some(vec![Rule::default(); 2]));
}

#[test]
fn ports_are_numbers_ranges_names_or_all_of_a_protocol() {
    let policy = policy(json!({"ingress": [{"ports": [
        {"port": 80}, {"port": 8000, "endPort": 8010}, {"port": "web", "protocol": "UDP"}, {"protocol": "SCTP"},
    ]}]}));
    let all = Port::Number(Ports::Some {
        protocol: Protocol::Sctp,
        first: 0,
        last: u16::MAX,
    });
    let expected = [
        tcp(80, 80),
        tcp(8000, 8010),
        Port::Name("web".to_owned(), Protocol::Udp),
        all,
    ];
    assert_eq!(policy.ingress.expect("ingress")[0].ports, expected);
}

#[test]
fn a_block_loses_its_host_bits() {
    let policy = policy(json!({"ingress": [{"from": [
        {"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.1.2.3/16"]}},
        {"ipBlock": {"cidr": "::ffff:10.0.0.0/104"}},
    ]}]}));
    let blocks = [("10.0.0.0/8", vec!["10.1.0.0/16"]), ("10.0.0.0/8", vec![])];
    let blocks = blocks.map(|(cidr, except)| Peer::Block {
        cidr: cidr.parse().expect("range"),
        except: except
            .iter()
            .map(|text| text.parse().expect("range"))
            .collect(),
    });
    assert_eq!(policy.ingress.expect("ingress")[0].peers, blocks);
}

#[test]
fn what_is_malformed_is_refused_with_object_field_and_reason() {
    let ingress = |rule: Value| json!({"ingress": [rule]});
    let port = |port: Value| ingress(json!({"ports": [port]}));
    let peer = |peer: Value| ingress(json!({"from": [{"podSelector": {}}, peer]}));
    let selects = |requirement: Value| json!({"podSelector": {"matchExpressions": [requirement]}});
    let cases = [
        (
            json!({"policyTypes": ["ingress"]}),
            r#"spec.policyTypes[0]: must be Ingress or Egress; it is "ingress""#,
        ),
        (
            port(json!({"port": 0})),
            "spec.ingress[0].ports[0].port: must be from 1 to 65535; it is 0",
        ),
        (
            port(json!({"port": 65536})),
            "spec.ingress[0].ports[0].port: must be from 1 to 65535; it is 65536",
        ),
        (
            port(json!({"port": "80"})),
            r#"spec.ingress[0].ports[0].port: must be a number, or a name of up to 15 small letters, digits and hyphens with at least one letter; it is "80""#,
        ),
        (
            port(json!({"port": true})),
            "spec.ingress[0].ports[0].port: must be a port's number or its name",
        ),
        (
            port(json!({"endPort": 90})),
            "spec.ingress[0].ports[0].endPort: needs a port that is a number",
        ),
        (
            port(json!({"port": "web", "endPort": 90})),
            "spec.ingress[0].ports[0].endPort: needs a port that is a number",
        ),
        (
            port(json!({"port": 80, "endPort": 79})),
            "spec.ingress[0].ports[0].endPort: must be at least port, which is 80; it is 79",
        ),
        (
            port(json!({"protocol": "ICMP"})),
            r#"spec.ingress[0].ports[0].protocol: must be TCP, UDP or SCTP; it is "ICMP""#,
        ),
        (
            peer(json!({})),
            "spec.ingress[0].from[1]: must name a peer: ipBlock, podSelector or namespaceSelector",
        ),
        (
            peer(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})),
            "spec.ingress[0].from[1]: ipBlock must stand alone, without podSelector and namespaceSelector",
        ),
        (
            peer(json!({"ipBlock": {"cidr": "10.0.0.1"}})),
            r#"spec.ingress[0].from[1].ipBlock.cidr: must be a range as 10.0.0.0/8 or fd00::/8; it is "10.0.0.1""#,
        ),
        (
            peer(json!({"ipBlock": {}})),
            "spec.ingress[0].from[1].ipBlock: missing field `cidr`",
        ),
        (
            peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})),
            r#"spec.ingress[0].from[1].ipBlock.except[0]: must be a part of 10.0.0.0/8 and smaller; it is "10.0.0.0/8""#,
        ),
        (
            peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})),
            r#"spec.ingress[0].from[1].ipBlock.except[0]: must be a part of 10.0.0.0/8 and smaller; it is "11.0.0.0/16""#,
        ),
        (
            peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/16"]}})),
            r#"spec.ingress[0].from[1].ipBlock.except[0]: must be a part of 10.0.0.0/8 and smaller; it is "fd00::/16""#,
        ),
        (
            selects(json!({"key": "a", "operator": "in", "values": ["b"]})),
            r#"spec.podSelector.matchExpressions[0].operator: must be In, NotIn, Exists or DoesNotExist; it is "in""#,
        ),
        (
            selects(json!({"key": "a", "operator": "NotIn"})),
            "spec.podSelector.matchExpressions[0].values: must not be empty with NotIn",
        ),
        (
            selects(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            "spec.podSelector.matchExpressions[0].values: must be empty with Exists",
        ),
        (
            selects(json!({"key": "", "operator": "Exists"})),
            "spec.podSelector.matchExpressions[0].key: must be the name of a label",
        ),
    ];
    for (spec, expected) in cases {
        let refused = policy_with(spec.clone()).expect_err(&spec.to_string());
        let (object, what) = refused.split_once(": ").expect("object");
        assert_eq!(object, "NetworkPolicy shop/api");
        assert_eq!(what, expected);
    }
}

#[test]
fn a_selectors_operators_look_at_presence_and_values() {
    let cases = [
        (json!({}), [true, true, true]),
        (
            json!({"matchLabels": {"tier": "web"}}),
            [true, false, false],
        ),
        (
            json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "db"]}]}),
            [true, true, false],
        ),
        (
            json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}),
            [false, true, true],
        ),
        (
            json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
            [true, true, false],
        ),
        (
            json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
            [false, false, true],
        ),
        (
            json!({"matchLabels": {"tier": "web"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
            [false; 3],
        ),
    ];
    let labels = [("tier", "web"), ("tier", "db"), ("other", "web")];
    for (selector, expected) in cases {
        let policy = policy(json!({"podSelector": selector}));
        let matches = labels.map(|(key, value)| {
            policy
                .pods
                .matches(&[(key.to_owned(), value.to_owned())].into())
        });
        assert_eq!(matches, expected, "{selector}");
    }
}

#[test]
fn a_pod_keeps_its_addresses_and_the_named_ports_of_containers_and_sidecars() {
    let spec = json!({
        "containers": [{"ports": [{"name": "sql", "containerPort": 5432}, {"containerPort": 9000}]}],
        "initContainers": [
            {"restartPolicy": "Always", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
            {"ports": [{"name": "gone", "containerPort": 1}]},
        ],
    });
    let status = json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "phase": "Running"});
    let read = pod(spec, status).expect("well-formed");
    let addresses: [IpAddr; 2] = ["10.0.0.1", "fd00::1"].map(|text| text.parse().expect("address"));
    assert_eq!(read.addresses, addresses);
    let named = |name: &str, protocol, port| ContainerPort {
        name: name.to_owned(),
        protocol,
        port,
    };
    let ports = [
        named("sql", Protocol::Tcp, 5432),
        named("dns", Protocol::Udp, 53),
    ];
    assert_eq!(*read.ports, ports);
    assert!(read.may_be_peer());
}

#[test]
fn pods_of_the_nodes_network_and_ended_pods_are_no_peers() {
    let status = |phase: &str| json!({"podIP": "10.0.0.1", "phase": phase});
    let cases = [
        (json!({}), status("Pending"), true),
        (json!({"hostNetwork": true}), status("Running"), false),
        (json!({}), status("Succeeded"), false),
        (json!({}), status("Failed"), false),
    ];
    for (spec, status, expected) in cases {
        let read = pod(spec, status).expect("well-formed");
        assert_eq!(read.may_be_peer(), expected, "{read:?}");
    }
}

#[test]
fn a_malformed_pod_is_refused_with_object_field_and_reason() {
    let ports = |port: Value| json!({"containers": [{"ports": [port]}]});
    let cases = [
        (
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0"}]}),
            r#"Pod shop/db-0: status.podIPs[0].ip: must be an address; it is "10.0.0""#,
        ),
        (
            ports(json!({"name": "a", "containerPort": 70000})),
            json!({}),
            r#"Pod shop/db-0: spec.containers.ports: containerPort of "a" must be from 1 to 65535; it is 70000"#,
        ),
        (
            ports(json!({"name": "a", "containerPort": 7, "protocol": "IP"})),
            json!({}),
            r#"Pod shop/db-0: spec.containers.ports: protocol of "a" must be TCP, UDP or SCTP; it is "IP""#,
        ),
    ];
    for (spec, status, expected) in cases {
        assert_eq!(pod(spec, status).expect_err(expected), expected);
    }
}

#[test]
fn a_namespace_has_its_name_as_a_label() {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b"}}});
    let Ok(Object::Namespace(namespace)) = Object::read(object).remove(0) else {
        panic!("no namespace");
    };
    let labels = [("a", "b"), ("kubernetes.io/metadata.name", "shop")];
    assert_eq!(
        namespace.labels,
        labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
}

#[test]
fn lists_hold_objects_with_and_without_their_kind() {
    let plain = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {}},
    ]});
    let typed =
        json!({"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "b"}}]});
    let said: Vec<_> = [plain, typed]
        .into_iter()
        .flat_map(Object::read)
        .map(|result| {
            result.map_or_else(
                |invalid| invalid.to_string(),
                |object| object.reference().to_string(),
            )
        })
        .collect();
    let expected = [
        "Namespace a",
        "Pod without a name: metadata.name: must be given",
        "Pod default/b",
    ];
    assert_eq!(said, expected);
}

#[test]
fn another_kind_is_refused_by_its_name() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "a", "name": "b"}});
    let refused = Object::read(object).remove(0).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "object a/b: kind: must be NetworkPolicy of networking.k8s.io/v1, or Namespace, Pod or List of v1; \
         it is \"Deployment\" of \"apps/v1\""
    );
}
