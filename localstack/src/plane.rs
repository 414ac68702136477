//! A lab's control plane, which is one of two: the mock cloud in this process, or
//! LocalStack's EC2. Everything else of a lab asks here what the nodes are and
//! what must be plugged in, and how a daemon reaches its cloud.

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

/// What the network is made for.
pub(crate) struct Ground {
    /// Ranges of the VPC.
    pub(crate) networks: Vec<IpNet>,
    /// Addresses of the internet host.
    pub(crate) internet: Vec<IpAddr>,
    /// The nodes' ids, in order.
    pub(crate) instances: Vec<String>,
}

impl ControlPlane {
    /// Makes the cloud with its nodes; a process that is started for it keeps its
    /// files in the lab's folder.
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
            #[cfg(feature = "aws")]
            PlaneConfig::Ec2(config) => {
                let cloud = Ec2Cloud::start(config, folder, processes).await?;
                Ok(Self::Ec2(Box::new(cloud)))
            }
        }
    }

    pub(crate) fn ground(&self) -> Ground {
        match self {
            Self::Mock(mock) => Ground {
                networks: mock.config.vpc_cidrs.clone(),
                internet: mock.config.internet.clone(),
                instances: mock.nodes.clone(),
            },
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.ground(),
        }
    }

    /// The mock cloud, if it is one.
    pub(crate) fn mock(&self) -> Option<&MockCloud> {
        match self {
            Self::Mock(mock) => Some(&mock.cloud),
            #[cfg(feature = "aws")]
            Self::Ec2(_) => None,
        }
    }

    /// Begins to follow it. `instances` are the nodes' numbers by instance id;
    /// nodes that are not in it have no namespace, and nothing of them is wired.
    pub(crate) fn follow(&self, instances: BTreeMap<String, u32>) -> Follower {
        let source = match self {
            Self::Mock(mock) => Source::Mock {
                changes: mock.cloud.subscribe(),
                cloud: mock.cloud.clone(),
                groups: mock.config.security_groups.clone(),
            },
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => Source::Ec2(cloud.follow()),
        };
        Follower { source, instances }
    }

    /// Lets the nodes reach it, by a socket in the lab's folder or by the network.
    #[cfg_attr(
        not(feature = "aws"),
        expect(unused_variables, reason = "the mock cloud needs less than EC2")
    )]
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
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.environment(&node.host_root()),
        };
        settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Takes out of a cloud that lives on what the lab has made in it.
    pub(crate) async fn clear(&mut self) -> Result<(), LabError> {
        match self {
            Self::Mock(_) => Ok(()),
            #[cfg(feature = "aws")]
            Self::Ec2(cloud) => cloud.clear().await,
        }
    }

    /// Ends what was started for it; the mock cloud's server was told to stop.
    pub(crate) async fn end(self) -> Result<(), LabError> {
        match self {
            Self::Mock(mock) => {
                if let Some(serving) = mock.serving {
                    // It ends without a result.
                    let _served = serving.await;
                }
                Ok(())
            }
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

/// Tells what must be plugged in, whenever that may have changed.
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
    #[cfg(feature = "aws")]
    Ec2(Follow),
}

/// What must be plugged in.
pub(crate) struct Look {
    pub(crate) wiring: Wiring,
    /// Told when it is.
    pub(crate) acted: Option<oneshot::Sender<()>>,
}

impl Follower {
    /// What must be plugged in now.
    ///
    /// # Errors
    /// `Silent` when LocalStack does not answer.
    pub(crate) async fn now(&mut self) -> Result<Look, LabError> {
        let Self { source, instances } = self;
        match source {
            Source::Mock { cloud, groups, .. } => Ok(mock_look(cloud, groups, instances)),
            #[cfg(feature = "aws")]
            Source::Ec2(follow) => follow.now(instances).await,
        }
    }

    /// What must be plugged in after the next change; `None` when there will be
    /// none any more. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Option<Look> {
        let Self { source, instances } = self;
        match source {
            Source::Mock {
                cloud,
                groups,
                changes,
            } => match changes.recv().await {
                // What was missed is in the cloud's state all the same.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some(mock_look(cloud, groups, instances))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            },
            #[cfg(feature = "aws")]
            Source::Ec2(follow) => follow.changed(instances).await,
        }
    }
}

fn mock_look(
    cloud: &MockCloud,
    groups: &[SecurityGroup],
    instances: &BTreeMap<String, u32>,
) -> Look {
    let dump = cloud.dump();
    let known = dump.nodes.iter();
    let known = known.filter_map(|node| Some((*instances.get(&node.instance_id)?, node)));
    let held = known.flat_map(|(number, node)| node.interfaces.iter().map(move |i| (number, i)));
    Look {
        wiring: feed::wiring(held, groups),
        acted: None,
    }
}
