//! Reads, when metrics are asked for. A driver may ask its device, and the kernel holds the
//! lock of all network configuration meanwhile: so drivers are asked every few seconds at
//! most, by one thread at a time, and nobody who asks for metrics waits for them for long.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use veni_dataplane::Statistic;

use super::allowances::Allowances;
use super::conntrack::Conntrack;
use super::{Drops, KernelReading, NodeMetrics};
use crate::pool::Pool;

/// Between two readings at least.
const FRESH: Duration = Duration::from_secs(5);
/// How long an answer waits for a reading; then it has what was read last.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a link's driver counts.
type Statistics = dyn Fn(&str) -> io::Result<Vec<Statistic>> + Send + Sync;

/// What the programs that judge packets have dropped; none where there are none.
pub(crate) type CountDrops = dyn Fn() -> Vec<Drops> + Send + Sync;

/// Where it is read.
#[derive(Clone)]
pub(crate) struct Sources {
    /// /proc/sys/net/netfilter.
    pub(crate) netfilter: PathBuf,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) drops: Arc<CountDrops>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Sources {
    fn read(&self, links: &[String]) -> KernelReading {
        let told = links.iter().filter_map(|link| {
            let statistics = (self.statistics)(link);
            let statistics = statistics.inspect_err(|error| {
                tracing::debug!(link, %error, "failed to read what a link's driver counts");
            });
            let allowances = Allowances::of(&statistics.ok()?)?;
            Some((link.clone(), allowances))
        });
        KernelReading {
            allowances: told.collect(),
            conntrack: Conntrack::read(&self.netfilter),
            drops: (self.drops)(),
        }
    }
}

/// Brings the metrics up to date. Clones share one reading.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    metrics: NodeMetrics,
    sources: Sources,
    /// When the last reading ended; held by the one that is under way.
    last: Arc<Mutex<Option<Instant>>>,
}

impl Sampler {
    pub(crate) fn new(metrics: NodeMetrics, sources: Sources) -> Self {
        Self {
            metrics,
            sources,
            last: Arc::default(),
        }
    }

    /// Brings all up to date, or as much of it as there is time for.
    pub(crate) async fn sample(&self, pool: &Pool) {
        let sampled = async {
            let Some(report) = pool.report().await else {
                return;
            };
            self.metrics.set_spread(&report);
            let links = report.interfaces.iter();
            let links = links.filter_map(|interface| interface.link.clone());
            self.read_kernel(links.collect()).await;
        };
        drop(timeout(PATIENCE, sampled).await);
    }

    /// Whether no reading is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.last.try_lock().is_ok()
    }

    /// Asks the kernel, unless that was done a moment ago or is being done.
    pub(super) async fn read_kernel(&self, links: Vec<String>) {
        let Ok(mut last) = Arc::clone(&self.last).try_lock_owned() else {
            return;
        };
        if last.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let (metrics, sources) = (self.metrics.clone(), self.sources.clone());
        let reading = tokio::task::spawn_blocking(move || {
            metrics.set_kernel(sources.read(&links));
            *last = Some(Instant::now());
        });
        // It goes on when nobody waits for it any more.
        drop(reading.await);
    }
}
