//! The AWS plugin's settings that Veni does not follow: accepted without effect, or
//! refused when they ask for what Veni does not do. The AWS plugin's own defaults are
//! always accepted, because existing manifests carry them.

use super::reader::Reader;
use super::remark::Remark;
use super::setting::{Kind, Setting, Value, checked};
use super::variable::{DefaultValue, Disposition};

/// One of them. Its effect is the AWS plugin's.
pub(super) struct NotHonoured {
    pub(super) setting: Setting<()>,
}

/// All of them, in the order of the documentation.
pub(super) static NOT_HONOURED: [NotHonoured; 10] = [
    refused(
        "ENABLE_POD_ENI",
        flag(DefaultValue::Truth(false)),
        "Branch interfaces, for security groups of single pods.",
        &["false"],
        "Veni makes no branch interfaces; set it to false, and give security groups to nodes or \
         to ENIConfigs",
    ),
    refused(
        "ENABLE_MULTI_NIC",
        flag(DefaultValue::Truth(false)),
        "Further interfaces for pods, on the node's other network cards.",
        &["false"],
        "Veni gives a pod one interface, of the node's first network card; set it to false",
    ),
    refused(
        "AWS_VPC_K8S_CNI_BACKING_STORE",
        text("/var/run/aws-node/ipam.json"),
        "File of the addresses in use.",
        &["/var/run/aws-node/ipam.json"],
        "Veni's journal is a folder inside its run folder; unset this variable, and set \
         VENI_RUN_DIR or --run-dir",
    ),
    without_effect(
        "POD_SECURITY_GROUP_ENFORCING_MODE",
        word(&[("strict", ()), ("standard", ())], "strict"),
        "How security groups of single pods are enforced: strict or standard.",
        "it concerns the branch interfaces of ENABLE_POD_ENI, which Veni does not make",
    ),
    without_effect(
        "VPC_CNI_VERSION",
        text(""),
        "Version of the AWS plugin.",
        "Veni has a version of its own, which `ipamd --version` prints",
    ),
    without_effect(
        "VPC_ID",
        text(""),
        "VPC of the node, which EKS's manifests set.",
        "Veni asks instance metadata which VPC the node is in",
    ),
    without_effect(
        "AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE",
        text("/var/log/aws-routed-eni/egress-v4-plugin.log"),
        "Log of the plugin for IPv4 egress.",
        "Veni has no plugin of its own for egress, so there is no such log",
    ),
    without_effect(
        "AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE",
        text("/var/log/aws-routed-eni/egress-v6-plugin.log"),
        "Log of the plugin for IPv6 egress.",
        "Veni has no plugin of its own for egress, so there is no such log",
    ),
    without_effect(
        "ENABLE_NFTABLES",
        flag(DefaultValue::InWords("")),
        "nftables in place of iptables, in older versions.",
        "Veni always uses nftables, in tables of its own",
    ),
    without_effect(
        "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER",
        flag(DefaultValue::InWords("")),
        "Set the reverse-path filter of the primary interface, in older versions.",
        "Veni always sets the reverse-path filter that its routes need",
    ),
];

const fn refused(
    name: &'static str,
    value: Value<()>,
    effect: &'static str,
    accepted: &'static [&'static str],
    why: &'static str,
) -> NotHonoured {
    let disposition = Disposition::Refused { accepted, why };
    NotHonoured {
        setting: Setting::new(name, value, effect).not_honoured(disposition),
    }
}

const fn without_effect(
    name: &'static str,
    value: Value<()>,
    effect: &'static str,
    why: &'static str,
) -> NotHonoured {
    let disposition = Disposition::WithoutEffect { why };
    NotHonoured {
        setting: Setting::new(name, value, effect).not_honoured(disposition),
    }
}

const fn flag(default: DefaultValue) -> Value<()> {
    checked(Kind::Truth(|_| ()), default)
}

const fn word(words: &'static [(&'static str, ())], default: &'static str) -> Value<()> {
    checked(Kind::OneOf(words), DefaultValue::Text(default))
}

const fn text(default: &'static str) -> Value<()> {
    checked(Kind::ReadBy(|_| Ok(())), DefaultValue::Text(default))
}

/// Checks what is set of them; what is accepted becomes a remark.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for one in &NOT_HONOURED {
        reader.read(&one.setting);
        let Some(value) = reader.given(&one.setting).map(str::to_owned) else {
            continue;
        };
        match one.setting.variable.disposition {
            Disposition::Refused { accepted, why } if !accepted.contains(&value.as_str()) => {
                reader.problem(&one.setting, &value, why);
            }
            Disposition::WithoutEffect { why } => {
                let text = format!("without effect: {why}");
                remarks.push(Remark::information(one.setting.variable.name, text));
            }
            Disposition::Refused { .. } | Disposition::Honoured => {}
        }
    }
    remarks
}
