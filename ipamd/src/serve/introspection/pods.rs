//! `/v1/pods`: who has which address, in the form that the AWS plugin had before it left
//! this path out. As in `/v1/enis`, containers and their interfaces are not named.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::journal::endpoint::{Record, RecordState};
use crate::pool::PoolReport;

/// The answer: by the pod's name, its namespace and what once was its container, joined by
/// `_`. Pods that a runtime did not name have their address in the place of the container.
pub(super) fn of(pool: &PoolReport, endpoints: &[Record]) -> Value {
    let mut pods: Map<String, Value> = Map::new();
    // The first interface of a pod before those beside it.
    let ready = endpoints
        .iter()
        .filter(|one| one.state == RecordState::Ready);
    let mut ordered: Vec<&Record> = ready.collect();
    ordered.sort_by_key(|record| (!record.key.is_first_interface(), record.created_ms));
    for record in ordered {
        let addresses = record.addresses();
        let Some(first) = addresses.first() else {
            continue;
        };
        let name = key_of(record, *first);
        let known = pods
            .get_mut(&name)
            .and_then(|pod| pod["Addresses"].as_array_mut());
        if let Some(known) = known {
            known.extend(addresses.iter().map(|address| json!(address)));
            continue;
        }
        let mut interfaces = pool.interfaces.iter();
        let interface = interfaces.find(|one| one.id.as_str() == record.cloud_interface);
        let pod = json!({
            "IP": first,
            "DeviceNumber": interface.map(|one| one.device_index),
            "Addresses": addresses,
        });
        pods.insert(name, pod);
    }
    Value::Object(pods)
}

fn key_of(record: &Record, address: IpAddr) -> String {
    let (name, namespace) = (&record.pod.name, &record.pod.namespace);
    match name.is_empty() {
        true => format!("__{address}"),
        false => format!("{name}_{namespace}_"),
    }
}
