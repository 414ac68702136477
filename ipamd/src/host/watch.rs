//! What the daemon has to say about its host: at the start in the log, later to operators
//! who ask. Looks anew each time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::configurations::before_ours;
use super::install::INSTALLED_CONFLIST;
use super::other_plugin::{Judgement, OtherPlugin, OtherPluginRuns, Places, Signs};
use super::{Finding, Gravity, Host};
use crate::cluster::ClusterWarnings;
use crate::config::HostSettings;
use crate::node_warnings::NodeWarnings;

/// The folder in which the runtime looks for network configurations.
const CONFIGURATIONS: &str = "/etc/cni/net.d";

/// The daemon's part that installs the plugin.
const INSTALLATION: &str = "installation";

/// Until the second look at another plugin's daemon.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// What of a host's other software concerns the daemon. The provider's adapter says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostChecks {
    /// Nothing does: a mock cloud's node is a namespace on a machine whose software
    /// does not concern it.
    Nothing,
    /// The daemon manages the network of this host.
    Host {
        /// The cloud's own plugin, beside which the daemon refuses to run.
        other_plugin: &'static OtherPlugin,
    },
}

/// The host under watch.
#[derive(Debug, Clone)]
pub struct HostWatch {
    host: Host,
    /// The runtime's folder of network configurations.
    configurations: PathBuf,
    checks: HostChecks,
    /// Whether it matters which configuration there is the first: Veni's is to be there.
    looks_at_configurations: bool,
    /// Problems of the daemon's own parts with the host (installation, servers' addresses), a
    /// sentence each.
    parts: Arc<Mutex<BTreeMap<&'static str, String>>>,
    node: NodeWarnings,
    cluster: ClusterWarnings,
}

impl HostWatch {
    /// Watches the host that the settings name.
    #[must_use]
    pub fn new(settings: &HostSettings, checks: HostChecks) -> Self {
        let host = Host::at(&settings.root);
        let configurations = settings
            .configurations
            .clone()
            .unwrap_or_else(|| host.path(CONFIGURATIONS));
        Self {
            host,
            configurations,
            checks,
            looks_at_configurations: settings.configurations.is_some()
                || checks != HostChecks::Nothing,
            parts: Arc::default(),
            node: NodeWarnings::default(),
            cluster: ClusterWarnings::default(),
        }
    }

    /// Refuses to start beside a running plugin of the cloud, and logs what else there
    /// is to say. Looks twice before it refuses: a daemon that is ending answers for a moment.
    ///
    /// # Errors
    /// The cloud's own plugin runs.
    pub async fn begin(&self) -> Result<(), OtherPluginRuns> {
        let HostChecks::Host { other_plugin } = self.checks else {
            return Ok(());
        };
        let mut judgement = self.judge_thoroughly(other_plugin).await;
        if let Judgement::Running(first) = judgement {
            tracing::warn!(%first, "looking once more");
            tokio::time::sleep(SECOND_LOOK).await;
            judgement = self.judge_thoroughly(other_plugin).await;
        }
        match judgement {
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
        let mut warnings = self.node.get();
        warnings.extend(self.of_own_parts());
        warnings.extend(self.interferers().iter().map(ToString::to_string));
        warnings
    }

    /// Software of the host that disturbs pods' network.
    #[must_use]
    pub fn interferers(&self) -> Vec<Finding> {
        match self.checks {
            HostChecks::Nothing => Vec::new(),
            HostChecks::Host { .. } => {
                let grave = |finding: &Finding| finding.gravity == Gravity::Warning;
                let found = self.host.interferers().into_iter();
                found.filter(grave).collect()
            }
        }
    }

    /// What else concerns an operator, but for what the kernel shows about the node.
    #[must_use]
    pub fn of_own_parts(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.parts().values().cloned().collect();
        warnings.extend(self.cluster.get());
        if let HostChecks::Host { other_plugin } = self.checks {
            match self.judge(other_plugin) {
                Judgement::Running(refusal) => warnings.push(refusal.to_string()),
                Judgement::LeftOver(_) | Judgement::Clear => {}
            }
        }
        // Where the installation was refused, it has said why.
        if self.looks_at_configurations && !self.parts().contains_key(INSTALLATION) {
            warnings.extend(self.earlier_configuration());
        }
        warnings
    }

    /// What files and processes show of another plugin.
    fn judge(&self, plugin: &'static OtherPlugin) -> Judgement {
        self.signs(plugin).judge(plugin)
    }

    /// Likewise, and what its address shows: the daemon's own health may be served there later.
    async fn judge_thoroughly(&self, plugin: &'static OtherPlugin) -> Judgement {
        let healthy = match &plugin.health {
            Some(service) => service.is_served().await,
            None => false,
        };
        let signs = Signs {
            healthy,
            ..self.signs(plugin)
        };
        signs.judge(plugin)
    }

    fn signs(&self, plugin: &OtherPlugin) -> Signs {
        let places = Places::of(plugin, &self.host, self.configurations.clone());
        Signs::gather(plugin, &self.host, &places)
    }

    /// Where to note what the kernel shows about the node.
    #[must_use]
    pub fn node(&self) -> &NodeWarnings {
        &self.node
    }

    /// Where to note what is wrong with what is known of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &ClusterWarnings {
        &self.cluster
    }

    /// Notes what is wrong with the installation of the plugin; `None` when nothing is.
    pub(crate) fn set_installation(&self, problem: Option<String>) {
        self.set(INSTALLATION, problem);
    }

    /// Notes what is wrong with a server's address; `None` when nothing is.
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
        // A poisoned lock does no harm: every value is written whole.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names a configuration that the runtime would take before Veni's: it takes the first
    /// by name.
    fn earlier_configuration(&self) -> Option<String> {
        let first = before_ours(&self.configurations).ok()?.into_iter().next()?;
        Some(format!(
            "the runtime takes {} in place of Veni's {INSTALLED_CONFLIST}, being the first \
             configuration by name: end what installed it and remove or rename the file, or have \
             ipamd rename it (--take-over or VENI_TAKE_OVER=true)",
            first.display()
        ))
    }
}
