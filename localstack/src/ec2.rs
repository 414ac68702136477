//! LocalStack's EC2 as a lab's control plane: a VPC of the lab's own with its
//! instances, the roads by which the nodes reach EC2, and what an administrator
//! and a test may ask of it.
//!
//! The wires follow the hook's state and not EC2's Describe, because a describe lag
//! must delay clients and not packets.

mod config;
mod follow;
mod metadata;
mod network;
mod state;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use tokio::sync::watch;
use veni_provider::SubnetId;
use veni_provider_mock::dump::InterfaceDump;

use crate::emulator::{Control, Emulator};
use crate::error::LabError;
use crate::metadata::{Service, access_key_id};
use crate::plane::Network;
use crate::processes::Processes;
use crate::roads::Road;

pub use config::{Ec2Config, Ec2Subnet, LocalStack};
pub(crate) use follow::Follow;

/// The lab's region.
const REGION: &str = "us-east-1";
/// Access key of the administrator.
const ADMINISTRATOR: &str = "administrator";
/// TCP port of EC2's API on the internet host.
const API_PORT: u16 = 4566;
/// How long the server may take to be ready. The first start on a machine installs
/// LocalStack, which takes a minute or two.
const INSTALLATION: Duration = Duration::from_secs(600);

/// A lab's part of LocalStack's EC2.
#[derive(Debug)]
pub struct Ec2Cloud {
    address: SocketAddr,
    /// The server, when it is the lab's own.
    emulator: Option<Emulator>,
    client: Client,
    network: network::Network,
    internet: Vec<IpAddr>,
    /// The generation of the VPC's state that the wires last acted on.
    generation: watch::Sender<u64>,
    roads: Option<Roads>,
}

/// What nodes can reach.
#[derive(Debug)]
struct Roads {
    _api: Road,
    metadata: metadata::Metadata,
}

impl Ec2Cloud {
    /// Starts a server, unless the configuration names a running one, and makes the
    /// VPC and the instances.
    pub(crate) async fn start(
        config: Ec2Config,
        folder: &Path,
        processes: &Processes,
    ) -> Result<Self, LabError> {
        let (address, emulator) = match &config.server {
            LocalStack::Running(address) => {
                Control::new(*address).health().await?;
                (*address, None)
            }
            LocalStack::Own(run_script) => {
                let emulator = own_server(run_script, folder, processes).await?;
                (emulator.address(), Some(emulator))
            }
        };
        let client = Client::new(&sdk_config(ADMINISTRATOR, address));
        let lab = folder.display().to_string();
        let control = Control::new(address);
        if emulator.is_none() {
            network::clear_leftovers(&client, &control, &lab).await?;
        }
        let network = network::make(&client, &control, &config, &lab).await?;
        Ok(Self {
            address,
            emulator,
            client,
            network,
            internet: config.internet,
            generation: watch::Sender::new(0),
            roads: None,
        })
    }

    /// An administrator's client of EC2, from outside of the nodes.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The hook's control endpoints.
    pub fn control(&self) -> Control {
        Control::new(self.address)
    }

    /// Where LocalStack answers, in the network namespace of the lab's process.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Id of the VPC.
    pub fn vpc(&self) -> &str {
        &self.network.vpc
    }

    /// The subnets, as they were configured; the nodes live in the first.
    pub fn subnets(&self) -> &[SubnetId] {
        &self.network.subnets
    }

    /// The security group of the nodes' primary interfaces.
    pub fn security_group(&self) -> &str {
        &self.network.group
    }

    /// The access key of a node's credentials, by which the server counts its
    /// calls and a fault can strike it alone.
    pub fn access_key(instance: &str) -> String {
        access_key_id(instance)
    }

    /// Instance metadata of the nodes, to make it lag and fail.
    ///
    /// # Panics
    /// When the lab is not up.
    #[expect(clippy::expect_used, reason = "a lab is nobody's before it is up")]
    pub fn metadata(&self) -> &Service {
        let roads = self.roads.as_ref();
        &roads.expect("the lab is up").metadata.service
    }

    /// What is attached to an instance, in order of device index: the truth,
    /// without lag.
    ///
    /// # Errors
    /// `Silent` when LocalStack does not answer.
    pub async fn interfaces(&self, instance: &str) -> Result<Vec<InterfaceDump>, LabError> {
        let told = self.control().state_of(self.vpc()).await?;
        Ok(state::State::read(told)?.interfaces_of(instance))
    }

    pub(crate) fn network(&self) -> Network {
        Network {
            networks: self.network.ranges.clone(),
            internet: self.internet.clone(),
            instances: self.network.instances.clone(),
        }
    }

    pub(crate) fn follow(&self) -> Follow {
        Follow::start(self.control(), self.vpc(), self.generation.clone())
    }

    /// Opens the roads from the nodes: EC2's API lives in the internet, instance
    /// metadata in the VPC.
    pub(crate) async fn open(&mut self, vpc: &Path, internet: &Path) -> Result<(), LabError> {
        let source = metadata::Source {
            client: self.client.clone(),
            control: self.control(),
            vpc: self.vpc().to_owned(),
            changes: self.generation.subscribe(),
        };
        self.roads = Some(Roads {
            _api: Road::open(internet, self.endpoint(), self.address).await?,
            metadata: metadata::Metadata::open(vpc, source).await?,
        });
        Ok(())
    }

    /// Where nodes find EC2's API.
    fn endpoint(&self) -> SocketAddr {
        let ipv4 = self.internet.iter().find(|address| address.is_ipv4());
        let host = ipv4.or(self.internet.first()).copied();
        SocketAddr::new(host.unwrap_or(IpAddr::from([0, 0, 0, 0])), API_PORT)
    }

    pub(crate) fn environment(&self, host_root: &Path) -> Vec<(&'static str, String)> {
        let endpoint = format!("http://{}", self.endpoint());
        // A node must not see the AWS configuration of the machine or its user.
        let none = || "/dev/null".to_owned();
        vec![
            ("VENI_PROVIDER", "aws".to_owned()),
            ("AWS_ENDPOINT_URL_EC2", endpoint.clone()),
            ("AWS_ENDPOINT_URL_STS", endpoint),
            ("AWS_CONFIG_FILE", none()),
            ("AWS_SHARED_CREDENTIALS_FILE", none()),
            ("VENI_HOST_ROOT", host_root.display().to_string()),
        ]
    }

    /// Removes the VPC with everything in it from a server that outlives the lab.
    pub(crate) async fn clear(&mut self) -> Result<(), LabError> {
        if self.emulator.is_some() {
            return Ok(()); // it goes with its server
        }
        network::remove(&self.client, &self.control(), self.vpc()).await
    }

    pub(crate) async fn end(self) -> Result<(), LabError> {
        drop(self.roads);
        match self.emulator {
            Some(emulator) => emulator.stop().await,
            None => Ok(()),
        }
    }
}

async fn own_server(
    run_script: &Path,
    folder: &Path,
    processes: &Processes,
) -> Result<Emulator, LabError> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut emulator = Emulator::start(run_script, &folder.join("localstack"), listen)?;
    processes.add(emulator.pid(), "LocalStack")?;
    emulator.ready(INSTALLATION).await?;
    Ok(emulator)
}

/// Region, endpoint and an access key, which the server counts by.
fn sdk_config(access_key: &str, address: SocketAddr) -> SdkConfig {
    let credentials = Credentials::new(access_key, "secret", None, None, "lab");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}
