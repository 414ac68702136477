//! The contenders: how each plugin is called, and in which table its pods' routes are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::arguments::{Arguments, Scale};
use crate::node::Node;
use crate::starter::{Job, Starter};

/// A plugin under measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// veni-cni and its daemon.
    Veni,
    /// The reference plugins ptp and host-local.
    Reference,
    /// The same kernel changes by one static C program.
    Floor,
}

impl Kind {
    /// All contenders, in the order in which they take turns.
    pub(crate) const ALL: [Self; 3] = [Self::Veni, Self::Reference, Self::Floor];

    /// Name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veni => "veni-cni",
            Self::Reference => "ptp + host-local",
            Self::Floor => "floor",
        }
    }

    fn short(self) -> &'static str {
        match self {
            Self::Veni => "veni",
            Self::Reference => "reference",
            Self::Floor => "floor",
        }
    }

    /// Table of the host's routes to its pods.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Veni => "22016",
            Self::Reference => "main",
            Self::Floor => "7680",
        }
    }
}

/// A plugin with its pods' namespaces.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Which contender it is.
    pub(crate) kind: Kind,
    program: PathBuf,
    plugins: PathBuf,
    config: PathBuf,
    namespaces: PathBuf,
    answers: PathBuf,
    more: Vec<String>,
}

impl Contender {
    /// Writes the configuration and makes the namespaces.
    pub(crate) fn try_new(
        kind: Kind,
        arguments: &Arguments,
        scale: &Scale,
        node: &Node,
        starter: &Starter,
    ) -> anyhow::Result<Self> {
        let binaries = arguments.binaries()?;
        let (program, config, more, pods) = match kind {
            Kind::Veni => (
                binaries.join("veni-cni"),
                json!({"cniVersion": "1.0.0", "name": "veni", "type": "veni-cni",
                       "runDir": run_dir(node)}),
                vec![],
                scale.most_pods(),
            ),
            Kind::Reference => (
                arguments.plugins.join("ptp"),
                reference_config(node),
                vec![],
                scale.peers_pods(),
            ),
            Kind::Floor => (
                binaries.join("floor"),
                json!({"cniVersion": "1.0.0", "name": "floor", "type": "floor"}),
                vec![format!("FLOOR_SOCKET={}", floor_socket(node).display())],
                scale.peers_pods(),
            ),
        };
        fs::metadata(&program).with_context(|| {
            format!(
                "{} is missing: `make bench` builds everything",
                program.display()
            )
        })?;
        let folder = node.folder.join(kind.short());
        let answers = folder.join("answers");
        fs::create_dir_all(&answers)?;
        let file = folder.join("config.json");
        fs::write(&file, config.to_string())?;
        // STATUS came with 1.1.0.
        let mut newer = config;
        newer["cniVersion"] = "1.1.0".into();
        fs::write(folder.join("newer.json"), newer.to_string())?;
        Ok(Self {
            kind,
            program,
            plugins: arguments.plugins.clone(),
            config: file,
            namespaces: node.pod_namespaces(starter, kind.short(), pods)?,
            answers,
            more,
        })
    }

    /// The namespace of a pod.
    pub(crate) fn namespace(&self, pod: usize) -> PathBuf {
        self.namespaces.join(pod.to_string())
    }

    /// An ADD of a pod.
    pub(crate) fn add(&self, pod: usize) -> Job {
        self.job("ADD", pod)
    }

    /// An ADD of a pod with a port of the node of its own.
    pub(crate) fn add_with_port(&self, pod: usize) -> anyhow::Result<Job> {
        let mut config: Value = serde_json::from_slice(&fs::read(&self.config)?)?;
        config["runtimeConfig"] = json!({"portMappings": [
            {"hostPort": host_port(pod), "containerPort": 80, "protocol": "tcp"}
        ]});
        let input = self.config.with_file_name(format!("port-{pod}.json"));
        fs::write(&input, config.to_string())?;
        Ok(Job {
            input,
            ..self.job("ADD", pod)
        })
    }

    /// A DEL of a pod.
    pub(crate) fn del(&self, pod: usize) -> Job {
        self.job("DEL", pod)
    }

    /// A command that changes nothing: VERSION or STATUS.
    pub(crate) fn ask(&self, command: &str) -> Job {
        Job {
            input: self.config.with_file_name("newer.json"),
            ..self.job(command, 0)
        }
    }

    fn job(&self, command: &str, pod: usize) -> Job {
        let container = format!("{:064x}", pod + 1);
        let namespace = self.namespace(pod);
        let mut environment = vec![
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("CNI_COMMAND={command}"),
            format!("CNI_CONTAINERID={container}"),
            format!("CNI_NETNS={}", namespace.display()),
            "CNI_IFNAME=eth0".to_owned(),
            format!("CNI_PATH={}", self.plugins.display()),
            format!(
                "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod-{pod};\
                 K8S_POD_INFRA_CONTAINER_ID={container};\
                 K8S_POD_UID=00000000-0000-0000-0000-{pod:012}"
            ),
        ];
        environment.extend(self.more.iter().cloned());
        Job {
            program: self.program.clone(),
            input: self.config.clone(),
            output: self.answers.join(format!("{command}-{pod}")),
            environment,
        }
    }
}

/// The port of the node that a pod has, if it has one.
pub(crate) fn host_port(pod: usize) -> usize {
    20_000 + pod
}

/// Veni's run folder.
pub(crate) fn run_dir(node: &Node) -> PathBuf {
    node.folder.join("veni/run")
}

/// The socket of the floor's responder.
pub(crate) fn floor_socket(node: &Node) -> PathBuf {
    node.folder.join("floor/socket")
}

/// The configuration of the reference plugins. They do as much of Veni's work as they can:
/// an address, a veth pair, routes. Their addresses are on the same tmpfs as Veni's
/// journal, so that no disk distorts the comparison.
fn reference_config(node: &Node) -> Value {
    let kept: &Path = &node.folder.join("reference/addresses");
    json!({
        "cniVersion": "1.0.0",
        "name": "reference",
        "type": "ptp",
        "ipMasq": false,
        "mtu": 9001,
        "ipam": {
            "type": "host-local",
            "dataDir": kept,
            "ranges": [[{"subnet": "10.64.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    })
}
