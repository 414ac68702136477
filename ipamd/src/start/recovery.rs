//! What a daemon finds when it starts: the journal of the one before, and what
//! that one has left in the kernel. Differences are repaired without touching
//! a healthy pod's traffic.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use veni_dataplane::host_ports::host_ports;
use veni_dataplane::plan::is_node_local;
use veni_dataplane::{
    Bandwidth, DataPlane, DefaultRoute, EndpointLinks, EndpointPlan, HalfPort, HostPort,
    KernelError, LinkKey, NodeAddress, Observed, ObservedLink, PodAddress,
};

use crate::attachment::{AttachmentKey, PodName, mac_text};
use crate::clock::{boot_millis, unix_millis};
use crate::events::{EventKind, Events};
use crate::journal::endpoint::{Record, RecordState};
use crate::journal::{Contents, Folder, Journal, JournalError, PendingRelease, RunningChange};
use crate::pool::FoundTables;
use crate::repairs::RepairMetrics;

/// Network name of an endpoint whose journal entry was lost: its address stays
/// taken until its link is gone, whoever it belongs to.
const UNKNOWN: &str = "(unknown)";

/// Why recovery failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Kernel(#[from] KernelError),
}

/// What recovery has found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Endpoints that live, and dying ones that are not forgotten yet.
    pub(crate) records: Vec<Record>,
    /// Releases to the cloud whose outcome the cloud must tell.
    pub(crate) releases: BTreeMap<String, PendingRelease>,
    /// Changes that run in the cloud.
    pub(crate) operations: Vec<RunningChange>,
    /// The routing tables of interfaces.
    pub(crate) tables: FoundTables,
    /// What was repaired, in words.
    pub(crate) repairs: Vec<String>,
    /// What links of the node itself carry.
    pub(crate) node_addresses: Vec<NodeAddress>,
}

/// Reads the journal, compares it with the kernel and repairs the difference.
///
/// # Errors
/// See [`RecoveryError`]; repeating it goes on where it stopped.
pub(crate) async fn recover(
    journal: &Journal,
    kernel: &Arc<dyn DataPlane>,
) -> Result<Recovered, RecoveryError> {
    let mut recovered = Recovered::default();
    let mut endpoints = journal.read::<Record>(Folder::Endpoints)?;
    for (_, record) in &mut endpoints.current {
        record.plan.pod = record.pod.label();
    }
    note_damage(&endpoints.damaged, &mut recovered);
    for (name, _) in &endpoints.earlier {
        // The boot took the pod, its link and its routes with it.
        journal.remove(Folder::Endpoints, name);
    }
    read_releases(journal, &mut recovered)?;
    read_operations(journal, &mut recovered)?;
    let records = endpoints.current.iter().map(|(_, record)| record);
    let known: Vec<LinkKey> = records.map(Record::link_key).collect();
    let mut observed = kernel.observe(&known).await?;
    recovered.tables = FoundTables::read(journal, &observed.interface_tables)?;
    let kept = kept_addresses(&endpoints, &observed);
    for (_, record) in endpoints.current {
        take_in(
            record,
            &kept,
            journal,
            kernel,
            &mut observed,
            &mut recovered,
        )
        .await?;
    }
    adopt_strangers(journal, kernel, &observed, &mut recovered).await?;
    for index in observed.stray_ifbs.iter().copied() {
        if kernel.remove_stray_ifb(index).await? {
            let repair = format!("deleted ifb device {index}, whose pod is gone");
            recovered.repairs.push(repair);
        }
    }
    remove_ports_of_nobody(kernel, &observed, &mut recovered).await?;
    recovered.node_addresses = kernel.node_addresses().await?;
    Ok(recovered)
}

/// The node-local addresses of endpoints in the journal. To be called before
/// [`recover`], which tells what is damaged: this removes nothing.
pub(crate) fn node_local(journal: &Journal) -> Result<Vec<IpAddr>, JournalError> {
    let endpoints = journal.peek::<Record>(Folder::Endpoints)?;
    let egress = endpoints.iter().filter_map(|record| record.plan.egress);
    Ok(egress.collect())
}

/// Tells what was repaired.
pub(crate) fn report_repairs(repairs: &[String], events: &Events, metrics: &RepairMetrics) {
    for repair in repairs {
        tracing::info!(repair, "repaired at the start");
        metrics.repaired();
        events.emit(EventKind::Repair, repair.clone());
    }
}

fn note_damage(damaged: &[(String, String)], recovered: &mut Recovered) {
    for (name, reason) in damaged {
        tracing::error!(
            name,
            reason,
            "a journal entry was damaged and has been dropped"
        );
        let repair = format!("dropped the damaged journal entry {name}: {reason}");
        recovered.repairs.push(repair);
    }
}

fn read_releases(journal: &Journal, recovered: &mut Recovered) -> Result<(), JournalError> {
    let releases: Contents<PendingRelease> = journal.read(Folder::Releases)?;
    note_damage(&releases.damaged, recovered);
    for (name, _) in &releases.earlier {
        journal.remove(Folder::Releases, name);
    }
    recovered.releases = releases.current.into_iter().collect();
    Ok(())
}

fn read_operations(journal: &Journal, recovered: &mut Recovered) -> Result<(), JournalError> {
    let operations: Contents<RunningChange> = journal.read(Folder::Operations)?;
    note_damage(&operations.damaged, recovered);
    for (name, _) in &operations.earlier {
        // The inventory tells what came of it.
        journal.remove(Folder::Operations, name);
    }
    let current = operations.current.into_iter();
    recovered.operations = current.map(|(_, entry)| entry).collect();
    Ok(())
}

/// The addresses of endpoints that live. A dead one that had one of them before
/// must not take its route away.
fn kept_addresses(endpoints: &Contents<Record>, observed: &Observed) -> HashSet<IpAddr> {
    let records = endpoints.current.iter().map(|(_, record)| record);
    records
        .filter(|record| record.state == RecordState::Ready)
        .filter(|record| record.link_in(observed).is_some_and(|link| !link.dying))
        .flat_map(routed)
        .collect()
}

/// All addresses that the node routes to an endpoint.
fn routed(record: &Record) -> Vec<IpAddr> {
    let routed = record.plan.routed();
    routed.iter().map(|pod| pod.address).collect()
}

/// One entry of this boot against the kernel.
async fn take_in(
    mut record: Record,
    kept: &HashSet<IpAddr>,
    journal: &Journal,
    kernel: &Arc<dyn DataPlane>,
    observed: &mut Observed,
    recovered: &mut Recovered,
) -> Result<(), RecoveryError> {
    let link = record.link_in(observed).cloned();
    if let Some(link) = &link {
        // Explained: what is left in the end belongs to nobody.
        observed.links.retain(|other| other.index != link.index);
    }
    let lives = link.as_ref().is_some_and(|link| !link.dying);
    if record.state == RecordState::Ready && lives {
        forget_routes(&record, observed);
        note_changed_mac(&record, link.as_ref(), recovered);
        complete_host_side(&record, kernel, recovered).await;
        recovered.records.push(record);
        return Ok(());
    }
    let index = link.as_ref().map(|link| link.index);
    let mut own = routed(&record);
    own.retain(|address| !kept.contains(address));
    // Before it is written down: a start that is killed in between finds the entry as it
    // was, and does the same again.
    let own = pod_addresses(&own);
    let ports = host_ports(&own, &record.plan.port_mappings);
    kernel.remove_endpoint(&own, &ports, index).await?;
    if let (Some(index), Some(_)) = (index, record.plan.bandwidth.from_pod) {
        kernel.remove_limits(index).await?;
    }
    forget_routes(&record, observed);
    match record.state {
        RecordState::Ready => recovered
            .repairs
            .push(format!("{}: its namespace is gone", record.label())),
        RecordState::Adding => recovered.repairs.push(format!(
            "{}: undid an add that was not finished",
            record.label()
        )),
        RecordState::Dying => {}
    }
    // The index in the entry may be another link's by now, and the reaper deletes by index.
    record.links = link.map(|link| EndpointLinks {
        host_index: link.index,
        pod_index: 0,
        namespace_cookie: 0,
    });
    record.state = RecordState::Dying;
    // The cooldown of a DEL that was interrupted goes on, and does not begin anew.
    record.released_boot_ms.get_or_insert_with(boot_millis);
    write_down(journal, &record);
    recovered.records.push(record);
    Ok(())
}

/// A run folder that is full keeps no daemon from serving: the next start finds the
/// same difference and draws the same conclusion.
fn write_down(journal: &Journal, record: &Record) {
    if let Err(error) = journal.write(Folder::Endpoints, &record.id, record) {
        tracing::warn!(attachment = %record.key, %error, "what the start has found is not written down");
    }
}

/// Others set MACs of links, device managers above all. It is set again, because the pod
/// sends to the one that it was told of.
fn note_changed_mac(record: &Record, link: Option<&ObservedLink>, recovered: &mut Recovered) {
    let Some(link) = link.filter(|link| link.mac != record.plan.host_mac) else {
        return;
    };
    let changed = format!(
        "the MAC of {} had been changed to {}",
        link.name,
        mac_text(link.mac)
    );
    let label = record.label();
    recovered.repairs.push(format!("{label}: {changed}"));
}

/// What is left in `observed` in the end belongs to nobody.
fn forget_routes(record: &Record, observed: &mut Observed) {
    let addresses = routed(record);
    observed
        .endpoints
        .retain(|endpoint| !addresses.contains(&endpoint.address));
}

async fn complete_host_side(
    record: &Record,
    kernel: &Arc<dyn DataPlane>,
    recovered: &mut Recovered,
) {
    // Changes nothing where nothing is missing. A refusal keeps no daemon from starting: the
    // other pods need it, and the audit tries this one again.
    if let Err(error) = kernel.add_endpoint(&record.plan, None).await {
        tracing::warn!(attachment = %record.key, %error, "failed to complete an endpoint's host side");
        recovered
            .repairs
            .push(format!("{}: host side incomplete: {error}", record.label()));
    }
}

/// Links and routes of ours that no entry explains: their entry was damaged.
/// The pod behind may be healthy, so it keeps its network and its address
/// stays taken until the link goes.
async fn adopt_strangers(
    journal: &Journal,
    kernel: &Arc<dyn DataPlane>,
    observed: &Observed,
    recovered: &mut Recovered,
) -> Result<(), RecoveryError> {
    let mut by_link: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for endpoint in &observed.endpoints {
        by_link
            .entry(endpoint.link_index)
            .or_default()
            .push(endpoint.address);
    }
    let living: HashSet<u32> = observed
        .links
        .iter()
        .filter(|link| !link.dying)
        .map(|link| link.index)
        .collect();
    for link in &observed.links {
        let mut addresses = by_link.remove(&link.index).unwrap_or_default();
        addresses.sort();
        let adopted = living.contains(&link.index) && !addresses.is_empty();
        let mut record = stranger(link, &addresses, adopted);
        if adopted {
            let ports = observed.host_ports.iter();
            let own = ports.filter(|port| addresses.contains(&port.pod));
            record.plan.port_mappings = own.map(HostPort::mapping).collect();
        }
        if adopted {
            recovered.repairs.push(format!(
                "link {} has no journal entry: its addresses stay taken until it is gone",
                link.name
            ));
        } else {
            let addresses = pod_addresses(&addresses);
            kernel
                .remove_endpoint(&addresses, &[], Some(link.index))
                .await?;
            kernel.remove_limits(link.index).await?;
        }
        // One that is not adopted goes on as after a DEL: the reaper deletes its link, and
        // its addresses cool.
        write_down(journal, &record);
        recovered.records.push(record);
    }
    for (index, addresses) in by_link {
        kernel
            .remove_endpoint(&pod_addresses(&addresses), &[], Some(index))
            .await?;
        recovered
            .repairs
            .push(format!("removed routes of nobody: {addresses:?}"));
    }
    Ok(())
}

/// Ports of the node that lead to no endpoint that lives: somebody's record was lost, or
/// the kernel was left between the two.
async fn remove_ports_of_nobody(
    kernel: &Arc<dyn DataPlane>,
    observed: &Observed,
    recovered: &mut Recovered,
) -> Result<(), RecoveryError> {
    let records = recovered.records.iter();
    let living = records.filter(|record| record.state == RecordState::Ready);
    let wanted: HashSet<HostPort> = living.flat_map(|record| record.plan.host_ports()).collect();
    let half = observed.half_ports.iter().filter_map(|half| match half {
        HalfPort::WithoutPod(port) => Some(port),
        HalfPort::WithoutPort(_) => None,
    });
    let all = observed.host_ports.iter().chain(half);
    let of_nobody: Vec<HostPort> = all.filter(|port| !wanted.contains(port)).copied().collect();
    if of_nobody.is_empty() {
        return Ok(());
    }
    kernel.remove_endpoint(&[], &of_nobody, None).await?;
    // With them goes the element of the pod that they led to, which its own ports need.
    let living: Vec<Record> = recovered
        .records
        .iter()
        .filter(|record| record.state == RecordState::Ready)
        .filter(|record| {
            let own = record.plan.host_ports();
            own.iter()
                .any(|one| of_nobody.iter().any(|gone| gone.pod == one.pod))
        })
        .cloned()
        .collect();
    for record in &living {
        complete_host_side(record, kernel, recovered).await;
    }
    let words: Vec<String> = of_nobody.iter().map(HostPort::to_string).collect();
    let repair = format!("removed host ports of nobody: {}", words.join(", "));
    recovered.repairs.push(repair);
    Ok(())
}

fn pod_addresses(addresses: &[IpAddr]) -> Vec<PodAddress> {
    addresses
        .iter()
        .map(|address| PodAddress { address: *address })
        .collect()
}

fn stranger(link: &ObservedLink, addresses: &[IpAddr], lives: bool) -> Record {
    let (egress, addresses): (Vec<IpAddr>, Vec<IpAddr>) = addresses
        .iter()
        .partition(|address| is_node_local(**address));
    let key = AttachmentKey {
        network: UNKNOWN.to_owned(),
        container_id: link.name.clone(),
        interface_name: UNKNOWN.to_owned(),
    };
    let created_ms = unix_millis();
    Record {
        id: format!(
            "{}{created_ms:012x}",
            veni_api::file_names::entry_prefix(key.parts())
        ),
        key,
        pod: PodName::default(),
        state: if lives {
            RecordState::Ready
        } else {
            RecordState::Dying
        },
        plan: EndpointPlan {
            pod: None,
            pod_link: String::new(),
            host_link: link.name.clone(),
            pod_mac: [0; 6],
            host_mac: link.mac,
            mtu: 0,
            addresses: pod_addresses(&addresses),
            node_addresses: Vec::new(),
            egress: egress.first().copied(),
            no_ipv6: false,
            default_route: DefaultRoute::Only,
            bandwidth: Bandwidth::default(),
            port_mappings: Vec::new(),
        },
        links: Some(EndpointLinks {
            host_index: link.index,
            pod_index: 0,
            namespace_cookie: 0,
        }),
        cloud_interface: String::new(),
        created_ms,
        created_boot_ms: boot_millis(),
        add_micros: 0,
        waited_micros: 0,
        released_boot_ms: (!lives).then(boot_millis),
    }
}
