//! The AWS plugin's variables that Veni does not follow: accepted without
//! effect, or refused when they ask for what Veni does not do. The AWS plugin's
//! own defaults are always accepted, because existing manifests carry them.

use axum::http::Uri;

use super::reader::Reader;
use super::remarks::Remark;
use super::variable::{Disposition, Form, Variable};

const fn without_effect(
    name: &'static str,
    default: &'static str,
    form: Form,
    effect: &'static str,
    why: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        effect,
        disposition: Disposition::WithoutEffect { form, why },
    }
}

/// One that is refused unless it is false.
const fn refused(name: &'static str, effect: &'static str, why: &'static str) -> Variable {
    Variable {
        name,
        default: "false",
        effect,
        disposition: Disposition::Refused {
            form: Form::Boolean,
            accepted: &["false"],
            why,
        },
    }
}

/// The mode of network policies; `standard` is accepted with a warning.
const POLICY_MODE: &str = "NETWORK_POLICY_ENFORCING_MODE";

/// Asks for no interfaces on a tainted node unless it is true.
const UNSCHEDULABLE: &str = "AWS_MANAGE_ENIS_NON_SCHEDULABLE";

/// All of them, in the order of the documentation. The effect is the AWS
/// plugin's.
pub(super) const NOT_HONOURED: &[Variable] = &[
    refused(
        "ENABLE_POD_ENI",
        "Branch interfaces, for security groups of single pods.",
        "Veni makes no branch interfaces; set it to false, and give security groups to nodes or to ENIConfigs",
    ),
    refused(
        "ENABLE_MULTI_NIC",
        "Further interfaces for pods, on the node's other network cards.",
        "Veni gives a pod one interface, of the node's first network card; set it to false",
    ),
    refused(
        "ANNOTATE_POD_IP",
        "An annotation of the pod that tells its addresses.",
        "it needs the Kubernetes API, which this version of Veni does not use; set it to false, and read status.podIPs of the pod",
    ),
    refused(
        "ENABLE_BANDWIDTH_PLUGIN",
        "Limits of pods' bandwidth.",
        "it will mean limits of Veni's own, which this version does not have; set it to false, and pods' annotations that ask for limits are not followed",
    ),
    Variable {
        name: POLICY_MODE,
        default: "none",
        effect: "How network policies are enforced: none, standard or strict.",
        disposition: Disposition::Refused {
            form: Form::OneOf(&["none", "standard", "strict"]),
            accepted: &["none", "standard"],
            why: "network policies are not enforced yet, and strict promises that pods without a policy are closed; set it to standard or none",
        },
    },
    Variable {
        name: "AWS_VPC_K8S_CNI_BACKING_STORE",
        default: "/var/run/aws-node/ipam.json",
        effect: "File of the addresses in use.",
        disposition: Disposition::Refused {
            form: Form::Text,
            accepted: &["/var/run/aws-node/ipam.json"],
            why: "Veni's journal is a folder inside its run folder; unset this variable, and set VENI_RUN_DIR or --run-dir",
        },
    },
    without_effect(
        "POD_SECURITY_GROUP_ENFORCING_MODE",
        "strict",
        Form::OneOf(&["strict", "standard"]),
        "How security groups of single pods are enforced: strict or standard.",
        "it concerns the branch interfaces of ENABLE_POD_ENI, which Veni does not make",
    ),
    without_effect(
        UNSCHEDULABLE,
        "false",
        Form::Boolean,
        "Attach and detach interfaces while the node is unschedulable, too.",
        "taints need the Kubernetes API, which this version of Veni does not use: it manages interfaces whether or not the node is schedulable",
    ),
    without_effect(
        "CLUSTER_ENDPOINT",
        "",
        Form::Server,
        "Address of the Kubernetes API.",
        "this version of Veni does not use the Kubernetes API",
    ),
    without_effect(
        "MY_POD_NAME",
        "",
        Form::Text,
        "Pod of the daemon, for events about it.",
        "Veni writes no Kubernetes events; its own are in the log and in `veni status`",
    ),
    without_effect(
        "VPC_CNI_VERSION",
        "",
        Form::Text,
        "Version of the AWS plugin.",
        "Veni has a version of its own, which `ipamd --version` prints",
    ),
    without_effect(
        "VPC_ID",
        "",
        Form::Text,
        "VPC of the node, which EKS's manifests set.",
        "Veni asks instance metadata which VPC the node is in",
    ),
    without_effect(
        "AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE",
        "/var/log/aws-routed-eni/egress-v4-plugin.log",
        Form::Text,
        "Log of the plugin for IPv4 egress.",
        "Veni has no plugin of its own for egress, so there is no such log",
    ),
    without_effect(
        "AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE",
        "/var/log/aws-routed-eni/egress-v6-plugin.log",
        Form::Text,
        "Log of the plugin for IPv6 egress.",
        "Veni has no plugin of its own for egress, so there is no such log",
    ),
    without_effect(
        "ENABLE_NFTABLES",
        "",
        Form::Boolean,
        "nftables in place of iptables, in older versions.",
        "Veni always uses nftables, in tables of its own",
    ),
    without_effect(
        "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER",
        "",
        Form::Boolean,
        "Set the reverse-path filter of the primary interface, in older versions.",
        "Veni always sets the reverse-path filter that its routes need",
    ),
];

/// Checks what is set of them; what is accepted becomes a remark.
pub(super) fn read_not_honoured(reader: &mut Reader<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for variable in NOT_HONOURED {
        let (form, accepted) = match variable.disposition {
            Disposition::Honoured => continue,
            Disposition::WithoutEffect { form, .. } => (form, None),
            Disposition::Refused { form, accepted, .. } => (form, Some(accepted)),
        };
        let Some(value) = read_form(reader, variable.name, form) else {
            continue;
        };
        let why = variable.disposition.why();
        match accepted {
            Some(accepted) if !accepted.contains(&value.as_str()) => {
                reader.problem(variable.name, &value, why);
            }
            Some(_) => remarks.extend(policies_are_open(variable.name, &value)),
            None if variable.name == UNSCHEDULABLE && value == "false" => {
                remarks.push(Remark::warning(variable.name, why.to_owned()));
            }
            None => remarks.push(Remark::information(
                variable.name,
                format!("without effect: {why}"),
            )),
        }
    }
    remarks
}

fn policies_are_open(name: &'static str, value: &str) -> Option<Remark> {
    let concerned = name == POLICY_MODE && value == "standard";
    concerned.then(|| {
        let text =
            "network policies are not enforced yet: every pod can be reached as if there were none";
        Remark::warning(name, text.to_owned())
    })
}

/// The value in its usual spelling; `None` when it is unset or wrong.
fn read_form(reader: &mut Reader<'_>, name: &'static str, form: Form) -> Option<String> {
    if form == Form::Boolean {
        return reader.truth(name).map(|value| value.to_string());
    }
    let text = reader.text(name)?;
    match form {
        Form::Text | Form::Boolean => Some(text),
        Form::OneOf(words) => {
            if words.contains(&text.as_str()) {
                return Some(text);
            }
            let reason = format!("must be one of {}", words.join(", "));
            reader.problem(name, &text, reason);
            None
        }
        Form::Server => match wrong_server(&text) {
            None => Some(text),
            Some(reason) => {
                reader.problem(name, &text, reason);
                None
            }
        },
    }
}

fn wrong_server(text: &str) -> Option<String> {
    let uri: Uri = match text.parse() {
        Ok(uri) => uri,
        Err(error) => return Some(format!("must be an address such as https://host: {error}")),
    };
    let scheme = uri.scheme_str().unwrap_or("https");
    let right =
        uri.host().is_some_and(|host| !host.is_empty()) && ["http", "https"].contains(&scheme);
    (!right).then(|| "must be an address such as https://host".to_owned())
}
