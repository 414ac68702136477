//! Which cluster's API the daemon watches, and how it is reached.

use std::path::PathBuf;

use axum::http::Uri;

use super::groups::KubernetesSettings;
use super::parse::{Parsed, absolute_path, wrong};
use super::reader::Reader;
use super::setting::{Setting, read_if_set, text_if_set};
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

/// `None` where no cluster is named.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<KubernetesSettings> {
    let in_cluster = reader.read(&KUBERNETES_SERVICE_HOST).is_some();
    let settings = KubernetesSettings {
        endpoint: reader.read(&CLUSTER_ENDPOINT),
        kubeconfig: reader.read(&KUBECONFIG),
    };
    (in_cluster || settings.kubeconfig.is_some()).then_some(settings)
}
