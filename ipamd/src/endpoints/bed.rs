//! A maker of endpoints on an in-memory kernel, without the daemon.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use veni_api::failure::CniFailure;
use veni_dataplane::Bandwidth;
use veni_dataplane::memory::MemoryKernel;
use veni_provider::InterfaceId;

use super::egress::EgressAddresses;
use super::fixtures::{key, pod};
use super::host_names::HostNames;
use super::maker::Maker;
use super::metrics::EndpointMetrics;
use super::order::{AddOrder, Leased};
use super::reaper::Reaper;
use super::records::Records;
use super::settings::{EndpointSettings, Tools};
use crate::events::Events;
use crate::journal::endpoint::{Record, RecordState};
use crate::journal::{Folder, Journal};
use crate::pool::{Command, Lease, Pool, Wear};
use crate::repairs::RepairMetrics;

/// A maker, and all that it is made with.
pub(super) struct Bed {
    pub(super) kernel: MemoryKernel,
    pub(super) journal: Journal,
    pub(super) maker: Maker,
    pub(super) records: Arc<Records>,
    /// Of what is made from now on.
    pub(super) bandwidth: Bandwidth,
    pub(super) returned: UnboundedReceiver<Command>,
    /// Runs in those tests that take it.
    pub(super) reaper: Option<Reaper>,
    pub(super) names: Arc<HostNames>,
    _folder: tempfile::TempDir,
}

impl Bed {
    /// Node-local addresses come from `egress`.
    pub(super) fn new(egress: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(folder.path(), "boot");
        let kernel = MemoryKernel::new();
        let (pool, returned) = Pool::channel();
        let tools = Tools {
            pool,
            kernel: Arc::new(kernel.clone()),
            journal: journal.clone(),
            events: Events::default(),
            metrics: EndpointMetrics::default(),
            repairs: RepairMetrics::default(),
        };
        let settings = EndpointSettings {
            veth_prefix: "eni".to_owned(),
            pod_mtu: 9001,
            add_wait: Duration::from_secs(1),
            cooldown: Duration::from_secs(30),
            node_addresses: Vec::new(),
            egress: egress.map(|range| range.parse().expect("a range")),
            no_ipv6: false,
        };
        let records = Arc::new(Records::new(journal.clone()));
        let names = Arc::new(HostNames::new(settings.veth_prefix.clone()));
        let egress = Arc::new(EgressAddresses::new(settings.egress));
        let taken = (Arc::clone(&names), egress);
        let (dying, reaper) = Reaper::new(
            Arc::clone(&tools.kernel),
            Arc::clone(&records),
            taken.clone(),
            settings.cooldown,
        );
        let maker = Maker::new(settings, &tools, Arc::clone(&records), taken, dying);
        Self {
            kernel,
            journal,
            maker,
            records,
            bandwidth: Bandwidth::default(),
            returned,
            reaper: Some(reaper),
            names,
            _folder: folder,
        }
    }

    fn namespace(&self) -> OwnedFd {
        self.kernel.namespace().expect("a namespace").0
    }

    pub(super) async fn make(&self, container_id: &str) -> Result<Record, CniFailure> {
        let leased = Leased {
            order: AddOrder {
                key: key(container_id),
                pod: pod("web"),
                namespace: self.namespace(),
                mtu: 0,
                is_default_gateway: None,
                bandwidth: self.bandwidth,
                port_mappings: Vec::new(),
            },
            lease: Lease {
                interface: InterfaceId::new("eni-1"),
                addresses: vec![[10, 0, 0, 9].into()],
            },
            begun: Instant::now(),
            waited: Duration::ZERO,
        };
        self.maker.make(leased).await
    }

    /// Whether the next address that came back had been used; `None` when none did.
    pub(super) fn wear(&mut self) -> Option<Wear> {
        match self.returned.try_recv().ok()? {
            Command::Return { wear, .. } => Some(wear),
            other => panic!("not an address that comes back: {other:?}"),
        }
    }

    pub(super) fn states_in_journal(&self) -> Vec<RecordState> {
        let contents = self.journal.read::<Record>(Folder::Endpoints);
        let current = contents.expect("reads").current.into_iter();
        current.map(|(_, record)| record.state).collect()
    }
}
