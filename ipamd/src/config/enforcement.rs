//! Which programs pods' traffic passes, and how they enforce network policies.

use std::path::PathBuf;

use super::groups::{EnforcementSettings, PolicyMode};
use super::parse::absolute_path;
use super::reader::Reader;
use super::remark::Remark;
use super::setting::{Setting, one_of, read_by, read_if_set};
use super::variable::{Condition, DefaultValue};

pub(super) static VENI_ENFORCEMENT: Setting<bool> = Setting::new(
    "VENI_ENFORCEMENT",
    one_of(&[("none", false), ("ebpf", true)], "none"),
    "ebpf lets a pod send only from its own addresses and MAC, and enforces network policies as \
     NETWORK_POLICY_ENFORCING_MODE says; none judges no packet.",
);

pub(super) static NETWORK_POLICY_ENFORCING_MODE: Setting<PolicyMode> = Setting::new(
    "NETWORK_POLICY_ENFORCING_MODE",
    one_of(
        &[
            ("none", PolicyMode::None),
            ("standard", PolicyMode::Standard),
            ("strict", PolicyMode::Strict),
        ],
        "none",
    ),
    "Whether network policies are enforced. What none selects passes with standard, and nothing of \
     it with strict; so it is while policies are not known yet.",
)
.needs(&[WITH_EBPF]);

pub(super) static VENI_POLICY_FOLDER: Setting<Option<PathBuf>> = Setting::new(
    "VENI_POLICY_FOLDER",
    read_if_set(
        |text| absolute_path(text).map(Some),
        DefaultValue::InWords("the cluster's API"),
    ),
    "Folder of the NetworkPolicies, Namespaces and Pods that decide, in files of YAML or JSON as \
     the cluster's API has them.",
)
.needs(&[
    WITH_EBPF,
    Condition {
        note: "not used: NETWORK_POLICY_ENFORCING_MODE is none",
        holds: |now| {
            let enforcement = now.config.enforcement.as_ref();
            enforcement.is_some_and(|one| one.policies != PolicyMode::None)
        },
    },
]);

pub(super) static VENI_BPF_FOLDER: Setting<PathBuf> = Setting::new(
    "VENI_BPF_FOLDER",
    read_by(absolute_path, DefaultValue::Text("/sys/fs/bpf/veni")),
    "Folder in a bpf file system where programs and maps outlive the daemon.",
);

const WITH_EBPF: Condition = Condition {
    note: "used only with VENI_ENFORCEMENT=ebpf",
    holds: |now| now.config.enforcement.is_some(),
};

/// `None` where no packet is judged. `api`: whether there is a cluster's API that the daemon
/// watches.
pub(super) fn read(
    reader: &mut Reader<'_>,
    api: bool,
) -> (Option<EnforcementSettings>, Option<Remark>) {
    let wanted = reader.read(&VENI_ENFORCEMENT);
    let settings = EnforcementSettings {
        policies: reader.read(&NETWORK_POLICY_ENFORCING_MODE),
        folder: reader.read(&VENI_POLICY_FOLDER),
    };
    if !wanted {
        return (None, not_enforced(reader, settings.policies));
    }
    if !cfg!(feature = "bpf") {
        let reason = "this build has no programs for the kernel: set it to none, or use a build \
                      with the feature bpf, as releases are";
        reader.problem(&VENI_ENFORCEMENT, "ebpf", reason);
    }
    if let (Some(mode), None, false) = (settings.policies.word(), &settings.folder, api) {
        let reason = "no cluster's API tells of policies: name a folder of them by \
                      VENI_POLICY_FOLDER, or set this to none";
        reader.problem(&NETWORK_POLICY_ENFORCING_MODE, mode, reason);
    }
    (Some(settings), None)
}

/// The AWS plugin's manifests say `standard`, whether policies are in use or not; `strict` says
/// nobody who does not mean it.
fn not_enforced(reader: &mut Reader<'_>, mode: PolicyMode) -> Option<Remark> {
    let name = NETWORK_POLICY_ENFORCING_MODE.variable.name;
    match mode {
        PolicyMode::None => None,
        PolicyMode::Standard => Some(Remark::warning(
            name,
            "network policies are not enforced: every pod can be reached as if there were none; \
             VENI_ENFORCEMENT=ebpf enforces them"
                .to_owned(),
        )),
        PolicyMode::Strict => {
            let reason = "strict promises that pods are closed, and nothing is enforced: set \
                          VENI_ENFORCEMENT to ebpf, or this to standard or none";
            reader.problem(&NETWORK_POLICY_ENFORCING_MODE, "strict", reason);
            None
        }
    }
}
