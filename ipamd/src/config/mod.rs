//! The daemon's settings: read once, from the environment, every problem
//! reported at once as `NAME=value: reason`.

mod reader;
mod variables;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use veni_dataplane::plan::SourceNatPorts;
use veni_pool::SlotKind;

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

/// Which cloud manages the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderChoice {
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
    /// Between two looks at the cloud at rest.
    pub inventory: Duration,
    /// Longest cloud call.
    pub cloud_deadline: Duration,
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
        write!(f, "the environment has {} problem(s)", self.problems.len())?;
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
            log_filter: read_log_filter(&reader),
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

fn read_provider(reader: &mut Reader<'_>, host_name: &str) -> ProviderChoice {
    reader.choice("VENI_PROVIDER", &[("mock", ())], ());
    ProviderChoice::Mock {
        endpoint: reader.text("VENI_MOCK_ENDPOINT").map(PathBuf::from),
        instance_id: reader
            .text("VENI_INSTANCE_ID")
            .unwrap_or_else(|| host_name.to_owned()),
        instance_type: reader
            .text("VENI_MOCK_INSTANCE_TYPE")
            .unwrap_or_else(|| "m5.large".to_owned()),
        primary_link: reader
            .text("VENI_MOCK_PRIMARY_LINK")
            .unwrap_or_else(|| "eth0".to_owned()),
        primary_address: reader
            .parsed("VENI_MOCK_PRIMARY_ADDRESS")
            .unwrap_or_else(|| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 4), 20))),
        profile: reader.choice(
            "VENI_MOCK_PROFILE",
            &[("aws", CloudProfile::Aws), ("azure", CloudProfile::Azure)],
            CloudProfile::Aws,
        ),
    }
}

/// More than any instance type has.
const MANY: u32 = 100_000;

fn read_targets(reader: &mut Reader<'_>) -> TargetSettings {
    let prefixes = reader.boolean("ENABLE_PREFIX_DELEGATION", false);
    // 0 means "not set" for the address targets, as operators know it.
    let some = |number: u32| (number > 0).then_some(number);
    let warm_ip = reader.integer("WARM_IP_TARGET", 0..=MANY).and_then(some);
    let minimum_ip = reader.integer("MINIMUM_IP_TARGET", 0..=MANY).and_then(some);
    let warm_prefix = reader.integer("WARM_PREFIX_TARGET", 0..=MANY);
    if prefixes && warm_prefix == Some(0) && warm_ip.is_none() && minimum_ip.is_none() {
        reader.problem(
            "WARM_PREFIX_TARGET",
            "0",
            "with ENABLE_PREFIX_DELEGATION one of WARM_PREFIX_TARGET, WARM_IP_TARGET and \
             MINIMUM_IP_TARGET must be above 0",
        );
    }
    let request_percent = reader
        .integer("VENI_POOL_REQUEST_PERCENT", 1..=100)
        .unwrap_or(50);
    let release_percent = reader
        .integer("VENI_POOL_RELEASE_PERCENT", 1..=1000)
        .unwrap_or(150);
    if release_percent < request_percent + 100 {
        reader.problem(
            "VENI_POOL_RELEASE_PERCENT",
            &release_percent.to_string(),
            format_args!(
                "must be at least VENI_POOL_REQUEST_PERCENT + 100 = {}, or a batch would be \
                 given back as soon as it has come",
                request_percent + 100
            ),
        );
    }
    TargetSettings {
        mode: if prefixes {
            SlotKind::Prefix
        } else {
            SlotKind::Address
        },
        warm_eni: reader.integer("WARM_ENI_TARGET", 0..=MANY).unwrap_or(1),
        warm_ip,
        minimum_ip,
        warm_prefix: prefixes.then(|| warm_prefix.unwrap_or(1)),
        max_eni: reader.integer("MAX_ENI", 0..=MANY).and_then(some),
        max_pods: reader.integer("MAX_PODS", 1..=MANY),
        batch: reader.integer("VENI_POOL_BATCH", 1..=256).unwrap_or(16),
        request_percent,
        release_percent,
        release_delay: reader.seconds("VENI_RELEASE_DELAY", 0..=86_400, 60),
        provisioning: !reader.boolean("DISABLE_NETWORK_RESOURCE_PROVISIONING", false),
    }
}

fn read_network(reader: &mut Reader<'_>) -> NetworkSettings {
    let ipv4 = reader.boolean("ENABLE_IPv4", true);
    let ipv6 = reader.boolean("ENABLE_IPv6", false);
    if !ipv4 && !ipv6 {
        reader.problem(
            "ENABLE_IPv4",
            "false",
            "pods need an address family: set ENABLE_IPv4 or ENABLE_IPv6 or both to true",
        );
    }
    let veth_prefix = reader
        .text("AWS_VPC_K8S_CNI_VETHPREFIX")
        .unwrap_or_else(|| "eni".to_owned());
    if let Some(reason) = wrong_veth_prefix(&veth_prefix) {
        reader.problem("AWS_VPC_K8S_CNI_VETHPREFIX", &veth_prefix, reason);
    }
    // RFC 791 and RFC 8200: the smallest packets that every link must carry.
    let smallest = if ipv6 { 1280 } else { 576 };
    let interface_mtu = reader
        .integer("AWS_VPC_ENI_MTU", smallest..=9001)
        .unwrap_or(9001);
    NetworkSettings {
        ipv4,
        ipv6,
        veth_prefix,
        interface_mtu,
        pod_mtu: reader
            .integer("POD_MTU", smallest..=9001)
            .unwrap_or(interface_mtu),
        source_nat: !reader.boolean("AWS_VPC_K8S_CNI_EXTERNALSNAT", false),
        source_nat_ports: reader.choice(
            "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
            &[
                ("prng", SourceNatPorts::FullyRandom),
                ("hashrandom", SourceNatPorts::Random),
                ("none", SourceNatPorts::Keep),
            ],
            SourceNatPorts::FullyRandom,
        ),
        untranslated: reader.list("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"),
        node_ports: reader.boolean("AWS_VPC_CNI_NODE_PORT_SUPPORT", true),
    }
}

/// Interface names have 15 bytes, eleven of which are a hash.
fn wrong_veth_prefix(prefix: &str) -> Option<&'static str> {
    if prefix.len() > 4 {
        Some("must have at most four letters: eleven digits of a hash follow, and a name has 15")
    } else if ["eth", "lo", "vlan"].contains(&prefix) {
        Some("is the name of other interfaces; choose another, such as eni")
    } else if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Some("must be ASCII letters and digits")
    } else {
        None
    }
}

fn read_timing(reader: &mut Reader<'_>) -> Timing {
    Timing {
        cooldown: reader.seconds("IP_COOLDOWN_PERIOD", 0..=86_400, 30),
        // The kubelet gives a sandbox four minutes.
        add_wait: reader.seconds("VENI_ADD_WAIT", 0..=200, 60),
        audit: reader.seconds("VENI_AUDIT_INTERVAL", 1..=3600, 10),
        inventory: reader.seconds("VENI_INVENTORY_INTERVAL", 1..=86_400, 600),
        cloud_deadline: reader.seconds("VENI_CLOUD_DEADLINE", 1..=600, 60),
    }
}

fn read_metrics(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let address = reader
        .parsed("VENI_METRICS_ADDRESS")
        .unwrap_or_else(|| SocketAddr::from(([0u16; 8], 61_678)));
    let disabled = reader.boolean("DISABLE_METRICS", false);
    (!disabled).then_some(address)
}

fn read_log_filter(reader: &Reader<'_>) -> String {
    // The AWS plugin's spelling is upper case or capitalised.
    reader
        .text("AWS_VPC_K8S_CNI_LOGLEVEL")
        .unwrap_or_else(|| "info".to_owned())
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let lookup = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::try_new(&lookup, "node-1")
    }

    #[test]
    fn an_empty_environment_gives_the_defaults_that_operators_know() {
        let config = read(&[]).expect("defaults are valid");
        assert_eq!(config.targets.warm_eni, 1);
        assert_eq!(config.targets.mode, SlotKind::Address);
        assert_eq!(config.timing.cooldown, Duration::from_secs(30));
        assert_eq!(config.network.pod_mtu, 9001);
        assert!(config.network.ipv4 && !config.network.ipv6);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let error = read(&[
            ("WARM_IP_TARGET", "-3"),
            ("ENABLE_IPv4", "no"),
            ("AWS_VPC_ENI_MTU", "90000"),
            ("AWS_VPC_K8S_CNI_VETHPREFIX", "vlan"),
            (
                "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
                "10.0.0.0/8, 10.0.0.0/99",
            ),
        ])
        .expect_err("must be refused");
        assert_eq!(error.problems.len(), 5, "{error}");
        assert!(
            error
                .to_string()
                .contains("WARM_IP_TARGET=-3: must be a whole number")
        );
        assert!(error.to_string().contains("10.0.0.0/99"));
    }

    #[test]
    fn prefix_delegation_without_any_target_above_zero_is_refused() {
        let error = read(&[
            ("ENABLE_PREFIX_DELEGATION", "true"),
            ("WARM_PREFIX_TARGET", "0"),
        ])
        .expect_err("must be refused");
        assert!(error.problems[0].starts_with("WARM_PREFIX_TARGET=0"));
    }

    #[test]
    fn a_release_threshold_that_would_flap_is_refused() {
        let error = read(&[("VENI_POOL_RELEASE_PERCENT", "120")]).expect_err("must be refused");
        assert!(error.problems[0].contains("at least VENI_POOL_REQUEST_PERCENT + 100 = 150"));
    }

    #[test]
    fn both_families_may_be_on_together_but_not_off_together() {
        let dual = read(&[("ENABLE_IPv6", "true")]).expect("dual stack is valid");
        assert!(dual.network.ipv4 && dual.network.ipv6);
        assert!(read(&[("ENABLE_IPv4", "false")]).is_err());
    }

    #[test]
    fn zero_address_targets_count_as_not_set() {
        let config = read(&[("WARM_IP_TARGET", "0"), ("MINIMUM_IP_TARGET", "0")]).expect("valid");
        assert_eq!(config.targets.warm_ip, None);
        assert_eq!(config.targets.minimum_ip, None);
    }

    #[test]
    fn the_documentation_names_every_variable_with_its_default() {
        let text = include_str!("../../../docs/configuration.md");
        for variable in VARIABLES {
            let row = format!("| `{}` |", variable.name);
            let line = text
                .lines()
                .find(|line| line.starts_with(&row))
                .unwrap_or_else(|| {
                    panic!("docs/configuration.md has no row for {}", variable.name)
                });
            assert!(
                line.contains(variable.default) && line.contains(variable.effect),
                "the row of {} differs from the code:\n{line}\n| `{}` | {} | {} |",
                variable.name,
                variable.name,
                variable.default,
                variable.effect
            );
        }
        let rows = text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, VARIABLES.len(), "a row without a variable");
    }
}
