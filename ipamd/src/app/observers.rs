//! Who is told how a start goes.

use std::sync::Arc;

use super::metrics::Metrics;
use crate::cluster::custom_network::EniConfigInForce;
use crate::cluster::{Cluster, ClusterWarnings};
#[cfg(feature = "bpf")]
use crate::enforcement::Ebpf;
#[cfg(feature = "kube")]
use crate::host::HostWatch;
use crate::node_metrics::CountDrops;
use crate::node_warnings::NodeWarnings;
use crate::progress::Progress;

/// Who is told how a start goes, and what is known before the provider is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observers {
    pub(crate) metrics: Metrics,
    pub(crate) progress: Progress,
    pub(crate) node: NodeWarnings,
    pub(crate) cluster: Cluster,
    pub(crate) cluster_warnings: ClusterWarnings,
    /// What `veni status` warns of.
    #[cfg(feature = "kube")]
    pub(crate) host: Option<HostWatch>,
    /// What judges pods' packets.
    #[cfg(feature = "bpf")]
    pub(crate) enforcement: Option<Ebpf>,
    /// What new interfaces follow.
    pub(crate) eni_config: EniConfigInForce,
}

impl Observers {
    /// Counts what is dropped of pods' packets.
    pub(super) fn drops(&self) -> Arc<CountDrops> {
        #[cfg(feature = "bpf")]
        if let Some(ebpf) = self.enforcement.clone() {
            return Arc::new(move || ebpf.drops());
        }
        Arc::new(Vec::new)
    }
}
