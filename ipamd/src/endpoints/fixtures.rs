//! Records for tests of the endpoints' parts.

use crate::attachment::{AttachmentKey, PodName};
use crate::journal::endpoint::Record;

/// The first interface of a container.
pub(super) fn key(container_id: &str) -> AttachmentKey {
    AttachmentKey {
        network: "veni".to_owned(),
        container_id: container_id.to_owned(),
        interface_name: "eth0".to_owned(),
    }
}

/// A pod of the namespace `default`.
pub(super) fn pod(name: &str) -> PodName {
    PodName {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: String::new(),
    }
}

/// An intent: 10.0.0.9 for a container, and no links yet.
pub(crate) fn record(container_id: &str) -> Record {
    let record = serde_json::json!({
        "id": format!("id-of-{container_id}"), "state": "adding",
        "key": key(container_id), "pod": pod(container_id),
        "plan": {
            "pod_link": "eth0", "host_link": format!("eni-{container_id}"), "mtu": 9001,
            "pod_mac": [2, 0, 0, 0, 0, 1], "host_mac": [2, 0, 0, 0, 0, 2],
            "addresses": [{ "address": "10.0.0.9" }], "node_addresses": []
        },
        "links": null, "cloud_interface": "eni-1", "created_ms": 1,
        "add_micros": 0, "waited_micros": 0, "released_boot_ms": null
    });
    serde_json::from_value(record).expect("a record")
}
