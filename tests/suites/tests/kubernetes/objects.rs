//! The objects that tests make on a cluster, and what comes of them.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use veni_testbed::cloudlab::enter;
use veni_testbed::cluster::{Cluster, POD_IMAGE, address_of, eventually};

use crate::veni;

/// How long a server may take to answer before a caller tries again.
const ANSWER: Duration = Duration::from_secs(10);
/// Port of the servers.
pub(crate) const PORT: u16 = 80;

/// A pod that is ready.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) address: IpAddr,
}

impl Pod {
    /// Path of its network namespace.
    pub(crate) async fn namespace(&self, cluster: &Cluster) -> PathBuf {
        cluster
            .node_named(&self.node)
            .pod_namespace(self.address)
            .await
    }
}

/// A container that does nothing.
pub(crate) fn idle() -> Value {
    json!({ "name": "idle", "image": POD_IMAGE })
}

/// A container that tells each caller its own name and the caller's address; ready when it does.
pub(crate) fn server() -> Value {
    let serve = "mkdir /cgi-bin; printf '#!/bin/sh\\necho; echo $HOSTNAME $REMOTE_ADDR' \
                 >/cgi-bin/who; chmod +x /cgi-bin/who; exec httpd -f -p 80 -h /";
    json!({
        "name": "server", "image": POD_IMAGE, "command": ["sh", "-c", serve],
        "ports": [{ "containerPort": PORT }],
        "readinessProbe": {
            "httpGet": { "path": "/cgi-bin/who", "port": PORT }, "periodSeconds": 1, "timeoutSeconds": 10,
        },
    })
}

/// A pod's specification. Its containers end at once, for they ignore what asks them to end.
pub(crate) fn pod_of(container: Value) -> Value {
    json!({
        "terminationGracePeriodSeconds": 0,
        // There is no DNS in the cluster.
        "dnsPolicy": "Default",
        "automountServiceAccountToken": false,
        "containers": [container],
    })
}

/// A deployment whose pods are labelled `app` with its name, on one node or on any.
pub(crate) fn deployment(name: &str, pods: usize, node: Option<&str>, container: Value) -> Value {
    let labels = json!({ "app": name });
    let mut spec = pod_of(container);
    match node {
        Some(node) => spec["nodeSelector"] = json!({ "kubernetes.io/hostname": node }),
        None => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": labels },
            }]);
        }
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": pods,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

/// Waits until so many pods of an app are ready, and returns them.
pub(crate) async fn running(cluster: &Cluster, app: &str, count: usize) -> Vec<Pod> {
    let selector = format!("app={app}");
    eventually(&format!("{count} pods of {app}"), async || {
        let all = cluster.list(&["pods", "-l", &selector]).await?;
        let ready: Vec<Pod> = all
            .iter()
            .filter(|pod| veni::is_ready(pod))
            .filter_map(read)
            .collect();
        match ready.len() == count && all.len() == count {
            true => Ok(ready),
            false => Err(why(cluster, &all, &ready).await),
        }
    })
    .await
}

async fn why(cluster: &Cluster, all: &[Value], ready: &[Pod]) -> String {
    let events = [
        "get",
        "events",
        "--field-selector",
        "type=Warning",
        "-o",
        "wide",
    ];
    let events = cluster.kubectl(&events).await.unwrap_or_else(|error| error);
    let lines: Vec<&str> = events.lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n");
    format!(
        "{} of {} are ready; the last warnings:\n{last}",
        ready.len(),
        all.len()
    )
}

/// Waits until an app has no pod.
pub(crate) async fn gone(cluster: &Cluster, app: &str) {
    let selector = format!("app={app}");
    eventually(&format!("the end of {app}'s pods"), async || match cluster
        .list(&["pods", "-l", &selector])
        .await?
        .len()
    {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    })
    .await;
}

fn read(pod: &Value) -> Option<Pod> {
    Some(Pod {
        name: pod["metadata"]["name"].as_str()?.to_owned(),
        node: pod["spec"]["nodeName"].as_str()?.to_owned(),
        address: address_of(pod)?,
    })
}

/// Fails unless each pod has an address of its own that the cloud has assigned to its node.
pub(crate) fn assert_addresses(cluster: &Cluster, pods: &[Pod]) {
    let different: BTreeSet<IpAddr> = pods.iter().map(|pod| pod.address).collect();
    assert_eq!(
        different.len(),
        pods.len(),
        "two pods share an address: {pods:?}"
    );
    let dump = cluster.lab().cloud().dump();
    for pod in pods {
        let node = dump.node(&pod.node).expect("the cloud knows the node");
        let mut interfaces = node.interfaces.iter().map(|one| &one.interface);
        let assigned = interfaces.any(|one| {
            one.addresses.contains(&pod.address)
                || one
                    .prefixes
                    .iter()
                    .any(|prefix| prefix.contains(&pod.address))
        });
        assert!(
            assigned,
            "{pod:?}: the cloud has not assigned its address to its node"
        );
    }
}

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The pod that has answered.
    pub(crate) pod: String,
    /// Whom it has seen.
    pub(crate) seen: IpAddr,
}

/// Asks a server from inside a namespace, until it answers.
pub(crate) async fn ask(from: &Path, to: SocketAddr) -> Answer {
    eventually(&format!("an answer of {to}"), async || once(from, to).await).await
}

/// Asks a server once.
pub(crate) async fn once(from: &Path, to: SocketAddr) -> io::Result<Answer> {
    let text = enter(from, move || {
        let mut stream = TcpStream::connect_timeout(&to, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
    .await?;
    let said = || io::Error::other(format!("{to} answered '{text}'"));
    let line = text.lines().last().ok_or_else(said)?;
    let (pod, seen) = line.split_once(' ').ok_or_else(said)?;
    // busybox writes the address of an IPv4 caller as one of IPv6 in brackets.
    let seen = seen
        .trim_start_matches('[')
        .split(']')
        .next()
        .unwrap_or_default();
    let seen: IpAddr = seen.parse().map_err(|_| said())?;
    Ok(Answer {
        pod: pod.to_owned(),
        seen: seen.to_canonical(),
    })
}
