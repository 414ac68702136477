//! Gathers the facts for the auditor: the cloud's true state, each node's kernel, the
//! files of its journal, and its daemon's answers to operators.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;
use veni_api::v1::{EndpointsRequest, EndpointsResponse, PoolInterface, PoolRequest, PoolResponse};
use veni_cloudlab::mock::dump::InterfaceDump;

use crate::audit::{AskedPort, Endpoint, Entry, NodeEvidence, PodEvidence};
use crate::bed::{Bed, TestPod};
use crate::kernel;

/// A daemon's answers to operators.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    endpoints: EndpointsResponse,
    pool: PoolResponse,
}

/// Asks a node's daemon.
pub(crate) async fn told(bed: &Bed, index: usize) -> Result<Told, String> {
    let mut operator = bed.daemon(index).operator().await?;
    let refused = |status: tonic::Status| status.to_string();
    let endpoints = operator.endpoints(EndpointsRequest {}).await;
    let pool = operator.pool(PoolRequest {}).await;
    Ok(Told {
        endpoints: endpoints.map_err(refused)?.into_inner(),
        pool: pool.map_err(refused)?.into_inner(),
    })
}

/// One node as it is now, together with its daemon's answers.
pub(crate) async fn of_node(
    bed: &Bed,
    index: usize,
    pods: &[&TestPod],
    Told { endpoints, pool }: Told,
) -> Result<NodeEvidence, String> {
    let namespace = bed.node(index);
    let mut evidence = NodeEvidence {
        instance: bed.lab().node(index).instance_id().to_owned(),
        attached: attached(bed, index).await?,
        links: kernel::links(namespace).await,
        pod_routes: kernel::routes(namespace, kernel::POD_TABLE).await,
        rules: kernel::rules(namespace).await,
        ways_out: ways_out(namespace).await,
        host_ports: kernel::ports_and_pods(namespace).await,
        limits: kernel::limits(namespace).await,
        tables: kernel::nft_tables(namespace).await,
        pods: Vec::new(),
        endpoints: endpoints.endpoints.into_iter().map(endpoint).collect(),
        leased: BTreeSet::new(),
        held: BTreeSet::new(),
        journal: journal(bed.daemon(index).run_dir()),
        notes: notes(bed.daemon(index).run_dir()),
    };
    for pod in pods.iter().filter(|pod| pod.node() == index) {
        let all = kernel::addresses(pod.path()).await.into_iter();
        let (egress, addresses) = all
            .map(|(_, address)| address)
            .partition(|address| kernel::is_node_local(*address));
        evidence.pods.push(PodEvidence {
            container: pod.container().to_owned(),
            links: names_of_links(pod.path()).await,
            addresses,
            egress,
            default_routes: kernel::routes(pod.path(), "main")
                .await
                .iter()
                .filter(|route| route.dst == "default")
                .count(),
        });
    }
    for interface in &pool.interfaces {
        take_interface(interface, &mut evidence);
    }
    Ok(evidence)
}

/// The link that the default route of each of the daemon's tables leads to.
async fn ways_out(namespace: &Path) -> BTreeMap<String, String> {
    let routes = kernel::routes(namespace, "all").await.into_iter();
    let ours = routes.filter(|route| route.dst == "default" && route.protocol == kernel::PROTOCOL);
    ours.map(|route| (route.table, route.dev)).collect()
}

/// What the cloud holds for a node.
async fn attached(bed: &Bed, index: usize) -> Result<Vec<InterfaceDump>, String> {
    let instance = bed.lab().node(index).instance_id();
    #[cfg(feature = "aws")]
    if let Some(ec2) = bed.lab().ec2() {
        let told = ec2.interfaces(instance).await;
        return told.map_err(|error| error.to_string());
    }
    if let Some(arm) = bed.lab().arm() {
        return Ok(arm.interfaces(instance));
    }
    let node = bed.lab().cloud().dump();
    let node = node.nodes.into_iter();
    let mut node = node.filter(|node| node.instance_id == instance);
    Ok(node.next().map(|node| node.interfaces).unwrap_or_default())
}

async fn names_of_links(namespace: &Path) -> Vec<String> {
    let all = kernel::links(namespace)
        .await
        .into_iter()
        .map(|link| link.name);
    all.filter(|name| name != "lo").collect()
}

fn endpoint(told: veni_api::v1::Endpoint) -> Endpoint {
    let attachment = told.attachment.unwrap_or_default();
    Endpoint {
        container: attachment.container_id,
        interface: attachment.interface_name,
        addresses: told
            .addresses
            .iter()
            .filter_map(|cidr| Some(cidr.parse::<IpNet>().ok()?.addr()))
            .collect(),
        egress: told.egress_address.parse().ok(),
        host_link: told.host_interface,
        state: told.state,
    }
}

fn take_interface(interface: &PoolInterface, evidence: &mut NodeEvidence) {
    let in_prefixes = interface.prefixes.iter().flat_map(|prefix| &prefix.used);
    for address in interface.addresses.iter().chain(in_prefixes) {
        if address.state == "assigned" {
            evidence
                .leased
                .extend(address.address.parse::<IpAddr>().ok());
        }
    }
    let single = interface
        .addresses
        .iter()
        .map(|address| address.address.parse::<IpAddr>().map(IpNet::from));
    let held = single.flatten().map(|cidr| (interface.id.clone(), cidr));
    evidence.held.extend(held);
    let prefixes = interface
        .prefixes
        .iter()
        .flat_map(|prefix| prefix.prefix.parse::<IpNet>());
    evidence
        .held
        .extend(prefixes.map(|cidr| (interface.id.clone(), cidr)));
}

/// The journal's files, parsed as plain JSON and not with the daemon's code. The second
/// line of a file is the entry.
fn journal(run_dir: &Path) -> Vec<Entry> {
    let Ok(files) = std::fs::read_dir(run_dir.join("journal/endpoints")) else {
        return Vec::new();
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |path: &Path| -> Option<Entry> {
        let content = std::fs::read_to_string(path).ok()?;
        let entry: Value = serde_json::from_str(content.lines().nth(1)?).ok()?;
        let addresses = entry["plan"]["addresses"].as_array()?.iter();
        Some(Entry {
            container: text(&entry["key"]["container_id"]),
            state: text(&entry["state"]),
            addresses: addresses
                .filter_map(|one| one["address"].as_str()?.parse::<IpAddr>().ok())
                .collect(),
            egress: text(&entry["plan"]["egress"]).parse().ok(),
            ports: ports(&entry["plan"]["port_mappings"]),
            limits: (
                entry["plan"]["bandwidth"]["to_pod"]["rate"].as_u64(),
                entry["plan"]["bandwidth"]["from_pod"]["rate"].as_u64(),
            ),
        })
    };
    files
        .flatten()
        .filter_map(|file| read(&file.path()))
        .collect()
}

fn ports(mappings: &Value) -> Vec<AskedPort> {
    let port = |one: &Value| -> Option<AskedPort> {
        Some(AskedPort {
            protocol: one["protocol"].as_str()?.to_owned(),
            host_port: one["host_port"].as_u64()?,
            pod_port: one["pod_port"].as_u64()?,
            host: one["host_address"].as_str().map(str::to_owned),
        })
    };
    let all = mappings.as_array().into_iter().flatten();
    all.filter_map(port).collect()
}

fn notes(run_dir: &Path) -> usize {
    std::fs::read_dir(run_dir.join("pending")).map_or(0, Iterator::count)
}
