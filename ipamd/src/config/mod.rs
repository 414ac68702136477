//! The daemon's settings: read once, from the environment, every problem
//! reported at once as `NAME=value: reason`.

mod groups;
mod host;
mod kernel;
mod not_honoured;
mod reader;
mod remarks;
mod settings;
mod variable;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use veni_dataplane::plan::SourceNatPorts;
use veni_pool::SlotKind;

use groups::{
    read_custom_network, read_log_filter, read_metrics, read_network, read_provider, read_targets,
    read_timing,
};
pub use host::{HostSettings, IntrospectionAddress, LogTarget};
use host::{read_host, read_introspection, read_log_target, read_state_dir};
pub use kernel::KernelSettings;
use kernel::read_kernel;
use not_honoured::read_not_honoured;
use reader::{Given, Reader};
pub use remarks::{Remark, misspelt};
pub use settings::{NodeFacts, Setting, Source, in_blocks, in_one_line};
pub use variable::{Disposition, Form, Variable};
pub use variables::variables;

/// Whose rules and whose targets apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudProfile {
    /// AWS.
    Aws,
    /// Azure.
    Azure,
}

/// What only the AWS provider is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsChoice {
    /// `CLUSTER_NAME`.
    pub cluster_name: Option<String>,
    /// `ADDITIONAL_ENI_TAGS`.
    pub additional_tags: BTreeMap<String, String>,
    /// `MANAGE_UNTAGGED_ENI`.
    pub manage_untagged: bool,
    /// `ENABLE_SUBNET_DISCOVERY`.
    pub subnet_discovery: bool,
    /// `DISABLE_LEAKED_ENI_CLEANUP`, turned round.
    pub leak_cleanup: bool,
    /// `VENI_LEAK_INTERVAL`.
    pub leak_interval: Duration,
    /// `ENABLE_IMDS_ONLY_MODE`.
    pub metadata_only: bool,
    /// `AWS_EC2_ENDPOINT`.
    pub ec2_endpoint: Option<String>,
    /// `HTTP_TIMEOUT`.
    pub http_timeout: Duration,
}

/// Which cloud manages the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderChoice {
    /// Amazon EC2, in builds with the feature `aws`.
    Aws(AwsChoice),
    /// The mock cloud.
    Mock {
        /// Socket of a shared mock cloud.
        endpoint: Option<PathBuf>,
        /// The node's id in it.
        instance_id: String,
        /// Type of the node in a cloud of its own.
        instance_type: String,
        /// Link that stands for the primary interface in a cloud of its own.
        primary_link: String,
        /// Address of that link, with its subnet.
        primary_address: IpNet,
        /// Whose rules it follows.
        profile: CloudProfile,
    },
}

/// Where the ENIConfig of the node is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomNetworkSettings {
    /// `VENI_ENI_CONFIG_FILE`: the ENIConfigs.
    pub configs: PathBuf,
    /// `VENI_NODE_FILE`: the node's further labels and annotations.
    pub node: Option<PathBuf>,
    /// `ENI_CONFIG_ANNOTATION_DEF`.
    pub annotation: String,
    /// `ENI_CONFIG_LABEL_DEF`.
    pub label: String,
}

/// How much to keep warm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// Prefixes or single addresses.
    pub mode: SlotKind,
    /// `WARM_ENI_TARGET`.
    pub warm_eni: u32,
    /// `WARM_IP_TARGET`.
    pub warm_ip: Option<u32>,
    /// `MINIMUM_IP_TARGET`.
    pub minimum_ip: Option<u32>,
    /// `WARM_PREFIX_TARGET`.
    pub warm_prefix: Option<u32>,
    /// `MAX_ENI`.
    pub max_eni: Option<u32>,
    /// `MAX_PODS`.
    pub max_pods: Option<u32>,
    /// Azure's batch, addresses.
    pub batch: u32,
    /// Azure's request threshold, percent of a batch.
    pub request_percent: u32,
    /// Azure's release threshold, percent of a batch.
    pub release_percent: u32,
    /// How long an excess must last before it is given back.
    pub release_delay: Duration,
    /// How old an interface must be to be detached.
    pub detach_age: Duration,
    /// Whether the cloud may be asked for changes.
    pub provisioning: bool,
}

/// How pods' packets travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Pods get IPv4.
    pub ipv4: bool,
    /// Pods get IPv6.
    pub ipv6: bool,
    /// First letters of the host ends' names.
    pub veth_prefix: String,
    /// MTU of the cloud's interfaces, the primary one among them, bytes.
    pub interface_mtu: u32,
    /// MTU of pods, bytes.
    pub pod_mtu: u32,
    /// Translate traffic that leaves the network.
    pub source_nat: bool,
    /// How ports are chosen.
    pub source_nat_ports: SourceNatPorts,
    /// Further ranges that keep the pod's address.
    pub untranslated: Vec<IpNet>,
    /// Answers to node ports leave by the primary interface.
    pub node_ports: bool,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Cooldown of addresses.
    pub cooldown: Duration,
    /// Longest wait of an ADD for an address.
    pub add_wait: Duration,
    /// Between two audits of the kernel.
    pub audit: Duration,
    /// Between two looks at the cloud at rest; `None` is what suits the
    /// provider.
    pub inventory: Option<Duration>,
    /// Between two glances at what the node sees by itself.
    pub glance: Duration,
    /// Longest cloud call.
    pub cloud_deadline: Duration,
    /// Until a refused change is tried again.
    pub denied_retry: Duration,
    /// Until an exhausted subnet is tried again.
    pub subnet_retry: Duration,
    /// Between two inventories that must both lack what is dropped.
    pub doubt: Duration,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `MY_NODE_NAME`.
    pub node_name: Option<String>,
    /// Name of the host, which stands in for names that are not set.
    pub host_name: String,
    /// Cloud.
    pub provider: ProviderChoice,
    /// Custom networking, where it is on.
    pub custom_network: Option<CustomNetworkSettings>,
    /// Warm pool.
    pub targets: TargetSettings,
    /// Pods' packets.
    pub network: NetworkSettings,
    /// The node's kernel.
    pub kernel: KernelSettings,
    /// Times.
    pub timing: Timing,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Where introspection is served.
    pub introspection: Option<IntrospectionAddress>,
    /// The host.
    pub host: HostSettings,
    /// `VENI_STATE_DIR`: what must outlive a reboot.
    pub state_dir: PathBuf,
    /// Where the log goes.
    pub log_target: LogTarget,
    /// Log filter.
    pub log_filter: String,
    /// Log format.
    pub log_format: LogFormat,
    /// What operators should hear at the start.
    pub remarks: Vec<Remark>,
    given: Given,
}

/// Every problem of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One line each, `NAME=value: reason`.
    pub problems: Vec<String>,
    /// What there is to say of the settings beside, as of those that are good.
    pub remarks: Vec<Remark>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the environment has a problem")?,
            count => write!(f, "the environment has {count} problems")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the settings through `lookup`; `host_name` stands in for an
    /// instance id that is not set.
    ///
    /// # Errors
    /// All problems at once.
    pub fn try_new(
        lookup: &dyn Fn(&str) -> Option<String>,
        host_name: &str,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let provider = read_provider(&mut reader, host_name);
        let network = read_network(&mut reader);
        let mut config = Self {
            node_name: reader.text("MY_NODE_NAME"),
            host_name: host_name.to_owned(),
            custom_network: read_custom_network(&mut reader, &provider),
            provider,
            targets: read_targets(&mut reader),
            kernel: read_kernel(&mut reader, &network),
            network,
            timing: read_timing(&mut reader),
            metrics: read_metrics(&mut reader),
            introspection: read_introspection(&mut reader),
            host: read_host(&mut reader),
            state_dir: read_state_dir(&mut reader),
            log_target: read_log_target(&mut reader),
            log_filter: read_log_filter(&mut reader),
            log_format: reader.choice(
                "VENI_LOG_FORMAT",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                LogFormat::Text,
            ),
            remarks: read_not_honoured(&mut reader),
            given: Given::new(),
        };
        check_together(&mut reader, &config);
        let (problems, given) = reader.finish();
        if problems.is_empty() {
            config.given = given;
            Ok(config)
        } else {
            Err(ConfigError {
                problems,
                remarks: config.remarks,
            })
        }
    }

    /// What is set of custom networking, whatever else is wrong.
    #[must_use]
    pub fn custom_network(
        lookup: &dyn Fn(&str) -> Option<String>,
        host_name: &str,
    ) -> Option<CustomNetworkSettings> {
        let mut reader = Reader::new(lookup);
        let provider = read_provider(&mut reader, host_name);
        let settings = read_custom_network(&mut reader, &provider);
        settings.filter(|_| matches!(provider, ProviderChoice::Aws(_)))
    }

    /// What holds where nothing is set. The provider, which must be, counts as unset.
    ///
    /// # Errors
    /// None that a release has: a test reads them.
    pub fn defaults(host_name: &str) -> Result<Self, ConfigError> {
        let lookup = |name: &str| (name == "VENI_PROVIDER").then(|| "mock".to_owned());
        let mut config = Self::try_new(&lookup, host_name)?;
        config.given = Given::new();
        Ok(config)
    }

    /// The node's name: `MY_NODE_NAME`, or the host's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node_name.as_deref().unwrap_or(&self.host_name)
    }
}

/// What is right alone and wrong together.
fn check_together(reader: &mut Reader<'_>, config: &Config) {
    if config.custom_network.is_some() && config.network.ipv6 {
        reader.problem(
            "ENABLE_IPv6",
            "true",
            "custom networking keeps pods off the primary interface, which their IPv6 addresses \
             come from; set ENABLE_IPv6 or AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG to false",
        );
    }
}

#[cfg(test)]
mod tests;
