//! What machines hold in truth, without lag: for whoever builds their network.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tokio::time::Instant;

use crate::arm::Arm;

/// A machine's NIC in truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldNic {
    /// The machine's name.
    pub machine: String,
    /// The NIC's id.
    pub id: String,
    /// Its MAC as the Resource Manager writes it: `00-0D-3A-00-00-01`.
    pub mac: String,
    /// The range of its subnet.
    pub subnet: Ipv4Net,
    /// The subnet's id.
    pub subnet_id: String,
    /// The address of its primary configuration.
    pub primary: Ipv4Addr,
    /// What its other configurations have: addresses as /32, and blocks.
    pub ranges: Vec<Ipv4Net>,
}

impl Arm {
    /// The NICs of all machines, in the order of the NICs' names.
    #[must_use]
    pub fn held(&self) -> Vec<HeldNic> {
        let mut state = self.lock();
        state.end_operations(Instant::now());
        let nics = state.nics.values();
        let held = nics.filter_map(|nic| {
            let subnet = state.subnet(&nic.subnet)?;
            let (primary, others): (Vec<_>, Vec<_>) = nic
                .configurations
                .iter()
                .filter_map(|one| Some((one.is_primary(), one.range?)))
                .partition(|(primary, _)| *primary);
            Some(HeldNic {
                machine: nic.name.strip_suffix("-nic")?.to_owned(),
                id: nic.id.clone(),
                mac: nic.mac.clone(),
                subnet: subnet.range,
                subnet_id: state.config.subnet_id(&nic.subnet),
                primary: primary.first()?.1.addr(),
                ranges: others.into_iter().map(|(_, range)| range).collect(),
            })
        });
        held.collect()
    }

    /// The machine whose primary configuration has this address: the one that asks instance
    /// metadata, which answers no other address of it.
    #[must_use]
    pub fn machine_at(&self, primary: Ipv4Addr) -> Option<String> {
        let found = self.held().into_iter().find(|nic| nic.primary == primary);
        Some(found?.machine)
    }
}
