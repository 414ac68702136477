//! The independent audit. It compares what EC2 describes, what EC2 holds in truth, what
//! the daemon answers and what the kernel has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::{Instant, sleep};
use veni_dataplane::plan::{INTERFACE_TABLES, InterfacePlan};
use veni_testbed::ec2::{Holding, described, in_truth};

use crate::daemon::Daemon;
use crate::world::{LONG, SETTLE};

/// Everything that is compared.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) instance: String,
    /// Interfaces of the VPC, as EC2 describes them.
    pub(crate) described: BTreeSet<Holding>,
    /// The same, by the hook's state.
    pub(crate) truth: BTreeSet<Holding>,
    /// Interface and range, as the daemon tells operators.
    pub(crate) told: BTreeSet<(String, IpNet)>,
    /// Pods and their addresses, as the daemon tells operators.
    pub(crate) pods: Vec<(String, IpAddr)>,
    /// Routes to pods.
    pub(crate) routes: BTreeSet<IpAddr>,
    /// Interfaces in service.
    pub(crate) in_service: Vec<InterfacePlan>,
    /// Changes that met on one interface.
    pub(crate) collisions: Vec<String>,
    /// Unattached interfaces that somebody else made.
    pub(crate) strangers: Vec<String>,
}

impl Daemon {
    /// Looks everywhere.
    pub(crate) async fn evidence(&self) -> Evidence {
        let world = &self.world;
        let report = self.report().await;
        let mut told = BTreeSet::new();
        for interface in &report.interfaces {
            let addresses = interface.addresses.iter().map(|shown| {
                let address: IpAddr = shown.address.parse().expect("an address");
                IpNet::from(address)
            });
            let prefixes = interface.prefixes.iter();
            let prefixes = prefixes.map(|shown| shown.prefix.parse().expect("a prefix"));
            let ranges = addresses.chain(prefixes);
            told.extend(ranges.map(|range| (interface.id.clone(), range)));
        }
        let records = self.app.endpoints.list();
        let pods = records.iter().flat_map(|record| {
            let owner = record.key.to_string();
            let addresses = record.addresses().into_iter();
            addresses.map(move |address| (owner.clone(), address))
        });
        Evidence {
            instance: world.site.instance.clone(),
            described: described(&world.site).await,
            truth: in_truth(&world.site).await,
            told,
            pods: pods.collect(),
            routes: world.kernel.routes().iter().map(|route| route.0).collect(),
            in_service: INTERFACE_TABLES
                .filter_map(|table| world.kernel.interface(table))
                .collect(),
            collisions: world.calls.collisions(),
            strangers: Vec::new(),
        }
    }

    /// Asserts that nothing differs. Only for a daemon at rest.
    pub(crate) async fn check(&self) {
        self.check_beside(&[]).await;
    }

    /// Asserts the same, except for unattached interfaces that somebody else made.
    pub(crate) async fn check_beside(&self, strangers: &[String]) {
        let evidence = Evidence {
            strangers: strangers.to_vec(),
            ..self.evidence().await
        };
        let found = evidence.mistakes();
        let told = self.explanation().await;
        assert!(found.is_empty(), "{found:#?}\n{told}");
        // The daemon cleans up half-made interfaces in the background, so wait for it.
        let mut found = evidence.differences();
        let began = Instant::now();
        while !found.is_empty() && began.elapsed() < LONG {
            sleep(SETTLE).await;
            let evidence = Evidence {
                strangers: strangers.to_vec(),
                ..self.evidence().await
            };
            found = evidence.differences();
        }
        assert!(found.is_empty(), "{found:#?}\n{told}");
    }
}

impl Evidence {
    /// The differences that must not exist at any moment.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.compare_pods(&mut found);
        self.find_doubles(&mut found);
        found.extend(self.collisions.iter().cloned());
        found
    }

    /// The differences.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut found = self.mistakes();
        if self.described != self.truth {
            found.push("EC2 does not describe what it holds".to_owned());
        }
        self.compare_holdings(&mut found);
        self.compare_rules(&mut found);
        self.find_loose_ends(&mut found);
        found
    }

    fn own(&self) -> impl Iterator<Item = &Holding> {
        let of_node = |one: &&Holding| one.serves(&self.instance);
        self.truth.iter().filter(of_node)
    }

    /// Each pod has an address of its own that EC2 assigns to the node, and a route.
    fn compare_pods(&self, found: &mut Vec<String>) {
        let mut owners = BTreeMap::new();
        for (pod, address) in &self.pods {
            if let Some(other) = owners.insert(*address, pod) {
                found.push(format!("{address} is of {other} and of {pod}"));
            }
            let mut ranges = self.own().flat_map(|one| &one.ranges);
            if !ranges.any(|range| range.contains(address)) {
                found.push(format!("{address} of {pod} is not the node's in EC2"));
            }
        }
        if !self.routes.iter().eq(owners.keys()) {
            found.push(format!("routes {:?} but pods {owners:?}", self.routes));
        }
    }

    /// The daemon knows exactly what EC2 has assigned.
    fn compare_holdings(&self, found: &mut Vec<String>) {
        let held = self.own().flat_map(|one| {
            let ranges = one.ranges.iter();
            ranges.map(|range| (one.interface.clone(), *range))
        });
        let held: BTreeSet<(String, IpNet)> = held.collect();
        let lost = held.difference(&self.told);
        found.extend(lost.map(|one| format!("the daemon does not know {one:?}")));
        let surplus = self.told.difference(&held);
        found.extend(surplus.map(|one| format!("EC2 has not assigned {one:?}")));
    }

    /// Pods on a secondary interface have a rule that leads out of it.
    fn compare_rules(&self, found: &mut Vec<String>) {
        for one in self.own() {
            let index = one.attached.as_ref().map_or(0, |at| at.index);
            let of_it = |address: &&IpAddr| one.ranges.iter().any(|range| range.contains(*address));
            let pods = self.pods.iter().map(|(_, address)| address);
            for address in pods.filter(of_it).filter(|_| index > 0) {
                let ruled = self.in_service.iter().any(|plan| {
                    let mac = plan.mac.map(|byte| format!("{byte:02x}")).join(":");
                    let mut sources = plan.source_routing.sources().iter();
                    mac == one.mac && sources.any(|range| range.contains(address))
                });
                if !ruled {
                    found.push(format!("{address} has no rule out of {}", one.interface));
                }
            }
        }
    }

    /// Nothing is assigned twice in the whole VPC.
    fn find_doubles(&self, found: &mut Vec<String>) {
        let all = self.truth.iter().flat_map(|one| {
            let own = one.own.iter().map(|address| IpNet::from(*address));
            own.chain(one.ranges.iter().copied())
                .map(|range| (range, &one.interface))
        });
        let mut all: Vec<(IpNet, &String)> = all.collect();
        all.sort();
        for pair in all.windows(2) {
            if pair[0].0.contains(&pair[1].0) {
                found.push(format!("assigned twice: {pair:?}"));
            }
        }
    }

    /// No interface is between two states or attached to nothing.
    fn find_loose_ends(&self, found: &mut Vec<String>) {
        for one in &self.truth {
            match &one.attached {
                Some(at) if at.status != "attached" => {
                    found.push(format!("{} is {}", one.interface, at.status));
                }
                None if !self.strangers.contains(&one.interface) => {
                    found.push(format!("{} is attached to nothing", one.interface));
                }
                _ => {}
            }
        }
    }
}
