//! Reports and records as tests of the translations begin with.

use crate::attachment::{AttachmentKey, PodName};
use crate::journal::endpoint::Record;
use crate::pool::{InterfaceReport, InterfaceState, LevelCounts, PoolReport};

pub(crate) fn key() -> AttachmentKey {
    AttachmentKey {
        network: "veni".to_owned(),
        container_id: "c0ffee".to_owned(),
        interface_name: "eth0".to_owned(),
    }
}

/// A pool without interfaces and subnets.
pub(crate) fn pool_report() -> PoolReport {
    PoolReport {
        node: "i-1".to_owned(),
        provider: "mock",
        instance_type: "m5.large".to_owned(),
        max_pods: 29,
        max_interfaces: 3,
        interfaces: Vec::new(),
        subnets: Vec::new(),
        counts: LevelCounts::default(),
        waiting: 0,
        cloud_error: None,
        node_warnings: Vec::new(),
    }
}

/// A secondary interface, `eni-1` with device index 1, that holds nothing.
pub(crate) fn interface_report(state: InterfaceState) -> InterfaceReport {
    InterfaceReport {
        id: veni_provider::InterfaceId::new("eni-1"),
        mac: veni_provider::Mac([2, 0, 0, 0, 0, 1]),
        link: None,
        device_index: 1,
        network_card: 0,
        primary: false,
        subnet: veni_provider::SubnetId::new("subnet-1"),
        state,
        primary_address: None,
        table: Some(22_033),
        slots: 9,
        slots_used: 0,
        addresses: Vec::new(),
        prefixes: Vec::new(),
    }
}

/// The endpoint of a pod with the address 10.0.0.5.
pub(crate) fn record() -> Record {
    let text = r#"{
        "id": "1", "state": "ready", "cloud_interface": "eni-1", "created_ms": 1,
        "key": { "network": "veni", "container_id": "c0ffee", "interface_name": "eth0" },
        "pod": {},
        "plan": {
            "pod_link": "eth0", "host_link": "eni1", "mtu": 9001,
            "pod_mac": [2, 0, 0, 0, 1, 1], "host_mac": [2, 0, 0, 0, 2, 1],
            "addresses": [{ "address": "10.0.0.5" }], "node_addresses": []
        },
        "links": null, "add_micros": 900, "waited_micros": 100, "released_boot_ms": null
    }"#;
    let pod = PodName {
        namespace: "shop".to_owned(),
        name: "web-0".to_owned(),
        uid: String::new(),
    };
    let pod = serde_json::to_string(&pod).expect("JSON");
    let text = text.replace(r#""pod": {}"#, &format!(r#""pod": {pod}"#));
    serde_json::from_str(&text).expect("a record")
}
