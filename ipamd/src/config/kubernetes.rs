//! Which cluster's API the daemon watches, how it is reached, and what is written there.

use std::path::PathBuf;

use axum::http::Uri;

use super::groups::KubernetesSettings;
use super::parse::{Parsed, absolute_path, wrong};
use super::reader::Reader;
use super::setting::{Setting, read_by, read_if_set, text_if_set, truth};
use super::variable::{Condition, DefaultValue};

pub(super) static KUBERNETES_SERVICE_HOST: Setting<Option<String>> = Setting::new(
    "KUBERNETES_SERVICE_HOST",
    text_if_set("none"),
    "Set by the kubelet in every pod: the daemon watches its node's object and the pods bound to \
     it at the cluster's API, as the pod's service account.",
)
.needs(&[WITH_CLIENT]);

pub(super) static CLUSTER_ENDPOINT: Setting<Option<Uri>> = Setting::new(
    "CLUSTER_ENDPOINT",
    read_if_set(server, DefaultValue::InWords("KUBERNETES_SERVICE_HOST")),
    "URL of the cluster's API in place of the service's, for nodes on which no kube-proxy runs yet.",
)
.needs(&[
    WITH_CLIENT,
    Condition {
        note: "used only in a pod of the cluster",
        holds: |now| {
            let kubernetes = now.config.kubernetes.as_ref();
            kubernetes.is_some_and(|one| one.kubeconfig.is_none())
        },
    },
]);

pub(super) static KUBECONFIG: Setting<Option<PathBuf>> = Setting::new(
    "KUBECONFIG",
    read_if_set(
        |text| absolute_path(text).map(Some),
        DefaultValue::InWords("none"),
    ),
    "File that says how to reach the cluster's API, for a daemon that is not a pod of it.",
)
.needs(&[WITH_CLIENT]);

pub(super) static MY_POD_NAME: Setting<Option<String>> = Setting::new(
    "MY_POD_NAME",
    text_if_set("none: events are about the node"),
    "The daemon's own pod, in the namespace of its service account: events about what keeps the \
     node from addresses are about this pod.",
)
.needs(&[WITH_CLIENT, WITH_CLUSTER]);

pub(super) static ANNOTATE_POD_IP: Setting<bool> = Setting::new(
    "ANNOTATE_POD_IP",
    truth(false),
    "Write each pod's addresses into its annotation vpc.amazonaws.com/pod-ips after its ADD, and \
     empty the annotation after its DEL.",
)
.needs(&[WITH_CLIENT, WITH_CLUSTER]);

pub(super) static VENI_STARTUP_TAINT: Setting<Option<String>> = Setting::new(
    "VENI_STARTUP_TAINT",
    read_by(taint_key, DefaultValue::Text("veni.dev/not-ready")),
    "Key of a taint that the daemon removes from its node once it serves pods; `none` leaves all \
     taints alone.",
)
.needs(&[WITH_CLIENT, WITH_CLUSTER]);

pub(super) static VENI_TAINT_WITHOUT_ADDRESSES: Setting<bool> = Setting::new(
    "VENI_TAINT_WITHOUT_ADDRESSES",
    truth(false),
    "Keep pods away by the taint veni.dev/no-addresses:NoSchedule after a minute in which no \
     address can come, unless that is because a subnet is full, which would be so on a new node \
     too.",
)
.needs(&[WITH_CLIENT, WITH_CLUSTER]);

const WITH_CLUSTER: Condition = Condition {
    note: "used only where KUBERNETES_SERVICE_HOST or KUBECONFIG names a cluster",
    holds: |now| now.config.kubernetes.is_some(),
};

const WITH_CLIENT: Condition = Condition {
    note: "not used: this build has no client of Kubernetes (feature kube)",
    holds: |_| cfg!(feature = "kube"),
};

/// A URL, or a bare `host:port`, which stands for `https`.
fn server(text: &str) -> Parsed<Option<Uri>> {
    let must_be = "must be an address such as https://host";
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let uri: Uri = whole
        .parse()
        .map_err(|error| wrong(text, format_args!("{must_be}: {error}")))?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    match known && uri.host().is_some_and(|host| !host.is_empty()) {
        true => Ok(Some(uri)),
        false => Err(wrong(text, must_be)),
    }
}

/// A taint's key, or `none`.
fn taint_key(text: &str) -> Parsed<Option<String>> {
    let of_a_key = |sign: char| sign.is_ascii_alphanumeric() || "-_./".contains(sign);
    match text {
        "none" => Ok(None),
        key if key.chars().all(of_a_key) => Ok(Some(key.to_owned())),
        _ => Err(wrong(
            text,
            "must be a taint's key such as veni.dev/not-ready, without value and effect, or none",
        )),
    }
}

/// `None` where no cluster is named.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<KubernetesSettings> {
    let in_cluster = reader.read(&KUBERNETES_SERVICE_HOST).is_some();
    let settings = KubernetesSettings {
        endpoint: reader.read(&CLUSTER_ENDPOINT),
        kubeconfig: reader.read(&KUBECONFIG),
        pod_name: reader.read(&MY_POD_NAME),
        annotate_pods: reader.read(&ANNOTATE_POD_IP),
        startup_taint: reader.read(&VENI_STARTUP_TAINT),
        taint_without_addresses: reader.read(&VENI_TAINT_WITHOUT_ADDRESSES),
    };
    (in_cluster || settings.kubeconfig.is_some()).then_some(settings)
}

/// Whether the daemon watches a cluster's API.
pub(super) fn is_watched(settings: Option<&KubernetesSettings>) -> bool {
    cfg!(feature = "kube") && settings.is_some()
}
