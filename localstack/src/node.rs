//! A node and its pods: namespaces, folders, and the means to run programs in them.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;

use crate::error::LabError;
use crate::namespace::Namespace;
use crate::processes::Processes;

/// A node of the lab: a namespace with the interfaces that the cloud has attached.
#[derive(Debug)]
pub struct Node {
    pub(crate) number: u32,
    pub(crate) instance_id: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) folder: PathBuf,
    pub(crate) namespace: Namespace,
}

impl Node {
    /// Its name: `node1`, `node2` and so on.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its id in the cloud.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// Own addresses of its primary interface.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Folder of its files and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Run folder for its daemon: sockets and journal.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// An empty folder that stands for the root of the node's files. The daemon must not
    /// judge its node by the software of the machine on which the lab runs.
    pub fn host_root(&self) -> PathBuf {
        self.folder.join("host")
    }

    /// A program to be started on the node: in its network namespace.
    pub fn exec(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }
}

/// A pod's namespace. It has only a loopback link until somebody calls the plugin for
/// it. It goes when the value is dropped.
#[derive(Debug)]
pub struct Pod {
    name: String,
    node: u32,
    namespace: Namespace,
    processes: Arc<Processes>,
}

impl Pod {
    pub(crate) async fn create(
        name: &str,
        node: u32,
        processes: Arc<Processes>,
    ) -> Result<Self, LabError> {
        let namespace = Namespace::create(format!("pod {name}")).await?;
        processes.add(namespace.holder(), &format!("holder of pod {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            node,
            namespace,
            processes,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its node.
    pub fn node(&self) -> u32 {
        self.node
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A program to be started in the pod.
    pub fn exec(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Removes its namespace, with whatever the plugin has put into it.
    ///
    /// # Errors
    /// `Io` when the register of processes cannot be written.
    pub async fn remove(self) -> Result<(), LabError> {
        let holder = self.namespace.holder();
        self.namespace.remove().await;
        self.processes.remove(holder)
    }
}
