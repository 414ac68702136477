//! The network configuration on standard input: parsed once, every wrong field
//! named at once. Fields that we do not know are ignored.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use veni_api::failure::{CniFailure, code};
use veni_api::v1::{Bandwidth, PortMapping};

use crate::bandwidth;
use crate::environment::{Command, judge_identifier};
use crate::log;
use crate::port_mappings;
use crate::previous::PreviousResult;
use crate::version::{self, SpecVersion};

/// Smallest MTU of a link that carries IPv4 (RFC 791).
const SMALLEST_MTU: u64 = 68;
/// Largest MTU of a veth.
const LARGEST_MTU: u64 = 65_535;
/// Longest path of a unix socket in bytes (`sun_path` less its end).
const LONGEST_SOCKET_PATH: usize = 107;
/// Where GC's list stands; libcni writes the second key as well, an older
/// draft of the specification had it alone.
const VALID_ATTACHMENTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// A container's interface in GC's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidAttachment {
    /// Container (sandbox) id.
    pub container_id: String,
    /// Interface name inside the container.
    pub interface_name: String,
}

/// The network configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Netconf {
    /// Version of the specification to answer in.
    pub version: SpecVersion,
    /// The network's name.
    pub name: String,
    /// The daemon's run folder.
    pub run_dir: PathBuf,
    /// MTU of the pod's interface in bytes; 0 leaves it to the daemon.
    pub mtu: u32,
    /// Whether the interface takes the pod's default route; `None` leaves it to its name.
    pub is_default_gateway: Option<bool>,
    /// Ports of the node that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
    /// Limits of the pod's bandwidth.
    pub bandwidth: Option<Bandwidth>,
    /// DNS settings to pass on, empty when there are none.
    pub dns: Map<String, Value>,
    /// Result of the plugin before us (ADD) or of our ADD (CHECK).
    pub previous: Option<PreviousResult>,
    /// What GC keeps.
    pub valid: Vec<ValidAttachment>,
}

impl Netconf {
    /// Reads and checks what `command` needs of a configuration;
    /// `interface_name` is the container's interface.
    ///
    /// DEL looks at nothing but `name` and `runDir`: what has become wrong with
    /// a configuration after an ADD must not keep the pod from being deleted.
    ///
    /// # Errors
    /// Code 1 for a version that is not spoken or does not have the command,
    /// code 7 with every missing or wrong field in the details.
    pub fn try_from_json(
        config: &Value,
        command: Command,
        interface_name: &str,
    ) -> Result<Self, CniFailure> {
        let mut fields = Fields::new(config);
        let version = match command {
            Command::Del => version::of(config).unwrap_or_default(),
            _ => fields.version(command)?,
        };
        let mut netconf = Self {
            version,
            name: fields.name(),
            run_dir: fields.run_dir(),
            mtu: 0,
            is_default_gateway: None,
            port_mappings: Vec::new(),
            bandwidth: None,
            dns: Map::new(),
            previous: None,
            valid: Vec::new(),
        };
        if command != Command::Del {
            fields.string("type");
            netconf.mtu = fields.mtu();
            netconf.is_default_gateway = fields.is_default_gateway();
            netconf.dns = fields.dns();
            fields.plugin_log();
        }
        match command {
            Command::Add => {
                netconf.previous = fields.previous_of_chain(version);
                netconf.port_mappings = fields.port_mappings();
                netconf.bandwidth = fields.bandwidth();
            }
            Command::Check => netconf.previous = fields.previous_of_check(interface_name),
            Command::Gc => netconf.valid = fields.valid_attachments(),
            Command::Del | Command::Status | Command::Version => {}
        }
        if fields.problems.is_empty() {
            Ok(netconf)
        } else {
            Err(CniFailure::new(
                code::INVALID_CONFIG,
                "the network configuration is invalid",
                fields.problems.join("; "),
            ))
        }
    }

    /// The plugin's socket of the daemon.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(veni_api::CNI_SOCKET)
    }
}

/// The configuration's fields, and what is wrong with them.
struct Fields<'a> {
    config: &'a Value,
    problems: Vec<String>,
}

impl<'a> Fields<'a> {
    fn new(config: &'a Value) -> Self {
        Self {
            config,
            problems: Vec::new(),
        }
    }

    /// A field that is there; `null` is as good as missing.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.config.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, name: &str, value: &Value, reason: &str) {
        self.problems
            .push(format!("{name}={}: {reason}", shortened(value)));
    }

    fn port_mappings(&mut self) -> Vec<PortMapping> {
        let (mappings, problems) = port_mappings::of_config(self.config);
        for problem in problems {
            self.wrong(&problem.place, &problem.value, problem.reason);
        }
        mappings
    }

    fn string(&mut self, name: &str) -> Option<&'a str> {
        let value = self.get(name)?;
        if value.is_string() {
            return value.as_str();
        }
        self.wrong(name, value, "expected a string");
        None
    }

    fn version(&mut self, command: Command) -> Result<SpecVersion, CniFailure> {
        let given = self.get("cniVersion");
        if let Some(value) = given.filter(|value| !value.is_string()) {
            self.wrong("cniVersion", value, "expected a string");
            return Ok(SpecVersion::LATEST);
        }
        let Some(version) = version::of(self.config) else {
            let text = given.and_then(Value::as_str).unwrap_or_default();
            let spoken = SpecVersion::ALL.map(SpecVersion::as_str).join(", ");
            return Err(CniFailure::new(
                code::INCOMPATIBLE_VERSION,
                format!("cniVersion {text} is not supported"),
                format!("set cniVersion of the network configuration to one of {spoken}"),
            ));
        };
        let since = match command {
            Command::Check => SpecVersion::V0_4_0,
            Command::Gc | Command::Status => SpecVersion::V1_1_0,
            Command::Add | Command::Del | Command::Version => SpecVersion::V0_1_0,
        };
        if version >= since {
            return Ok(version);
        }
        let (command, since) = (command.as_str(), since.as_str());
        let given = match given.and_then(Value::as_str) {
            None | Some("") => {
                "a configuration without cniVersion is one of 0.1.0, which".to_owned()
            }
            Some(text) => format!("cniVersion {text}"),
        };
        Err(CniFailure::new(
            code::INCOMPATIBLE_VERSION,
            format!("{given} has no {command}"),
            format!(
                "it came with {since}: offer that version in cniVersion or cniVersions of the \
                 network configuration list"
            ),
        ))
    }

    fn name(&mut self) -> String {
        if let Some(value) = self.get("name")
            && !value.is_string()
        {
            self.wrong("name", value, "expected a string");
            return String::new();
        }
        let name = self.string("name").unwrap_or_default();
        if let Err(reason) = judge_identifier(name) {
            if name.is_empty() {
                self.problems.push(format!("name: {reason}"));
            } else {
                self.wrong("name", &Value::from(name), reason);
            }
        }
        name.to_owned()
    }

    fn run_dir(&mut self) -> PathBuf {
        let Some(value) = self.get("runDir") else {
            return PathBuf::from(veni_api::DEFAULT_RUN_DIR);
        };
        let Some(text) = self.string("runDir") else {
            return PathBuf::new();
        };
        let path = Path::new(text);
        if !path.is_absolute() {
            self.wrong("runDir", value, "expected an absolute path");
        } else if text.contains('\0') {
            self.wrong("runDir", value, "must not contain a zero byte");
        } else if path.join(veni_api::CNI_SOCKET).as_os_str().len() > LONGEST_SOCKET_PATH {
            self.wrong("runDir", value, "too long for the path of a unix socket");
        }
        path.to_owned()
    }

    /// A number, or the same as text, as the AWS plugin's configuration has it.
    fn mtu(&mut self) -> u32 {
        let Some(value) = self.get("mtu") else {
            return 0;
        };
        let number = match value {
            Value::String(text) if text.is_empty() => Some(0),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            other => other.as_u64(),
        };
        match number {
            Some(mtu) if mtu == 0 || (SMALLEST_MTU..=LARGEST_MTU).contains(&mtu) => {
                u32::try_from(mtu).unwrap_or_default()
            }
            _ => {
                self.wrong(
                    "mtu",
                    value,
                    "expected a whole number of bytes from 68 to 65535, or 0 for the daemon's own",
                );
                0
            }
        }
    }

    /// As the reference plugins that know the word have it.
    fn is_default_gateway(&mut self) -> Option<bool> {
        let value = self.get("isDefaultGateway")?;
        if !value.is_boolean() {
            self.wrong(
                "isDefaultGateway",
                value,
                "expected true or false, not as text",
            );
        }
        value.as_bool()
    }

    fn bandwidth(&mut self) -> Option<Bandwidth> {
        bandwidth::of_config(self.config, |name, value, reason| {
            self.wrong(name, value, reason)
        })
    }

    fn dns(&mut self) -> Map<String, Value> {
        let mut passed_on = Map::new();
        let Some(value) = self.get("dns") else {
            return passed_on;
        };
        if !value.is_object() {
            self.wrong("dns", value, "expected an object");
            return passed_on;
        }
        for key in ["nameservers", "domain", "search", "options"] {
            let Some(field) = value.get(key).filter(|field| !field.is_null()) else {
                continue;
            };
            let (fits, expected) = match (key, field) {
                ("domain", _) => (is_word(field), "expected a name without whitespace"),
                (_, Value::Array(words)) => (
                    words.iter().all(is_word),
                    "expected strings without whitespace",
                ),
                _ => (false, "expected a list of strings"),
            };
            if fits {
                passed_on.insert(key.to_owned(), field.clone());
            } else {
                self.wrong(&format!("dns.{key}"), field, expected);
            }
        }
        passed_on
    }

    /// What [`crate::log`] cannot follow; it reads the fields itself.
    fn plugin_log(&mut self) {
        if let Some(text) = self.string(log::FILE_FIELD) {
            let value = Value::from(text);
            if text == "stdout" {
                let reason = "standard output is for the result; use stderr or a path";
                self.wrong(log::FILE_FIELD, &value, reason);
            } else if text != log::STDERR && !Path::new(text).is_absolute() {
                self.wrong(log::FILE_FIELD, &value, "expected an absolute path");
            }
        }
        if let Some(text) = self.string(log::LEVEL_FIELD)
            && !log::LEVELS.contains(&text.to_lowercase().as_str())
        {
            let expected = format!("expected one of {}", log::LEVELS.join(", "));
            self.wrong(log::LEVEL_FIELD, &Value::from(text), &expected);
        }
    }

    /// What the plugin before us has returned. Results of 0.1.0 and 0.2.0 have no
    /// place for the addresses of two plugins, and these versions know no chains.
    fn previous_of_chain(&mut self, version: SpecVersion) -> Option<PreviousResult> {
        if version.has_lists() {
            return self.previous();
        }
        let previous = self.get("prevResult")?;
        let mut given = ["ip4", "ip6", "ips", "interfaces"].into_iter();
        if given.any(|key| previous.get(key).is_some_and(|value| !value.is_null())) {
            self.problems.push(format!(
                "prevResult: cniVersion {} has no chains, so the addresses of an earlier plugin \
                 would be lost: set cniVersion to 0.3.1 or later",
                version.as_str()
            ));
            return None;
        }
        self.previous()
    }

    fn previous(&mut self) -> Option<PreviousResult> {
        match PreviousResult::try_from_json(self.get("prevResult")?) {
            Ok(previous) => Some(previous),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    /// CHECK cannot do without: it holds what the runtime believes to be there.
    fn previous_of_check(&mut self, interface_name: &str) -> Option<PreviousResult> {
        if self.get("prevResult").is_none() {
            self.problems
                .push("prevResult: missing; CHECK needs the result of ADD".to_owned());
            return None;
        }
        let previous = self.previous()?;
        if previous.addresses_of(interface_name).is_empty() {
            self.problems.push(format!(
                "prevResult.ips: no address belongs to {interface_name} of the container"
            ));
        }
        Some(previous)
    }

    /// The list is what makes GC safe, so a missing one is an error. Clients in Go
    /// pass a node without pods as `null`, which is an empty list.
    fn valid_attachments(&mut self) -> Vec<ValidAttachment> {
        let given = VALID_ATTACHMENTS
            .into_iter()
            .find_map(|name| Some((name, self.get(name)?)));
        let Some((name, list)) = given else {
            let is_null = |name: &str| self.config.get(name).is_some_and(Value::is_null);
            if !VALID_ATTACHMENTS.into_iter().any(is_null) {
                self.problems.push(format!(
                    "{}: missing; without the list of what is in use GC releases nothing",
                    VALID_ATTACHMENTS[0]
                ));
            }
            return Vec::new();
        };
        let Some(items) = list.as_array() else {
            self.wrong(name, list, "expected a list");
            return Vec::new();
        };
        let mut valid = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let text = |key: &str| {
                let text = item.get(key)?.as_str()?;
                (!text.is_empty()).then(|| text.to_owned())
            };
            match (text("containerID"), text("ifname")) {
                (Some(container_id), Some(interface_name)) => valid.push(ValidAttachment {
                    container_id,
                    interface_name,
                }),
                _ => self.wrong(
                    &format!("{name}[{index}]"),
                    item,
                    "expected an object with strings containerID and ifname",
                ),
            }
        }
        valid
    }
}

fn is_word(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| !text.is_empty() && !text.contains(char::is_whitespace))
}

/// A value as it goes into an error.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}…")
}
