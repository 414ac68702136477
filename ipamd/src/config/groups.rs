//! The settings as the daemon uses them: plain data in groups, each filled by the file
//! that declares its settings.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use ipnet::IpNet;
use veni_dataplane::plan::SourceNatPorts;
use veni_pool::SlotKind;
use veni_provider::Family;

use super::choice::ProviderChoice;
use super::remark::Remark;

/// What the environment sets, as operators see it, by name.
pub(super) type Given = BTreeMap<&'static str, String>;

/// All settings, read and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What operators call the node, when it is not the host's name.
    pub node_name: Option<String>,
    /// Name of the host, which stands in for names that are not set.
    pub host_name: String,
    /// Which cloud manages the node, and what its provider is told.
    pub provider: ProviderChoice,
    /// Where the node's ENIConfig is found, with custom networking.
    pub custom_network: Option<CustomNetworkSettings>,
    /// How the cluster's API is reached; `None` where no cluster is named.
    pub kubernetes: Option<KubernetesSettings>,
    /// How much the pool holds.
    pub targets: TargetSettings,
    /// How pods' packets travel.
    pub network: NetworkSettings,
    /// What the node's kernel is told beside pods' addresses and routes.
    pub kernel: KernelSettings,
    /// What pods' packets are judged by; `None` where none is.
    pub enforcement: Option<EnforcementSettings>,
    /// Folder in a bpf file system, for what judges packets while no daemon runs.
    pub bpf_folder: PathBuf,
    /// How long things may take.
    pub timing: Timing,
    /// Where metrics are served; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where health is served beside the operators' socket; `None` for nowhere.
    pub health: Option<SocketAddr>,
    /// Where introspection is served; `None` for nowhere.
    pub introspection: Option<IntrospectionAddress>,
    /// The host's files, and what is installed there.
    pub host: HostSettings,
    /// Folder of what must outlive a reboot.
    pub state_dir: PathBuf,
    /// Where the log goes.
    pub log_target: LogTarget,
    /// Which lines the log has: a level, or a filter of `tracing`.
    pub log_filter: String,
    /// What a line of the log looks like.
    pub log_format: LogFormat,
    /// What operators should hear at the start.
    pub remarks: Vec<Remark>,
    pub(super) given: Given,
}

/// Whose rules and whose targets apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudProfile {
    /// Those of Amazon EC2.
    Aws,
    /// Those of Microsoft Azure.
    Azure,
}

/// Where the ENIConfig of the node is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomNetworkSettings {
    /// File of the ENIConfigs; `None` where they are watched at the cluster's API.
    pub configs: Option<PathBuf>,
    /// File with the node's further labels and annotations.
    pub node: Option<PathBuf>,
    /// Annotation of the node that names its ENIConfig.
    pub annotation: String,
    /// Label of the node that does where the annotation is missing.
    pub label: String,
}

/// How the cluster's API is reached, and what is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// Its URL in place of the one that the kubelet tells every pod.
    pub endpoint: Option<Uri>,
    /// File that says how; without it the daemon is a pod of the cluster.
    pub kubeconfig: Option<PathBuf>,
    /// The daemon's own pod.
    pub pod_name: Option<String>,
    /// Whether pods' addresses are written into an annotation of theirs.
    pub annotate_pods: bool,
    /// Key of the taint that is removed once pods are served.
    pub startup_taint: Option<String>,
    /// Whether a node to which no address can come is tainted.
    pub taint_without_addresses: bool,
}

/// What pods' packets are judged by, beside their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnforcementSettings {
    /// Whether network policies are enforced.
    pub policies: PolicyMode,
    /// Folder of the policies, and of the namespaces and pods that they select.
    pub folder: Option<PathBuf>,
}

/// How network policies are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyMode {
    /// Not at all.
    None,
    /// What none selects passes, and everything until they are known.
    Standard,
    /// What none selects does not pass, and nothing until they are known.
    Strict,
}

impl PolicyMode {
    /// As the setting has it; `None` where none is enforced.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Standard => Some("standard"),
            Self::Strict => Some("strict"),
        }
    }
}

/// How much the pool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// Prefixes or single addresses.
    pub mode: SlotKind,
    /// Whole spare interfaces to hold.
    pub warm_eni: u32,
    /// Free addresses to hold.
    pub warm_ip: Option<u32>,
    /// Addresses to hold in total, used or not.
    pub minimum_ip: Option<u32>,
    /// Free prefixes to hold; `None` without prefix delegation.
    pub warm_prefix: Option<u32>,
    /// Most interfaces to use, the primary one included.
    pub max_eni: Option<u32>,
    /// Most pods of the node.
    pub max_pods: Option<u32>,
    /// Azure: addresses to ask for at once.
    pub batch: u32,
    /// Azure: a batch is asked for below this many free addresses, percent of a batch.
    pub request_percent: u32,
    /// Azure: a batch is given back above this many free addresses, percent of a batch.
    pub release_percent: u32,
    /// How long an excess must last before it is given back.
    pub release_delay: Duration,
    /// How old an interface must be to be detached.
    pub detach_age: Duration,
    /// Whether the cloud may be asked for changes.
    pub provisioning: bool,
    /// Whether interfaces come and go as on any node while the node is cordoned.
    pub manages_unschedulable: bool,
}

/// How pods' packets travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Whether pods get an IPv4 address.
    pub ipv4: bool,
    /// Whether pods get an IPv6 address.
    pub ipv6: bool,
    /// First letters of the host ends' names.
    pub veth_prefix: String,
    /// MTU of the cloud's interfaces, the primary one among them, bytes.
    pub interface_mtu: u32,
    /// MTU of pods, bytes.
    pub pod_mtu: u32,
    /// Whether traffic that leaves the network is translated.
    pub source_nat: bool,
    /// How source ports are chosen.
    pub source_nat_ports: SourceNatPorts,
    /// Further ranges to which pods keep their own address.
    pub untranslated: Vec<IpNet>,
    /// Whether answers to node-port traffic leave by the primary interface.
    pub node_ports: bool,
    /// Whether pods' way to instance metadata is closed.
    pub metadata_closed: bool,
}

/// What the node's kernel is told beside pods' addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSettings {
    /// Mark of traffic that must leave by the primary interface.
    pub mark: u32,
    /// Ranges to which pods' packets follow the node's own routes.
    pub external_services: Vec<IpNet>,
    /// Whether `tcp_early_demux` is switched off on the node.
    pub no_tcp_early_demux: bool,
    /// Whether IPv6 is switched off in every pod.
    pub no_pod_ipv6: bool,
    /// Family that pods have no address of and open flows of all the same, by a
    /// node-local address.
    pub egress: Option<Family>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Before an address that a pod has left may be given to another.
    pub cooldown: Duration,
    /// Longest wait of an ADD for an address.
    pub add_wait: Duration,
    /// Between two comparisons of journal and kernel.
    pub audit: Duration,
    /// Between two inventories when nothing changes; `None` is what suits the provider.
    pub inventory: Option<Duration>,
    /// Between two local views.
    pub local_view: Duration,
    /// Longest cloud call.
    pub cloud_deadline: Duration,
    /// Until a refused change is tried again.
    pub denied_retry: Duration,
    /// Until an exhausted subnet is tried again.
    pub subnet_retry: Duration,
    /// Between two inventories that must both lack what is dropped.
    pub doubt: Duration,
}

/// The host: its files, and what is installed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Folder with the host's files.
    pub root: PathBuf,
    /// Folder of the runtime's plugins; `None` installs no plugin.
    pub binaries: Option<PathBuf>,
    /// Folder of the runtime's network configurations; `None` installs none.
    pub configurations: Option<PathBuf>,
    /// The binary to install; `None` is the one beside the daemon's.
    pub plugin_source: Option<PathBuf>,
    /// The plugin's log, a path on the host.
    pub plugin_log_file: Option<PathBuf>,
    /// The plugin's log level, in lower case.
    pub plugin_log_level: &'static str,
    /// Whether the runtime is asked for limits of pods' bandwidth.
    pub bandwidth_limits: bool,
    /// Whether configurations of other networks that come first are renamed.
    pub take_over: bool,
}

/// Where introspection is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntrospectionAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket, given as `unix:` and its path.
    Unix(PathBuf),
}

impl FromStr for IntrospectionAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err("no absolute path after unix:"),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "no address with a port"),
        }
    }
}

impl fmt::Display for IntrospectionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where the daemon's log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// JSON for machines.
    Json,
}

/// What is known of the node once its cloud has described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whose targets apply.
    pub profile: CloudProfile,
    /// Instance type.
    pub instance_type: String,
    /// Interfaces that the type allows.
    pub max_interfaces: u32,
    /// Most pods, as worked out.
    pub max_pods: u32,
    /// Whether prefixes are held, which not every type takes.
    pub prefixes: bool,
}
