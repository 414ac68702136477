//! A lab's control plane: the mock cloud or a Resource Manager with rules in this process, or
//! LocalStack's EC2. The rest
//! of a lab asks here which nodes there are, what must be plugged in, and how a daemon
//! reaches its cloud, and does not know which of them it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use tokio::sync::broadcast;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use veni_provider_mock::config::SecurityGroup;
use veni_provider_mock::{Change, CloudConfig, MockCloud, NodeConfig};

use crate::arm::{self, ArmCloud};
use crate::config::PlaneConfig;
use crate::error::LabError;
use crate::feed;
use crate::node::Node;
use crate::processes::Processes;
use crate::wiring::Wiring;

#[cfg(feature = "aws")]
use crate::ec2::{Ec2Cloud, Follow};

/// Name of the mock cloud's socket in the lab's folder.
pub(crate) const CLOUD_SOCKET: &str = "cloud.sock";

/// The control plane of a running lab.
#[derive(Debug)]
pub(crate) enum ControlPlane {
    /// The mock cloud.
    Mock(Box<MockPlane>),
    /// A Resource Manager with rules.
    Arm(Box<ArmCloud>),
    /// LocalStack's EC2.
    #[cfg(feature = "aws")]
    Ec2(Box<Ec2Cloud>),
}

/// The mock cloud and who serves it.
#[derive(Debug)]
pub(crate) struct MockPlane {
    cloud: MockCloud,
    config: CloudConfig,
    nodes: Vec<String>,
    serving: Option<JoinHandle<()>>,
}

/// What a lab's network must provide.
pub(crate) struct Network {
    /// Ranges of the VPC.
    pub(crate) networks: Vec<IpNet>,
    /// Addresses of the internet host.
    pub(crate) internet: Vec<IpAddr>,
    /// The nodes' ids, in order.
    pub(crate) instances: Vec<String>,
}

impl ControlPlane {
    /// Makes the cloud with its nodes. If it starts a process, that keeps its files in the
    /// lab's folder.
    #[cfg_attr(
        not(feature = "aws"),
        expect(unused_variables, reason = "the mock cloud needs less than EC2")
    )]
    pub(crate) async fn start(
        config: PlaneConfig,
        folder: &Path,
        processes: &Processes,
    ) -> Result<Self, LabError> {
        match config {
            PlaneConfig::Mock { cloud, nodes } => {
                Ok(Self::Mock(Box::new(MockPlane::start(*cloud, &nodes)?)))
            }
            PlaneConfig::Arm(config) => Ok(Self::Arm(Box::new(ArmCloud::start(*config)?))),
            #[cfg(feature = "aws")]
            PlaneConfig::Ec2(config) => {
                let cloud = Ec2Cloud::start(config, folder, processes).await?;
                Ok(Self::Ec2(Box::new(cloud)))
            }
        }
    }

    pub(crate) fn network(&self) -> Network {
        match self {
            Self::Mock(mock) => Network {
                networks: mock.config.vpc_cidrs.clone(),
                internet: mock.config.internet.clone(),
                instances: mock.nodes.clone(),
            },
            Self::Arm(cloud) => cloud.network(),
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.network(),
        }
    }

    /// The mock cloud, if it is one.
    pub(crate) fn mock(&self) -> Option<&MockCloud> {
        match self {
            Self::Mock(mock) => Some(&mock.cloud),
            Self::Arm(_) => None,
            #[cfg(feature = "aws")]
            Self::Ec2(_) => None,
        }
    }

    /// Begins to follow the control plane. `instances` has the nodes' numbers by instance
    /// id. Instances that are not in it have no namespace, so they get no wires.
    pub(crate) fn follow(&self, instances: BTreeMap<String, u32>) -> Follower {
        let source = match self {
            Self::Mock(mock) => Source::Mock {
                changes: mock.cloud.subscribe(),
                cloud: mock.cloud.clone(),
                groups: mock.config.security_groups.clone(),
            },
            Self::Arm(cloud) => Source::Arm(cloud.follow()),
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => Source::Ec2(cloud.follow()),
        };
        Follower { source, instances }
    }

    /// Opens it to the nodes, by a socket in the lab's folder or over the network.
    pub(crate) async fn open(
        &mut self,
        folder: &Path,
        vpc: &Path,
        internet: &Path,
        stop: CancellationToken,
    ) -> Result<(), LabError> {
        match self {
            Self::Mock(mock) => {
                let socket = folder.join(CLOUD_SOCKET);
                mock.serving = Some(feed::serve(&mock.cloud, &socket, stop)?);
                Ok(())
            }
            Self::Arm(cloud) => cloud.open(vpc, internet, stop).await,
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.open(vpc, internet).await,
        }
    }

    /// The settings by which a node's daemon finds its cloud.
    pub(crate) fn environment(&self, node: &Node, folder: &Path) -> Vec<(String, String)> {
        let settings = match self {
            Self::Mock(_) => vec![
                ("VENI_PROVIDER", "mock".to_owned()),
                (
                    "VENI_MOCK_ENDPOINT",
                    folder.join(CLOUD_SOCKET).display().to_string(),
                ),
                ("VENI_INSTANCE_ID", node.instance_id().to_owned()),
            ],
            Self::Arm(_) => ArmCloud::environment(&node.host_root()),
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.environment(&node.host_root()),
        };
        settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Removes what the lab has made in a cloud that outlives it.
    pub(crate) async fn clear(&mut self) -> Result<(), LabError> {
        match self {
            Self::Mock(_) | Self::Arm(_) => Ok(()),
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.clear().await,
        }
    }

    /// Ends the processes and tasks that were started for it. The caller has told the mock
    /// cloud's server to stop before.
    pub(crate) async fn end(self) -> Result<(), LabError> {
        match self {
            Self::Mock(mock) => {
                if let Some(serving) = mock.serving {
                    // It ends without a result.
                    let _served = serving.await;
                }
                Ok(())
            }
            Self::Arm(_) => Ok(()),
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.end().await,
        }
    }
}

impl MockPlane {
    fn start(config: CloudConfig, nodes: &[NodeConfig]) -> Result<Self, LabError> {
        Ok(Self {
            cloud: feed::cloud(config.clone(), nodes)?,
            config,
            nodes: nodes.iter().map(|node| node.instance_id.clone()).collect(),
            serving: None,
        })
    }
}

/// Reports what must be plugged in, whenever that may have changed.
pub(crate) struct Follower {
    source: Source,
    /// Number of a node, by instance id.
    instances: BTreeMap<String, u32>,
}

enum Source {
    Mock {
        cloud: MockCloud,
        groups: Vec<SecurityGroup>,
        changes: broadcast::Receiver<Change>,
    },
    Arm(arm::Follow),
    #[cfg(feature = "aws")]
    Ec2(Follow),
}

/// What must be plugged in.
pub(crate) struct WiringUpdate {
    pub(crate) wiring: Wiring,
    /// Gets a message when the wires are so.
    pub(crate) acted: Option<oneshot::Sender<()>>,
}

impl Follower {
    /// What must be plugged in now.
    ///
    /// # Errors
    /// `Silent` when LocalStack does not answer.
    pub(crate) async fn now(&mut self) -> Result<WiringUpdate, LabError> {
        let Self { source, instances } = self;
        match source {
            Source::Mock { cloud, groups, .. } => Ok(mock_update(cloud, groups, instances)),
            Source::Arm(follow) => Ok(follow.now(instances)),
            #[cfg(feature = "aws")]
            Source::Ec2(follow) => follow.now(instances).await,
        }
    }

    /// What must be plugged in after the next change; `None` when there will be
    /// none any more. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Option<WiringUpdate> {
        let Self { source, instances } = self;
        match source {
            Source::Mock {
                cloud,
                groups,
                changes,
            } => match changes.recv().await {
                // A missed notification does no harm: the state is read as a whole.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some(mock_update(cloud, groups, instances))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            },
            Source::Arm(follow) => Some(follow.changed(instances).await),
            #[cfg(feature = "aws")]
            Source::Ec2(follow) => follow.changed(instances).await,
        }
    }
}

fn mock_update(
    cloud: &MockCloud,
    groups: &[SecurityGroup],
    instances: &BTreeMap<String, u32>,
) -> WiringUpdate {
    let dump = cloud.dump();
    let known = dump.nodes.iter();
    let known = known.filter_map(|node| Some((*instances.get(&node.instance_id)?, node)));
    let held = known.flat_map(|(number, node)| node.interfaces.iter().map(move |i| (number, i)));
    WiringUpdate {
        wiring: feed::wiring(held, groups),
        acted: None,
    }
}
