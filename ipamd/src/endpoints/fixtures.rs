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

/// Endpoints of nobody, on a kernel in memory.
#[cfg(feature = "kube")]
pub(crate) fn endpoints(pool: crate::pool::Pool) -> std::sync::Arc<super::Endpoints> {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    let tools = super::Tools {
        pool,
        kernel: Arc::new(veni_dataplane::memory::MemoryKernel::new()),
        journal: crate::journal::Journal::new(Path::new("/nowhere"), "boot"),
        events: crate::events::Events::default(),
        metrics: super::EndpointMetrics::default(),
        repairs: crate::repairs::RepairMetrics::default(),
    };
    let settings = super::EndpointSettings {
        veth_prefix: "eni".to_owned(),
        pod_mtu: 9001,
        add_wait: Duration::from_secs(1),
        cooldown: Duration::from_secs(30),
        node_addresses: Vec::new(),
        egress: None,
        no_ipv6: false,
    };
    super::Endpoints::new(settings, tools).0
}
