//! What there is to say about the host at any moment: at the start for the log,
//! later for operators who ask.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aws_plugin::{AwsPluginRuns, CONFLIST, Judgement, Places, Signs};
use super::install::{INSTALLED_CONFLIST, is_configuration};
use super::{Gravity, Host};
use crate::config::HostSettings;
use crate::node_warnings::NodeWarnings;

/// Where the runtime looks for network configurations.
const CONFIGURATIONS: &str = "/etc/cni/net.d";

/// The host under watch.
#[derive(Debug, Clone)]
pub struct HostWatch {
    host: Host,
    places: Places,
    /// Whether the daemon manages the network of this host: a mock cloud's node
    /// is a namespace on a machine whose software does not concern it.
    real: bool,
    /// How the daemon's own parts stand that need the host: a sentence each.
    parts: Arc<Mutex<BTreeMap<&'static str, String>>>,
    node: NodeWarnings,
}

impl HostWatch {
    /// Watches the host that the settings name; `real` when a cloud's own
    /// interfaces are managed on it.
    #[must_use]
    pub fn new(settings: &HostSettings, real: bool) -> Self {
        let host = Host::at(&settings.root);
        let configurations = settings
            .configurations
            .clone()
            .unwrap_or_else(|| host.path(CONFIGURATIONS));
        Self {
            places: Places::of(&host, configurations),
            host,
            real,
            parts: Arc::default(),
            node: NodeWarnings::default(),
        }
    }

    /// Looks for signs of the AWS plugin elsewhere, for tests.
    #[must_use]
    pub fn with_places(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// Refuses to start beside a running AWS plugin, and logs what else there
    /// is to say.
    ///
    /// # Errors
    /// The AWS plugin runs.
    pub fn begin(&self) -> Result<(), AwsPluginRuns> {
        if !self.real {
            return Ok(());
        }
        match Signs::gather(&self.places).judge() {
            Judgement::Running(refusal) => return Err(refusal),
            Judgement::LeftOver(text) => tracing::warn!(text, "about the host"),
            Judgement::Clear => {}
        }
        for finding in self.host.interferers() {
            finding.log();
        }
        Ok(())
    }

    /// What concerns an operator now, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.parts().values().cloned().collect();
        warnings.extend(self.node.get());
        if !self.real {
            return warnings;
        }
        match Signs::gather(&self.places).judge() {
            Judgement::Running(refusal) => warnings.push(refusal.to_string()),
            Judgement::LeftOver(text) => warnings.push(text),
            Judgement::Clear => {}
        }
        warnings.extend(self.earlier_configuration());
        let grave = |finding: &super::Finding| finding.gravity == Gravity::Warning;
        let found = self.host.interferers().into_iter().filter(grave);
        warnings.extend(found.map(|finding| finding.to_string()));
        warnings
    }

    /// What the kernel shows of the node is noted there.
    #[must_use]
    pub fn node(&self) -> &NodeWarnings {
        &self.node
    }

    /// Notes how the installation of the plugin stands: what is wrong with it,
    /// or nothing.
    pub(crate) fn set_installation(&self, problem: Option<String>) {
        self.set("installation", problem);
    }

    /// Notes how a server's address stands: what is wrong with it, or nothing.
    pub(crate) fn set_service(&self, service: &'static str, problem: Option<String>) {
        self.set(service, problem);
    }

    fn set(&self, part: &'static str, problem: Option<String>) {
        match problem {
            Some(problem) => self.parts().insert(part, problem),
            None => self.parts().remove(part),
        };
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        // A thread that died while it wrote has left a whole value.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime takes the first configuration by name.
    fn earlier_configuration(&self) -> Option<String> {
        let folder: &PathBuf = &self.places.configurations;
        let entries = std::fs::read_dir(folder).ok()?;
        let first = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_configuration(name) && name != CONFLIST)
            .min()?;
        (first.as_str() < INSTALLED_CONFLIST).then(|| {
            format!(
                "the runtime takes {} in place of Veni's {INSTALLED_CONFLIST}, being the first \
                 configuration by name: remove or rename it",
                folder.join(first).display()
            )
        })
    }
}
