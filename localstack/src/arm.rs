//! A Resource Manager with rules as a lab's control plane: in the lab's process, served over
//! HTTP on the internet host, with instance metadata in the VPC.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use veni_arm::{Arm, HeldNic};
use veni_provider::{DEFAULT_NETWORK_CARD, Interface, InterfaceId, InterfaceState, Mac, SubnetId};
use veni_provider_mock::config::SecurityGroup;
use veni_provider_mock::dump::InterfaceDump;

use crate::command::ip_batch;
use crate::error::LabError;
use crate::feed;
use crate::namespace::enter;
use crate::plane::{Network, WiringUpdate};

/// Where every machine finds its metadata.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The internet host's address (RFC 5737, documentation).
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// TCP port of the Resource Manager there.
const PORT: u16 = 8080;
/// Between two looks at what the NICs hold. An operation of the Resource Manager takes longer,
/// and whoever waits for it asks less often: the wires are first.
const LOOK: Duration = Duration::from_millis(10);

/// The configuration of a Resource Manager with its machines.
#[derive(Debug, Clone)]
pub struct ArmConfig {
    /// The Resource Manager's.
    pub arm: veni_arm::Config,
    /// The machines, in order.
    pub machines: Vec<veni_arm::NodeConfig>,
}

impl ArmConfig {
    /// So many machines of one size, spread over the subnets.
    #[must_use]
    pub fn new(arm: veni_arm::Config, machines: u32, size: &str) -> Self {
        let subnets = arm.subnets.iter().cycle();
        let machines = (1..=machines).zip(subnets).map(|(number, (subnet, _))| {
            let mut machine = veni_arm::NodeConfig::new(&format!("vm{number}"), subnet);
            size.clone_into(&mut machine.size);
            machine
        });
        Self {
            machines: machines.collect(),
            arm,
        }
    }
}

/// A lab's Resource Manager.
#[derive(Debug)]
pub struct ArmCloud {
    arm: Arm,
    config: ArmConfig,
}

impl ArmCloud {
    pub(crate) fn start(config: ArmConfig) -> Result<Self, LabError> {
        let arm = Arm::new(config.arm.clone());
        for machine in &config.machines {
            let added = arm.add_node(machine.clone());
            added.map_err(|error| LabError::Cloud {
                operation: "make its machines".to_owned(),
                reason: error.to_string(),
            })?;
        }
        Ok(Self { arm, config })
    }

    /// The Resource Manager, to make it fail, count its calls and write as somebody else.
    pub fn arm(&self) -> &Arm {
        &self.arm
    }

    /// What a machine's NIC holds: the truth, without lag.
    pub fn interfaces(&self, machine: &str) -> Vec<InterfaceDump> {
        let held = self.arm.held().into_iter();
        let of_machine = held.filter(|nic| nic.machine == machine);
        of_machine.filter_map(|nic| interface(&nic)).collect()
    }

    pub(crate) fn network(&self) -> Network {
        let networks = self.config.arm.address_space.iter();
        let machines = self.config.machines.iter();
        Network {
            networks: networks.map(|range| IpNet::V4(*range)).collect(),
            internet: vec![INTERNET.into()],
            instances: machines.map(|machine| machine.name.clone()).collect(),
        }
    }

    pub(crate) fn follow(&self) -> Follow {
        Follow {
            arm: self.arm.clone(),
            latest: None,
        }
    }

    /// Opens the Resource Manager on the internet host, and instance metadata in the VPC,
    /// until it is told to stop.
    pub(crate) async fn open(
        &self,
        vpc: &Path,
        internet: &Path,
        stop: CancellationToken,
    ) -> Result<(), LabError> {
        let line = format!("address replace {METADATA}/32 dev lo");
        let operation = "give the VPC the metadata's address";
        ip_batch(vpc.to_owned(), operation, vec![line]).await?;
        let metadata = listen(vpc, SocketAddr::new(METADATA.into(), 80)).await?;
        let manager = listen(internet, SocketAddr::new(INTERNET.into(), PORT)).await?;
        // Both end when they are told to stop; until then a listener does not fail.
        tokio::spawn(veni_arm::serve_metadata(
            self.arm.clone(),
            metadata,
            stop.clone(),
        ));
        tokio::spawn(veni_arm::serve(self.arm.clone(), None, manager, stop));
        Ok(())
    }

    pub(crate) fn environment(host_root: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("VENI_PROVIDER", "azure".to_owned()),
            ("VENI_AZURE_ENDPOINT", format!("http://{INTERNET}:{PORT}")),
            ("VENI_HOST_ROOT", host_root.display().to_string()),
            // Neither is reached by a proxy of the machine's user.
            ("NO_PROXY", format!("{METADATA},{INTERNET}")),
        ]
    }
}

async fn listen(
    namespace: &Path,
    address: SocketAddr,
) -> Result<tokio::net::TcpListener, LabError> {
    let operation = format!("open {address}");
    let listener = enter(namespace, move || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    let listener = listener.await.map_err(LabError::io(operation.clone()))?;
    tokio::net::TcpListener::from_std(listener).map_err(LabError::io(operation))
}

/// What the NICs hold, whenever it has changed.
pub(crate) struct Follow {
    arm: Arm,
    latest: Option<Vec<HeldNic>>,
}

impl Follow {
    /// What must be plugged in now.
    pub(crate) fn now(&mut self, instances: &BTreeMap<String, u32>) -> WiringUpdate {
        let held = self.arm.held();
        let update = update(&held, instances);
        self.latest = Some(held);
        update
    }

    /// What must be plugged in after the next change. Cancel-safe.
    pub(crate) async fn changed(&mut self, instances: &BTreeMap<String, u32>) -> WiringUpdate {
        while self.latest.as_ref() == Some(&self.arm.held()) {
            sleep(LOOK).await;
        }
        self.now(instances)
    }
}

fn update(held: &[HeldNic], instances: &BTreeMap<String, u32>) -> WiringUpdate {
    let known = held.iter();
    let known = known.filter_map(|nic| Some((*instances.get(&nic.machine)?, interface(nic)?)));
    let known: Vec<(u32, InterfaceDump)> = known.collect();
    let known = known.iter().map(|(number, one)| (*number, one));
    WiringUpdate {
        wiring: feed::wiring(known, &[SecurityGroup::default_group()]),
        acted: None,
    }
}

/// `None` where its MAC is none, which the Resource Manager never makes.
fn interface(nic: &HeldNic) -> Option<InterfaceDump> {
    let mac: Mac = nic.mac.replace('-', ":").parse().ok()?;
    let ranges = nic.ranges.iter().copied();
    let (singles, blocks): (Vec<Ipv4Net>, Vec<Ipv4Net>) =
        ranges.partition(|range| range.prefix_len() == 32);
    let gateway = Ipv4Addr::from_bits(nic.subnet.network().to_bits() + 1);
    let interface = Interface {
        id: InterfaceId::new(nic.id.clone()),
        mac,
        device_index: 0,
        network_card: DEFAULT_NETWORK_CARD,
        primary: true,
        managed: true,
        made_for_pods: false,
        for_pods: true,
        state: InterfaceState::Attached,
        subnet: SubnetId::new(nic.subnet_id.clone()),
        subnet_cidrs: vec![nic.subnet.into()],
        gateways: vec![gateway.into()],
        own_addresses: vec![nic.primary.into()],
        addresses: singles.iter().map(|one| IpAddr::from(one.addr())).collect(),
        prefixes: blocks.into_iter().map(IpNet::V4).collect(),
    };
    Some(InterfaceDump {
        interface,
        security_groups: vec![SecurityGroup::default_group().id],
    })
}
