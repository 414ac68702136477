//! The `CNI_*` variables: parsed once, every wrong one named at once.

use veni_api::failure::{CniFailure, code};
use veni_api::v1::Pod;

use crate::Lookup;

/// Longest name of a link in bytes (`IFNAMSIZ` less its end).
const LONGEST_INTERFACE_NAME: usize = 15;

/// What the runtime wants, `CNI_COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Give a container its network.
    Add,
    /// Take it away.
    Del,
    /// Compare it with what ADD has made.
    Check,
    /// Release what is not in the runtime's list.
    Gc,
    /// Tell whether ADD can be served.
    Status,
    /// Tell the spoken versions of the specification.
    Version,
}

impl Command {
    const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Gc,
        Self::Status,
        Self::Version,
    ];

    /// As it stands in `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// Reads `CNI_COMMAND`.
    ///
    /// # Errors
    /// Code 4 when it is missing or not a command.
    pub fn try_from_lookup(lookup: Lookup<'_>) -> Result<Self, CniFailure> {
        let mut problems = Vec::new();
        let text = text(lookup, "CNI_COMMAND", &mut problems).unwrap_or_default();
        if let Some(command) = Self::ALL.into_iter().find(|known| known.as_str() == text) {
            return Ok(command);
        }
        if problems.is_empty() {
            let known = Self::ALL.map(Self::as_str).join(", ");
            problems.push(if text.is_empty() {
                format!(
                    "CNI_COMMAND: missing; veni-cni is a CNI plugin that a container runtime \
                     starts with one of {known}"
                )
            } else {
                format!("CNI_COMMAND={text}: not one of {known}")
            });
        }
        Err(invalid(&problems))
    }
}

/// What the variables say of the container; empty where the command needs nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Environment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub interface_name: String,
    /// `CNI_NETNS`, a path; at a DEL it may lead nowhere, or be empty.
    pub netns: String,
    /// The Kubernetes pod that `CNI_ARGS` names, empty otherwise.
    pub pod: Pod,
}

impl Environment {
    /// Reads and checks the variables that `command` needs.
    ///
    /// # Errors
    /// Code 4, with every missing or wrong variable in the details.
    pub fn try_from_lookup(command: Command, lookup: Lookup<'_>) -> Result<Self, CniFailure> {
        let needs_namespace = match command {
            Command::Add | Command::Check => true,
            // The namespace may be gone.
            Command::Del => false,
            Command::Gc | Command::Status | Command::Version => return Ok(Self::default()),
        };
        let mut problems = Vec::new();
        let mut required = |name: &str, judge: fn(&str) -> Result<(), &'static str>| {
            let text = text(lookup, name, &mut problems)?;
            match judge(&text) {
                Ok(()) => Some(text),
                Err(reason) if text.is_empty() => {
                    problems.push(format!("{name}: {reason}"));
                    None
                }
                Err(reason) => {
                    problems.push(format!("{name}={text}: {reason}"));
                    None
                }
            }
        };
        let container_id = required("CNI_CONTAINERID", judge_identifier);
        let interface_name = required("CNI_IFNAME", judge_interface_name);
        let netns = if needs_namespace {
            required("CNI_NETNS", judge_netns)
        } else {
            lookup("CNI_NETNS").map_or(Some(String::new()), |path| {
                Some(path.into_string().unwrap_or_default())
            })
        };
        match (container_id, interface_name, netns) {
            (Some(container_id), Some(interface_name), Some(netns)) => Ok(Self {
                container_id,
                interface_name,
                netns,
                pod: pod(lookup),
            }),
            _ => Err(invalid(&problems)),
        }
    }
}

/// A container id or network name: a letter or digit, then letters, digits and `_.-`.
pub(crate) fn judge_identifier(text: &str) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    match bytes.next() {
        None => Err("missing"),
        Some(first) if !first.is_ascii_alphanumeric() => Err("must start with a letter or a digit"),
        Some(_) if bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) => Ok(()),
        Some(_) => Err("only letters, digits, '_', '.' and '-' are allowed"),
    }
}

fn judge_interface_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("missing")
    } else if text.len() > LONGEST_INTERFACE_NAME {
        Err("longer than the kernel's 15 bytes")
    } else if text == "." || text == ".." {
        Err("not a name the kernel accepts")
    } else if text
        .chars()
        .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    {
        Err("must not contain '/', ':', whitespace or control characters")
    } else if text.contains('%') {
        Err("must not contain '%', which the kernel takes for a pattern")
    } else {
        Ok(())
    }
}

fn judge_netns(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("missing; it is the path of the container's network namespace")
    } else {
        Ok(())
    }
}

/// A variable's text, empty when it is not set; `None` and a problem when it is not UTF-8.
fn text(lookup: Lookup<'_>, name: &str, problems: &mut Vec<String>) -> Option<String> {
    match lookup(name).unwrap_or_default().into_string() {
        Ok(text) => Some(text),
        Err(raw) => {
            problems.push(format!("{name}={}: not utf-8", raw.display()));
            None
        }
    }
}

/// What `CNI_ARGS` says of the pod. The pairs come in any order and among others;
/// ones that we do not know are not ours to judge, with or without `IgnoreUnknown`.
pub(crate) fn pod(lookup: Lookup<'_>) -> Pod {
    let arguments = lookup("CNI_ARGS").unwrap_or_default();
    let mut pod = Pod::default();
    for (key, value) in arguments
        .to_string_lossy()
        .split(';')
        .filter_map(|pair| pair.split_once('='))
    {
        match key {
            "K8S_POD_NAMESPACE" => value.clone_into(&mut pod.namespace),
            "K8S_POD_NAME" => value.clone_into(&mut pod.name),
            "K8S_POD_UID" => value.clone_into(&mut pod.uid),
            _ => {}
        }
    }
    pod
}

fn invalid(problems: &[String]) -> CniFailure {
    CniFailure::new(
        code::INVALID_ENVIRONMENT,
        "the runtime passed invalid environment variables",
        problems.join("; "),
    )
}
