//! From settings to a provider: a served cloud where there is one, else a
//! cloud of one node in this process.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use veni_provider::{Limits, Mac, Provider};

use crate::client::RemoteMock;
use crate::cloud::{CloudError, MockCloud};
use crate::config::{CloudConfig, NodeConfig, Profile, SubnetConfig};

/// What a daemon says about its mock cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct MockSettings {
    /// Socket of a served cloud, in which the node exists; the rest but for
    /// `instance_id` and `profile` is for a cloud in this process.
    pub endpoint: Option<PathBuf>,
    /// The id of the node that the provider speaks for.
    pub instance_id: String,
    /// The node's instance type, in a cloud of its own.
    pub instance_type: String,
    /// Its limits, when they are not to follow from the type.
    pub limits: Option<Limits>,
    /// Whose rules. With an endpoint that cannot be reached at the start it
    /// tells what the cloud can do.
    pub profile: Profile,
    /// Everything random follows from it.
    pub seed: u64,
    /// Ranges of the network.
    pub vpc_cidrs: Vec<IpNet>,
    /// Ranges of the node's subnet.
    pub subnet_cidrs: Vec<IpNet>,
    /// MAC of the link that is the primary interface.
    pub primary_mac: Option<Mac>,
    /// Address of that link.
    pub primary_address: Option<IpAddr>,
    /// Without latency, lag and budget.
    pub instant: bool,
}

impl MockSettings {
    /// An m5.large in 10.0.0.0/20 of 10.0.0.0/16, in this process.
    pub fn new(instance_id: &str) -> Self {
        let range = |length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), length));
        Self {
            endpoint: None,
            instance_id: instance_id.to_owned(),
            instance_type: "m5.large".to_owned(),
            limits: None,
            profile: Profile::Aws,
            seed: 1,
            vpc_cidrs: vec![range(16)],
            subnet_cidrs: vec![range(20)],
            primary_mac: None,
            primary_address: None,
            instant: false,
        }
    }

    /// The cloud of one node that they describe.
    ///
    /// # Errors
    /// Ranges, type or address that do not fit together.
    pub fn cloud(&self) -> Result<MockCloud, CloudError> {
        let subnet = "subnet-a";
        let mut config = CloudConfig::of_profile(self.profile).seed(self.seed);
        config.vpc_cidrs.clone_from(&self.vpc_cidrs);
        config.subnets = vec![SubnetConfig::new(
            subnet,
            "zone-a",
            self.subnet_cidrs.iter().copied(),
        )];
        if self.instant {
            config = config.instant();
        }
        let cloud = MockCloud::new(config)?;
        let mut node = NodeConfig::new(&self.instance_id, &self.instance_type, subnet);
        node.limits = self.limits;
        node.primary_mac = self.primary_mac;
        node.primary_address = self.primary_address;
        cloud.add_node(node)?;
        Ok(cloud)
    }
}

/// The provider that settings describe. An endpoint that cannot be reached now
/// is not an error: calls fail as passing trouble until it can.
///
/// # Errors
/// Without an endpoint: ranges, type or address that do not fit together.
pub async fn connect(settings: &MockSettings) -> Result<Arc<dyn Provider>, CloudError> {
    let instance = settings.instance_id.as_str();
    let Some(endpoint) = &settings.endpoint else {
        return Ok(Arc::new(settings.cloud()?.provider(instance)));
    };
    match RemoteMock::connect(endpoint, instance).await {
        Ok(remote) => Ok(Arc::new(remote)),
        Err(error) => {
            tracing::warn!(%error, "mock cloud cannot be reached, will be tried with each call");
            let settle_time = CloudConfig::of_profile(settings.profile).settle_time;
            let capabilities = settings.profile.capabilities(settle_time);
            Ok(Arc::new(RemoteMock::lazy(endpoint, instance, capabilities)))
        }
    }
}
