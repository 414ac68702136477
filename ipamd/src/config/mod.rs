//! The daemon's settings: read once, from the environment, every problem
//! reported at once as `NAME=value: reason`.

mod groups;
mod reader;
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
    read_log_filter, read_metrics, read_network, read_provider, read_targets, read_timing,
};
use reader::Reader;
pub use variables::{VARIABLES, Variable};

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
    /// MTU of secondary interfaces, bytes.
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
    /// Cloud.
    pub provider: ProviderChoice,
    /// Warm pool.
    pub targets: TargetSettings,
    /// Pods' packets.
    pub network: NetworkSettings,
    /// Times.
    pub timing: Timing,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Log filter.
    pub log_filter: String,
    /// Log format.
    pub log_format: LogFormat,
}

/// Every problem of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One line each, `NAME=value: reason`.
    pub problems: Vec<String>,
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
        let config = Self {
            provider: read_provider(&mut reader, host_name),
            targets: read_targets(&mut reader),
            network: read_network(&mut reader),
            timing: read_timing(&mut reader),
            metrics: read_metrics(&mut reader),
            log_filter: read_log_filter(&mut reader),
            log_format: reader.choice(
                "VENI_LOG_FORMAT",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                LogFormat::Text,
            ),
        };
        let problems = reader.into_problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems })
        }
    }
}

#[cfg(test)]
mod tests;
