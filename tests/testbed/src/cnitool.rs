//! The CNI project's own client, which reads a conflist and calls the plugin as
//! runtimes that use the same library do.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::binaries;

/// A client with a folder of configuration for one node.
#[derive(Debug)]
pub struct Cnitool {
    program: PathBuf,
    configuration: PathBuf,
    network: String,
    /// Folders in which it looks for plugins.
    path: String,
}

impl Cnitool {
    /// Writes a conflist with one plugin and a client that reads it. An empty version
    /// is left out of the list.
    ///
    /// # Panics
    /// When the client is missing or the folder cannot be written.
    pub fn new(folder: &Path, network: &str, version: &str, run_dir: &Path) -> Self {
        let plugin = json!({ "type": "veni-cni", "runDir": run_dir });
        let path = binaries::folder().display().to_string();
        Self::with(folder, network, version, &[plugin], path)
    }

    /// The same with a chain of plugins, which may be reference plugins.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn chained(folder: &Path, network: &str, version: &str, plugins: &[Value]) -> Self {
        let own = binaries::folder().display();
        let path = format!("{own}:{}", binaries::reference_plugins().display());
        Self::with(folder, network, version, plugins, path)
    }

    fn with(folder: &Path, network: &str, version: &str, plugins: &[Value], path: String) -> Self {
        let configuration = folder.join(format!("net.d-{network}"));
        std::fs::create_dir_all(&configuration).expect("the folder can be made");
        let mut list = json!({ "name": network, "plugins": plugins });
        if !version.is_empty() {
            list["cniVersion"] = json!(version);
        }
        let file = configuration.join("10-veni.conflist");
        std::fs::write(file, list.to_string()).expect("the conflist can be written");
        Self {
            program: binaries::cnitool(),
            configuration,
            network: network.to_owned(),
            path,
        }
    }

    /// Runs a command (`add`, `check`, `del`, `gc`, `status`) for a namespace,
    /// in `node`'s namespace. Its answer, `Null` where there is none.
    ///
    /// # Errors
    /// What it printed when it failed.
    ///
    /// # Panics
    /// When it cannot be executed or prints no JSON.
    pub async fn run(
        &self,
        command: &str,
        namespace: &Path,
        node: impl FnOnce(&Path) -> Command,
    ) -> Result<Value, String> {
        let output = node(&self.program)
            .args([command, &self.network])
            .arg(namespace)
            .env("NETCONFPATH", &self.configuration)
            .env("CNI_PATH", &self.path)
            .kill_on_drop(true)
            .output()
            .await
            .expect("cnitool can be executed");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if !output.status.success() {
            return Err(format!("{}{}", out.trim(), err.trim()));
        }
        match out.trim() {
            "" => Ok(Value::Null),
            text => {
                Ok(serde_json::from_str(text).unwrap_or_else(|error| panic!("'{text}': {error}")))
            }
        }
    }
}
