//! The audit at the end of a test: compares what daemon, kernel and cloud each say about
//! themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use veni_api::v1;
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider::SourceRouting;

use crate::daemon::Daemon;
use crate::world::ranges_of;

impl Daemon {
    /// The differences.
    /// Only for a pool that has settled.
    pub(crate) async fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        let report = self.report().await;
        let records = self.app.endpoints.list();
        let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
        for record in &records {
            for address in record.addresses() {
                if let Some(other) = owners.insert(address, record.key.to_string()) {
                    found.push(format!("{address} is of {other} and of {}", record.key));
                }
                if !self.world.cloud_knows(address) {
                    found.push(format!("{address} is not the node's in the cloud"));
                }
            }
        }
        for (record, local) in records.iter().filter_map(|r| Some((r, r.plan.egress?))) {
            if let Some(other) = owners.insert(local, record.key.to_string()) {
                found.push(format!("{local} is of {other} and of {}", record.key));
            }
        }
        let routed: BTreeSet<IpAddr> = self.world.kernel.routes().iter().map(|r| r.0).collect();
        if !routed.iter().eq(owners.keys()) {
            found.push(format!("routes {routed:?} but endpoints {owners:?}"));
        }
        // Counted in the first family: each endpoint has one address of it.
        if report.assigned as usize != records.len() {
            let (leases, endpoints) = (report.assigned, records.len());
            found.push(format!("{leases} leases, {endpoints} endpoints"));
        }
        self.compare_with_the_cloud(&report, &mut found);
        self.compare_rules(&owners, &mut found);
        found.extend(self.world.calls.collisions());
        found
    }

    fn compare_with_the_cloud(&self, report: &v1::PoolResponse, found: &mut Vec<String>) {
        let truth: BTreeSet<(String, IpNet)> = self
            .world
            .interfaces()
            .iter()
            .flat_map(|i| {
                ranges_of(i)
                    .into_iter()
                    .map(|range| (i.id.to_string(), range))
            })
            .collect();
        let mut told = BTreeSet::new();
        for interface in &report.interfaces {
            let addresses = interface.addresses.iter().map(|a| {
                let address: IpAddr = a.address.parse().expect("an address");
                IpNet::from(address)
            });
            let prefixes = interface.prefixes.iter();
            let prefixes = prefixes.map(|p| p.prefix.parse().expect("a prefix"));
            told.extend(
                addresses
                    .chain(prefixes)
                    .map(|range| (interface.id.clone(), range)),
            );
        }
        for missing in truth.difference(&told) {
            found.push(format!(
                "the cloud has {missing:?}, the daemon does not know it"
            ));
        }
        for surplus in told.difference(&truth) {
            found.push(format!(
                "the daemon has {surplus:?}, the cloud does not know it"
            ));
        }
    }

    /// Pods on a secondary interface have a rule that leads out of it.
    fn compare_rules(&self, owners: &BTreeMap<IpAddr, String>, found: &mut Vec<String>) {
        let source_routing =
            self.world.cloud.capabilities().source_routing == SourceRouting::BySource;
        for interface in self.world.interfaces().iter().filter(|_| source_routing) {
            let plan = self
                .world
                .kernel
                .interface(INTERFACE_TABLE_BASE + interface.device_index);
            let ranges = ranges_of(interface);
            let of_it = owners
                .keys()
                .filter(|a| ranges.iter().any(|r| r.contains(*a)));
            for address in of_it.filter(|_| !interface.primary) {
                let ruled = plan.as_ref().is_some_and(|plan| {
                    plan.mac == interface.mac.0
                        && plan
                            .source_routing
                            .sources()
                            .iter()
                            .any(|s| s.contains(address))
                });
                if !ruled {
                    found.push(format!("{address} has no rule out of {}", interface.id));
                }
            }
        }
    }

    /// Asserts that daemon, kernel and cloud agree.
    pub(crate) async fn check(&self) {
        let differences = self.differences().await;
        assert!(differences.is_empty(), "{differences:#?}");
    }
}
