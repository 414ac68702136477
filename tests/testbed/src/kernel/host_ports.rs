//! Reads ports of the node that lead to pods with `nft -j`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use super::run;

/// What leads packets for ports of the node to pods.
#[derive(Debug, Clone, Default)]
pub struct HostPorts {
    /// Each port as `tcp 8080 to 10.0.1.7 80`, or `tcp 8080 of 10.0.0.5 to 10.0.1.7 80`.
    pub ports: BTreeSet<String>,
    /// Pods in the sets that let them answer.
    pub pods: BTreeSet<IpAddr>,
}

/// How a port is told of.
pub fn words(protocol: &str, port: u64, host: Option<&str>, pod: &str, pod_port: u64) -> String {
    let host = host.map_or(String::new(), |host| format!(" of {host}"));
    format!("{protocol} {port}{host} to {pod} {pod_port}")
}

async fn objects(namespace: &Path) -> Vec<Value> {
    let list = ["-j", "list", "table", "inet", "veni_host_ports"];
    let Ok(text) = run(namespace, "nft", &list).await else {
        return Vec::new();
    };
    let all: Value = serde_json::from_str(&text).expect("nft -j prints JSON");
    all["nftables"].as_array().cloned().unwrap_or_default()
}

/// Ports of the node that lead to pods: the elements of Veni's maps, each as JSON, in order.
/// None where there is no such table.
///
/// # Panics
/// When `nft` prints no JSON.
pub async fn host_ports(namespace: &Path) -> Vec<String> {
    let objects = objects(namespace).await;
    let maps = objects.iter().filter_map(|object| object.get("map"));
    let elements = maps.filter_map(|map| map["elem"].as_array().cloned());
    let mut elements: Vec<String> = elements.flatten().map(|one| one.to_string()).collect();
    elements.sort();
    elements
}

/// The same in words, with the pods.
///
/// # Panics
/// When `nft` prints no JSON, or elements of another shape.
pub async fn ports_and_pods(namespace: &Path) -> HostPorts {
    let mut found = HostPorts::default();
    for object in objects(namespace).await {
        let elements = |of: &Value| of["elem"].as_array().cloned().unwrap_or_default();
        for element in object.get("map").map(elements).unwrap_or_default() {
            let port = port(&element);
            found
                .ports
                .insert(port.unwrap_or_else(|| element.to_string()));
        }
        for element in object.get("set").map(elements).unwrap_or_default() {
            let pair = element["concat"][0].as_str().map(str::parse::<IpAddr>);
            found.pods.extend(pair.and_then(Result::ok));
        }
    }
    found
}

fn port(element: &Value) -> Option<String> {
    let (key, value) = (element[0]["concat"].as_array()?, &element[1]["concat"]);
    let (host, key) = match key.len() {
        3 => (Some(key[0].as_str()?), &key[1..]),
        _ => (None, &key[..]),
    };
    let (protocol, port) = (key.first()?.as_str()?, key.get(1)?.as_u64()?);
    let (pod, pod_port) = (value[0].as_str()?, value[1].as_u64()?);
    Some(words(protocol, port, host, pod, pod_port))
}
