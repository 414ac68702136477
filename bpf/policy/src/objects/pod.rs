//! Pods: what policies select them by, their addresses and their ports.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::{Invalid, Labels, ObjectName, api};
use crate::Protocol;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "api::Pod")]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its addresses; none before it has a network.
    pub addresses: Vec<IpAddr>,
    /// It uses the node's network and addresses, so that no policy concerns it.
    pub host_network: bool,
    /// It has succeeded or failed: its addresses may be another pod's by now.
    pub ended: bool,
    /// The ports of its containers that have a name; sidecars' included.
    pub ports: Arc<[ContainerPort]>,
}

/// A named port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// What policies call it.
    pub name: String,
    /// Whose port.
    pub protocol: Protocol,
    /// Its number, from 1.
    pub port: u16,
}

impl Pod {
    /// A selector of a policy may choose the pod as a peer.
    pub fn may_be_peer(&self) -> bool {
        !self.host_network && !self.ended
    }
}

impl TryFrom<api::Pod> for Pod {
    type Error = Invalid;

    fn try_from(raw: api::Pod) -> Result<Self, Invalid> {
        let name = raw.metadata.require_object_name("Pod")?;
        let refuse = |field: String, reason: String| Invalid {
            object: format!("Pod {name}"),
            field,
            reason,
        };
        let sidecars = raw.spec.init_containers.unwrap_or_default();
        let sidecars = sidecars
            .into_iter()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers = raw.spec.containers.unwrap_or_default();
        let ports = containers
            .into_iter()
            .chain(sidecars)
            .flat_map(|container| container.ports.unwrap_or_default())
            .filter_map(|port| named_port(port).transpose())
            .collect::<Result<_, _>>()
            .map_err(|reason| refuse("spec.containers.ports".to_owned(), reason))?;
        let status = raw.status;
        let addresses = match status.pod_ips {
            Some(list) if !list.is_empty() => list.into_iter().map(|entry| entry.ip).collect(),
            _ => Vec::from_iter(status.pod_ip.filter(|address| !address.is_empty())),
        };
        let addresses = addresses
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let parsed = text.parse::<IpAddr>().map(|address| address.to_canonical());
                let reason = format!("must be an address; it is {text:?}");
                parsed.map_err(|_| refuse(format!("status.podIPs[{index}].ip"), reason))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            labels: Arc::new(raw.metadata.labels.unwrap_or_default()),
            addresses,
            host_network: raw.spec.host_network.unwrap_or(false),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ports,
            name,
        })
    }
}

/// Nothing for a port without a name: no policy can mean it.
fn named_port(raw: api::ContainerPort) -> Result<Option<ContainerPort>, String> {
    let Some(name) = raw.name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let port = u16::try_from(raw.container_port)
        .ok()
        .filter(|&port| port > 0);
    let port = port.ok_or_else(|| {
        let number = raw.container_port;
        format!("containerPort of {name:?} must be from 1 to 65535; it is {number}")
    })?;
    let protocol = Protocol::try_new(raw.protocol.as_deref())
        .map_err(|reason| format!("protocol of {name:?} {reason}"))?;
    Ok(Some(ContainerPort {
        name,
        protocol,
        port,
    }))
}
