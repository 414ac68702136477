//! What the provider can be told. Reading environment variables is the
//! daemon's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use ipnet::IpNet;
use veni_provider::SubnetId;

use crate::actions::{ActionObserver, NoActionObserver};
use crate::instance_types::TypeLookup;

/// Facts about the own instance that are not asked of instance metadata and
/// EC2 when they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceOverrides {
    /// Instance id. Given, instance metadata is not asked for it.
    pub instance_id: Option<String>,
    /// EC2's instance type (`m5.large`).
    pub instance_type: Option<String>,
    /// The availability zone (`us-east-1a`).
    pub zone: Option<String>,
    /// Subnet of the primary interface.
    pub subnet: Option<SubnetId>,
    /// The id of the VPC (`vpc-…`).
    pub vpc: Option<String>,
}

/// Where secondary interfaces live when pods must not live in the node's own
/// subnet. The primary interface then gives pods nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomNetwork {
    /// Subnet of all secondary interfaces; in the node's zone.
    pub subnet: SubnetId,
    /// Their security groups; those of the primary interface when empty.
    pub security_groups: Vec<String>,
}

impl CustomNetwork {
    /// Answers always the same.
    #[must_use]
    pub fn always(self) -> CustomNetworkLookup {
        Arc::new(move || Some(self.clone()))
    }
}

/// Where secondary interfaces live now. Asked again and again: interfaces that are made
/// after another answer follow that one. `None` without custom networking, which stays so
/// for the life of a provider.
pub type CustomNetworkLookup = Arc<dyn Fn() -> Option<CustomNetwork> + Send + Sync>;

/// Settings of the provider.
#[derive(Clone)]
pub struct AwsSettings {
    /// Facts about the own instance that are known already.
    pub instance: InstanceOverrides,
    /// The VPC's ranges; asked of instance metadata or EC2 when empty.
    pub network_cidrs: Vec<IpNet>,
    /// Name of the cluster: a tag of new interfaces, and the scope of subnet
    /// discovery and of leak clean-up.
    pub cluster_name: Option<String>,
    /// More tags for new interfaces. Keys that contain `k8s.amazonaws.com` are
    /// left out: they are Kubernetes' own.
    pub additional_tags: BTreeMap<String, String>,
    /// Whether interfaces that carry neither our tag nor the no-manage tag are
    /// used.
    pub manage_untagged: bool,
    /// Whether other tagged subnets of the zone are used, not the primary
    /// interface's alone.
    pub subnet_discovery: bool,
    /// A subnet and security groups for pods of their own.
    pub custom_network: CustomNetworkLookup,
    /// Whether interfaces that dead nodes left behind are deleted.
    pub leak_cleanup: bool,
    /// Whether EC2 may be asked to change anything; if not, no call that changes
    /// something is sent, whatever it is for. With `metadata_only` none is either.
    pub may_change: bool,
    /// Whether EC2 is never asked, and nothing changed: what is attached and
    /// assigned by others is found by instance metadata. The instance type must
    /// be in the table.
    pub metadata_only: bool,
    /// After this time a change shows in Describe, for all that is known.
    pub settle_time: Duration,
    /// EC2's address (`https://…`), over whatever the SDK finds.
    pub ec2_endpoint: Option<String>,
    /// Longest time of one call to EC2.
    pub call_timeout: Duration,
    /// Longest wait of one call to EC2 for this node's own budget; then it is
    /// refused as throttled, and was not sent.
    pub budget_patience: Duration,
    /// How often what was left half done is finished, about.
    pub tidy_every: Duration,
    /// How often interfaces of dead nodes are looked for; the first time after a
    /// random part of a twelfth of it.
    pub leaks_every: Duration,
    /// A table of instance types, asked before EC2.
    pub instance_types: Option<TypeLookup>,
    /// Told of every call to EC2.
    pub observer: Arc<dyn ActionObserver>,
    /// Region, credentials and endpoints; found as every AWS tool finds them
    /// when absent.
    pub sdk_config: Option<SdkConfig>,
    /// Address of the instance metadata service; found as every AWS tool finds
    /// it when absent.
    pub metadata_endpoint: Option<String>,
}

impl AwsSettings {
    /// Whether calls that change something are sent at all.
    pub(crate) fn changes(&self) -> bool {
        self.may_change && !self.metadata_only
    }

    /// Where secondary interfaces live now, if pods have a network of their own.
    pub(crate) fn custom_network(&self) -> Option<CustomNetwork> {
        (self.custom_network)()
    }
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            instance: InstanceOverrides::default(),
            network_cidrs: Vec::new(),
            cluster_name: None,
            additional_tags: BTreeMap::new(),
            manage_untagged: true,
            subnet_discovery: true,
            custom_network: Arc::new(|| None),
            leak_cleanup: true,
            may_change: true,
            metadata_only: false,
            settle_time: Duration::from_secs(5),
            ec2_endpoint: None,
            call_timeout: Duration::from_secs(10),
            budget_patience: Duration::from_secs(20),
            tidy_every: Duration::from_secs(20),
            leaks_every: Duration::from_secs(3600),
            instance_types: None,
            observer: Arc::new(NoActionObserver),
            sdk_config: None,
            metadata_endpoint: None,
        }
    }
}

impl fmt::Debug for AwsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSettings")
            .field("instance", &self.instance)
            .field("network_cidrs", &self.network_cidrs)
            .field("cluster_name", &self.cluster_name)
            .field("additional_tags", &self.additional_tags)
            .field("manage_untagged", &self.manage_untagged)
            .field("subnet_discovery", &self.subnet_discovery)
            .field("custom_network", &self.custom_network())
            .field("leak_cleanup", &self.leak_cleanup)
            .field("may_change", &self.may_change)
            .field("metadata_only", &self.metadata_only)
            .field("settle_time", &self.settle_time)
            .field("ec2_endpoint", &self.ec2_endpoint)
            .field("call_timeout", &self.call_timeout)
            .field("budget_patience", &self.budget_patience)
            .finish_non_exhaustive()
    }
}
