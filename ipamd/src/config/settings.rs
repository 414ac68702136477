//! Every variable as it is in force: its value, where that comes from, and what
//! keeps it from having an effect now.

use std::fmt;

use veni_api::v1;
use veni_pool::SlotKind;

use super::variable::{Disposition, Variable};
use super::variables::variables;
use super::{CloudProfile, Config, ProviderChoice};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The environment.
    Environment,
    /// The table of variables.
    Default,
    /// Something else that decides, in words: `limit of m5.large`.
    Derived(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::Default => "default",
            Self::Derived(from) => from,
        })
    }
}

/// One variable as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its row.
    pub variable: &'static Variable,
    /// Value in force; empty for none.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
    /// Why it has no effect on this node as it is set up; empty when it has.
    pub note: String,
}

impl Setting {
    /// For operators.
    pub(crate) fn report(&self) -> v1::Setting {
        let variable = self.variable;
        v1::Setting {
            name: variable.name.to_owned(),
            value: self.value.clone(),
            source: self.source.to_string(),
            default: variable.default.to_owned(),
            effect: variable.effect.to_owned(),
            disposition: variable.disposition.label().to_owned(),
            why: variable.disposition.why().to_owned(),
            note: self.note.clone(),
        }
    }
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

/// A value and why it is not what the variable itself says.
type Derived = (String, String);

impl Config {
    /// All variables in the order of the documentation. Without facts of the
    /// node, what depends on it stays in words.
    #[must_use]
    pub fn settings(&self, facts: Option<&NodeFacts>) -> Vec<Setting> {
        variables()
            .map(|variable| self.setting(variable, facts))
            .collect()
    }

    fn setting(&self, variable: &'static Variable, facts: Option<&NodeFacts>) -> Setting {
        let name = variable.name;
        let given = self.given.get(name);
        let (value, source) = match (self.derived(name, facts), given) {
            (Some((value, from)), _) => (value, Source::Derived(from)),
            (None, Some(value)) => (value.clone(), Source::Environment),
            (None, None) => (variable.default.to_owned(), Source::Default),
        };
        Setting {
            variable,
            value,
            source,
            note: self.idle(name, facts).unwrap_or_default(),
        }
    }

    /// What other settings or the node make of a variable.
    fn derived(&self, name: &str, facts: Option<&NodeFacts>) -> Option<Derived> {
        let is_given = self.given.contains_key(name);
        let because = |value: &str, from: &str| Some((value.to_owned(), from.to_owned()));
        match name {
            "MAX_ENI" => self.max_eni(facts?),
            "MAX_PODS" if !is_given => {
                let facts = facts?;
                let from = format!("interfaces of {}", facts.instance_type);
                Some((facts.max_pods.to_string(), from))
            }
            "ENABLE_PREFIX_DELEGATION" if self.wants_prefixes() && !self.with_prefixes(facts) => {
                let from = format!("{} takes no prefixes", facts?.instance_type);
                because("false", &from)
            }
            "WARM_PREFIX_TARGET" if !is_given => {
                let value = if self.with_prefixes(facts) {
                    "1"
                } else {
                    "unset"
                };
                because(value, "default")
            }
            "POD_MTU" if !is_given => because(&self.network.pod_mtu.to_string(), "AWS_VPC_ENI_MTU"),
            "MY_NODE_NAME" if !is_given => because(&self.host_name, "host name"),
            "VENI_INSTANCE_ID" if !is_given => because(&self.host_name, "host name"),
            "DISABLE_NETWORK_RESOURCE_PROVISIONING" if self.metadata_only() => {
                because("true", "ENABLE_IMDS_ONLY_MODE")
            }
            "DISABLE_LEAKED_ENI_CLEANUP" if self.metadata_only() => {
                because("true", "ENABLE_IMDS_ONLY_MODE")
            }
            "DISABLE_LEAKED_ENI_CLEANUP" if !self.targets.provisioning => {
                because("true", "DISABLE_NETWORK_RESOURCE_PROVISIONING")
            }
            "DISABLE_LEAKED_ENI_CLEANUP" if !self.network.ipv4 => because("true", "ENABLE_IPv4"),
            _ => None,
        }
    }

    fn max_eni(&self, facts: &NodeFacts) -> Option<Derived> {
        let limit = facts.max_interfaces;
        let binds = self.targets.max_eni.is_some_and(|wanted| wanted < limit);
        (!binds).then(|| {
            let from = format!("limit of {}", facts.instance_type);
            (limit.to_string(), from)
        })
    }

    fn wants_prefixes(&self) -> bool {
        self.targets.mode == SlotKind::Prefix
    }

    fn with_prefixes(&self, facts: Option<&NodeFacts>) -> bool {
        self.wants_prefixes() && facts.is_none_or(|facts| facts.prefixes)
    }

    fn metadata_only(&self) -> bool {
        matches!(&self.provider, ProviderChoice::Aws(choice) if choice.metadata_only)
    }

    /// Why a variable changes nothing at present.
    fn idle(&self, name: &str, facts: Option<&NodeFacts>) -> Option<String> {
        self.idle_here(name, facts)
            .or_else(|| self.idle_target(name, self.with_prefixes(facts)))
            .or_else(|| self.idle_network(name))
    }

    /// Those of another provider, or of another cloud's targets.
    fn idle_here(&self, name: &str, facts: Option<&NodeFacts>) -> Option<String> {
        let of_mock = name.starts_with("VENI_MOCK_") || name == "VENI_INSTANCE_ID";
        match &self.provider {
            ProviderChoice::Aws(_) if of_mock => return used_with("VENI_PROVIDER=mock"),
            ProviderChoice::Mock { .. } if OF_AWS.contains(&name) => {
                return used_with("VENI_PROVIDER=aws");
            }
            ProviderChoice::Mock {
                endpoint: Some(_), ..
            } if OF_OWN_MOCK.contains(&name) => {
                return Some("not used: VENI_MOCK_ENDPOINT is set".to_owned());
            }
            ProviderChoice::Aws(_) | ProviderChoice::Mock { .. } => {}
        }
        let profile = facts?.profile;
        if profile == CloudProfile::Aws && name.starts_with("VENI_POOL_") {
            used_with("Azure")
        } else if profile == CloudProfile::Azure && OF_AWS_TARGETS.contains(&name) {
            used_with("AWS")
        } else {
            None
        }
    }

    fn idle_target(&self, name: &str, prefixes: bool) -> Option<String> {
        let targets = &self.targets;
        let by_addresses = if targets.warm_ip.is_some() {
            Some("WARM_IP_TARGET")
        } else {
            targets.minimum_ip.map(|_| "MINIMUM_IP_TARGET")
        };
        match name {
            "WARM_ENI_TARGET" | "WARM_PREFIX_TARGET" if by_addresses.is_some() => {
                by_addresses.map(|winner| format!("not used: {winner} is set"))
            }
            "WARM_ENI_TARGET" if prefixes => {
                Some("not used: ENABLE_PREFIX_DELEGATION is true".to_owned())
            }
            "WARM_PREFIX_TARGET" if !prefixes => used_with("ENABLE_PREFIX_DELEGATION=true"),
            _ => None,
        }
    }

    fn idle_network(&self, name: &str) -> Option<String> {
        let custom = self.custom_network.is_some();
        match name {
            "AWS_VPC_K8S_CNI_RANDOMIZESNAT" | "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"
                if !self.network.source_nat =>
            {
                Some("not used: AWS_VPC_K8S_CNI_EXTERNALSNAT is true".to_owned())
            }
            "ENI_CONFIG_ANNOTATION_DEF"
            | "ENI_CONFIG_LABEL_DEF"
            | "VENI_ENI_CONFIG_FILE"
            | "VENI_NODE_FILE"
                if !custom =>
            {
                used_with("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true")
            }
            "ENABLE_SUBNET_DISCOVERY" if custom => {
                Some("not used: AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG is true".to_owned())
            }
            "VENI_METRICS_ADDRESS" if self.metrics.is_none() => {
                Some("not used: DISABLE_METRICS is true".to_owned())
            }
            "INTROSPECTION_BIND_ADDRESS" if self.introspection.is_none() => {
                Some("not used: DISABLE_INTROSPECTION is true".to_owned())
            }
            _ => None,
        }
    }
}

fn used_with(what: &str) -> Option<String> {
    Some(format!("used only with {what}"))
}

/// What only the AWS provider is told.
const OF_AWS: [&str; 10] = [
    "CLUSTER_NAME",
    "ADDITIONAL_ENI_TAGS",
    "MANAGE_UNTAGGED_ENI",
    "ENABLE_SUBNET_DISCOVERY",
    "DISABLE_LEAKED_ENI_CLEANUP",
    "VENI_LEAK_INTERVAL",
    "ENABLE_IMDS_ONLY_MODE",
    "AWS_EC2_ENDPOINT",
    "HTTP_TIMEOUT",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
];

/// What only a mock cloud in the daemon's own process is told.
const OF_OWN_MOCK: [&str; 3] = [
    "VENI_MOCK_INSTANCE_TYPE",
    "VENI_MOCK_PRIMARY_ADDRESS",
    "VENI_MOCK_PRIMARY_LINK",
];

/// The targets of AWS, which Azure's take the place of.
const OF_AWS_TARGETS: [&str; 4] = [
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "MINIMUM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

/// Settings in one line, as `NAME=value`: for the log. What has no effect is
/// left out.
#[must_use]
pub fn in_one_line(settings: &[Setting]) -> String {
    let shown: Vec<String> = settings
        .iter()
        .filter(|setting| setting.variable.disposition == Disposition::Honoured)
        .filter(|setting| setting.note.is_empty())
        .map(|setting| {
            let (name, value) = (setting.variable.name, &setting.value);
            if value.is_empty() || value.contains([' ', '"']) {
                format!("{name}={value:?}")
            } else {
                format!("{name}={value}")
            }
        })
        .collect();
    shown.join(" ")
}

/// Settings as blocks of text: name, value, source and default, then the effect.
#[must_use]
pub fn in_blocks(settings: &[Setting]) -> String {
    settings.iter().map(block).collect()
}

fn block(setting: &Setting) -> String {
    let variable = setting.variable;
    let mut text = format!("{}={} [{}", variable.name, setting.value, setting.source);
    if setting.source != Source::Default && !variable.default.is_empty() {
        text.push_str("; default ");
        text.push_str(variable.default);
    }
    text.push_str("]\n");
    let mut line = |start: &str, rest: &str| {
        if !rest.is_empty() {
            text.push_str(&format!("    {start}{rest}\n"));
        }
    };
    line("", variable.effect);
    let disposition = variable.disposition;
    // What was set is accepted, or it would not be in force.
    let accepted =
        matches!(disposition, Disposition::Refused { .. }) && setting.source == Source::Environment;
    if !accepted {
        let label = match disposition {
            Disposition::Refused { .. } => "other values are refused",
            other => other.label(),
        };
        line(&format!("{label}: "), disposition.why());
    }
    line("", &setting.note);
    text
}
