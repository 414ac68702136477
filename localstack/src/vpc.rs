//! The VPC's namespace: a router with a port per attached interface. Brings the
//! kernel from one wiring to the next.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;

use crate::command::{ip_batch, nft, run_in};
use crate::error::LabError;
use crate::namespace::{Namespace, enter};
use crate::wiring::{Step, Wiring, steps};
use crate::{ports, security_groups, source_check};

/// Settings of a router that answers ARP for what it routes. Forwarding must come first,
/// because changing it makes the kernel reset others.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/conf/default/proxy_arp", "1"),
    // nftables checks sources, and exactly; the kernel's reverse path filter would only
    // interfere.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// The VPC.
#[derive(Debug)]
pub(crate) struct Vpc {
    namespace: Namespace,
    now: Wiring,
}

impl Vpc {
    /// A VPC without any port.
    pub(crate) async fn create(name: &str, networks: &[IpNet]) -> Result<Self, LabError> {
        let namespace = Namespace::create(format!("{name}'s VPC")).await?;
        enter(namespace.path(), || {
            SETTINGS.iter().try_for_each(|(setting, value)| {
                std::fs::write(format!("/proc/sys/net/{setting}"), value)
            })
        })
        .await
        .map_err(LabError::io("set the VPC up as a router"))?;
        let path = namespace.path().to_owned();
        nft(path.clone(), "make the VPC's table", source_check::base()).await?;
        // Drops packets to addresses that nobody has, without an ICMP error, as a cloud does.
        let nowhere = networks
            .iter()
            .map(|network| format!("route replace blackhole {network}"))
            .collect();
        ip_batch(path, "close the VPC's unassigned addresses", nowhere).await?;
        Ok(Self {
            namespace,
            now: Wiring::default(),
        })
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What is plugged in.
    pub(crate) fn wiring(&self) -> &Wiring {
        &self.now
    }

    /// Brings the wires to `next`. `holders` are the nodes' processes, by number.
    ///
    /// Must not be cancelled. After a failure the kernel differs from what the control
    /// plane has decided, and the lab is unusable.
    pub(crate) async fn rewire(
        &mut self,
        next: Wiring,
        holders: &BTreeMap<u32, u32>,
    ) -> Result<Vec<Step>, LabError> {
        let todo = steps(&self.now, &next);
        let path = self.namespace.path().to_owned();
        let mut pulls = (Vec::new(), String::new());
        let mut changes = (Vec::new(), String::new());
        for step in &todo {
            match step {
                Step::Unplug(interface) => {
                    pulls.0.push(ports::unplug(interface));
                    pulls.1.push_str(&source_check::close(interface));
                }
                Step::Plug(interface) => {
                    // A node without a namespace (somebody else's in the VPC) gets no wires.
                    if let Some(holder) = holders.get(&interface.node) {
                        changes.0.extend(gateway(interface));
                        changes.0.extend(ports::plug(interface, *holder));
                        changes.1.push_str(&source_check::open(interface));
                    }
                }
                Step::Update {
                    interface,
                    lost,
                    won,
                    rules,
                } => {
                    // An address that has moved to another interface has a new route by now,
                    // which must stay.
                    let lost_for_good = lost.iter().filter(|source| !held(&next, source));
                    changes
                        .0
                        .extend(ports::remove_routes(interface, lost_for_good));
                    changes.0.extend(ports::add_routes(interface, won.iter()));
                    changes
                        .1
                        .push_str(&source_check::update(interface, lost, won));
                    if *rules {
                        changes.1.push_str(&security_groups::replace(interface));
                    }
                }
            }
        }
        if !todo.is_empty() {
            ip_batch(path.clone(), "pull interfaces", pulls.0).await?;
            nft(path.clone(), "close ports", pulls.1).await?;
            // The source check must be there before the port can carry a packet.
            nft(path.clone(), "change the source check", changes.1).await?;
            ip_batch(path, "change the VPC's wires", changes.0).await?;
            self.now = next;
        }
        Ok(todo)
    }

    /// Packets dropped, by port.
    pub(crate) async fn counters(
        namespace: &Path,
    ) -> Result<BTreeMap<String, source_check::Dropped>, LabError> {
        let arguments = ["-j", "list", "counters", "table", "inet", "vpc"];
        let operation = "read the VPC's counters";
        let json = run_in(namespace, operation, "nft", &arguments, String::new()).await?;
        source_check::read_counters(&json)
    }

    pub(crate) async fn remove(self) {
        self.namespace.remove().await;
    }
}

/// The subnet's IPv4 gateway. It is an address of the router itself and on no port, so
/// that the router answers for it on every port.
fn gateway(interface: &crate::wiring::WiredInterface) -> impl Iterator<Item = String> {
    let gateways = interface.gateways.iter().filter(|one| one.is_ipv4());
    gateways.map(|one| format!("address replace {one}/32 dev lo"))
}

fn held(wiring: &Wiring, source: &IpNet) -> bool {
    wiring.0.values().any(|one| one.sources.contains(source))
}
