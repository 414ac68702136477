//! The daemon's settings: read once, from the environment, every problem reported at
//! once as `NAME=value: reason`.
//!
//! A setting is declared once, in the file of its subsystem, by a [`setting::Setting`];
//! documentation, `veni config` and the reading of its value all follow from that.

mod choice;
mod custom_network;
mod daemon;
pub(crate) mod declare;
mod effective;
mod enforcement;
mod groups;
mod host;
mod kernel;
mod kubernetes;
mod log;
mod misspelt;
mod network;
mod not_honoured;
mod parse;
mod provider;
mod reader;
mod remark;
mod serving;
mod setting;
mod targets;
mod timing;
mod variable;
mod variables;

use std::fmt;

pub use choice::{ProviderChoice, ProviderSettings};
pub use effective::{EffectiveSetting, Source, in_blocks, in_one_line};
pub use groups::{
    CloudProfile, Config, CustomNetworkSettings, EnforcementSettings, HostSettings,
    IntrospectionAddress, KernelSettings, KubernetesSettings, LogFormat, LogTarget,
    NetworkSettings, NodeFacts, PolicyMode, TargetSettings, Timing,
};
pub use host::TAKE_OVER;
pub use misspelt::misspelt;
pub use provider::{ProviderDeclaration, Providers};
pub use remark::Remark;
pub(crate) use targets::MOST_ADDRESSES;
pub use variable::{DefaultValue, Disposition, Variable};
pub use variables::variables;

use groups::Given;
use provider::ReadProviders;
use reader::Reader;

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
    /// Reads the settings through `lookup`, among them what each of these providers is
    /// told; `host_name` stands in for an instance id that is not set.
    ///
    /// # Errors
    /// All problems at once.
    pub fn try_new(
        providers: &Providers,
        lookup: &dyn Fn(&str) -> Option<String>,
        host_name: &str,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let provider = ReadProviders::new(&mut reader, providers, host_name).choose(&mut reader);
        let hands_off = provider.hands_off().is_some();
        let network = network::read(&mut reader, &provider);
        let kubernetes = kubernetes::read(&mut reader);
        let api = kubernetes::is_watched(kubernetes.as_ref());
        let open = network::remark(&network, &provider);
        let (enforcement, not_enforced) = enforcement::read(&mut reader, api);
        let mut config = Self {
            node_name: reader.read(&daemon::MY_NODE_NAME),
            host_name: host_name.to_owned(),
            custom_network: custom_network::read(&mut reader, &provider, api),
            kubernetes,
            enforcement,
            bpf_folder: reader.read(&enforcement::VENI_BPF_FOLDER),
            provider,
            targets: targets::read(&mut reader, hands_off),
            kernel: kernel::read(&mut reader, &network),
            network,
            timing: timing::read(&mut reader),
            metrics: serving::read_metrics(&mut reader),
            introspection: serving::read_introspection(&mut reader),
            health: reader.read(&serving::VENI_HEALTH_ADDRESS),
            host: host::read(&mut reader),
            state_dir: reader.read(&daemon::VENI_STATE_DIR),
            log_target: reader.read(&log::AWS_VPC_K8S_CNI_LOG_FILE),
            log_filter: reader.read(&log::AWS_VPC_K8S_CNI_LOGLEVEL),
            log_format: reader.read(&log::VENI_LOG_FORMAT),
            remarks: not_honoured::read(&mut reader),
            given: Given::new(),
        };
        config.remarks.extend(open);
        config.remarks.extend(not_enforced);
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
        providers: &Providers,
        lookup: &dyn Fn(&str) -> Option<String>,
        host_name: &str,
    ) -> Option<CustomNetworkSettings> {
        let mut reader = Reader::new(lookup);
        let all = ReadProviders::new(&mut reader, providers, host_name);
        let provider = all.choose(&mut reader);
        let kubernetes = kubernetes::read(&mut reader);
        let api = kubernetes::is_watched(kubernetes.as_ref());
        let settings = custom_network::read(&mut reader, &provider, api);
        settings.filter(|_| provider.has_custom_networking())
    }

    /// What holds where nothing is set. The provider, which must be, counts as unset.
    ///
    /// # Errors
    /// None that a release has: a test reads them.
    pub fn defaults(providers: &Providers, host_name: &str) -> Result<Self, ConfigError> {
        let lookup = |name: &str| (name == "VENI_PROVIDER").then(|| "mock".to_owned());
        let mut config = Self::try_new(providers, &lookup, host_name)?;
        config.given = Given::new();
        Ok(config)
    }

    /// All settings as they are in force, in the order of the documentation. Without
    /// facts of the node, what depends on it stays in words.
    #[must_use]
    pub fn settings(
        &self,
        providers: &Providers,
        facts: Option<&NodeFacts>,
    ) -> Vec<EffectiveSetting> {
        effective::effective(self, providers, facts)
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
            &network::ENABLE_IPV6,
            "true",
            "custom networking keeps pods off the primary interface, which their IPv6 addresses \
             come from; set ENABLE_IPv6 or AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG to false",
        );
    }
}

#[cfg(test)]
mod tests;
