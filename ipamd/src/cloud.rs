//! The start without a cloud and with one: which pool to begin with, and what
//! the limiter tells to metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_provider::limiter::CallObserver;
use veni_provider::{
    ApiFamily, ErrorClass, Limited, LimiterConfig, Operation, Provider, ProviderError,
};

use crate::config::Config;
use crate::events::{Events, unix_millis};
use crate::journal::{Journal, JournalError, Shelf};
use crate::metrics::Metrics;
use crate::pool::CloudMemory;
use crate::progress::Progress;

/// Between two tries to reach the cloud at the start.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a start that remembers waits for the cloud to describe the node.
const NODE_PATIENCE: Duration = Duration::from_millis(500);
/// How often a start that waits says what for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the start waits for, to operators.
const WAITING: &str = "waiting for the cloud to describe this node";

/// Puts every cloud call into metrics and levels.
pub(crate) struct CallMeter {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
}

impl CallObserver for CallMeter {
    fn call(
        &self,
        operation: Operation,
        outcome: Result<(), &ErrorClass>,
        waited: Duration,
        took: Duration,
    ) {
        self.metrics.cloud_call(operation, outcome, waited, took);
        let calls = &self.events.levels().cloud_calls;
        calls.fetch_add(1, Ordering::Relaxed);
    }

    fn budget(&self, family: ApiFamily, per_second: f64) {
        self.metrics.cloud_budget(family, per_second);
    }
}

/// The provider behind budgets, a deadline and metrics.
pub(crate) fn limited(
    config: &Config,
    provider: Arc<dyn Provider>,
    metrics: &Arc<Metrics>,
    events: &Events,
) -> Arc<dyn Provider> {
    let limits = LimiterConfig {
        deadline: config.timing.cloud_deadline,
        ..LimiterConfig::default()
    };
    let meter = CallMeter {
        metrics: Arc::clone(metrics),
        events: events.clone(),
    };
    Arc::new(Limited::new(provider, &limits, Arc::new(meter)))
}

/// What is known of the cloud at the start, and whether it is only remembered.
pub(crate) struct FirstLook {
    pub(crate) memory: CloudMemory,
    pub(crate) remembered: bool,
    /// When the look began; nothing that changed later is in it.
    pub(crate) began: Instant,
}

/// What the daemon before knew in this boot, if there was one.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn remembered(journal: &Journal) -> Result<Option<CloudMemory>, JournalError> {
    let shelf = journal.read::<CloudMemory>(Shelf::Cloud)?;
    Ok(shelf.current.into_iter().next().map(|(_, memory)| memory))
}

/// What the daemon before knew in this boot, if there was one: pods are served
/// from it at once, and the cloud is looked at beside. Otherwise waits for the
/// cloud. `None` on shutdown.
///
/// # Errors
/// The journal cannot be read.
pub(crate) async fn first_look(
    journal: &Journal,
    provider: &Arc<dyn Provider>,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<Option<FirstLook>, JournalError> {
    let began = Instant::now();
    if let Some(mut memory) = remembered(journal)? {
        // Its limits and ranges may have changed since; without an answer at
        // once, what is remembered must do.
        if let Ok(Ok(node)) = tokio::time::timeout(NODE_PATIENCE, provider.node()).await {
            memory.node = node;
        }
        return Ok(Some(FirstLook {
            memory,
            remembered: true,
            began,
        }));
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(None),
        look = ask_until_answered(provider, progress) => Ok(Some(look)),
    }
}

async fn ask_until_answered(provider: &Arc<dyn Provider>, progress: &Progress) -> FirstLook {
    let started = Instant::now();
    progress.waits_for(WAITING);
    let mut pause = FIRST_PAUSE;
    let mut said = started;
    loop {
        let began = Instant::now();
        let error = match ask(provider).await {
            Ok(memory) => {
                return FirstLook {
                    memory,
                    remembered: false,
                    began,
                };
            }
            Err(error) => error,
        };
        progress.waits_for(format!("{WAITING}: {error}"));
        if said == started || said.elapsed() >= PATIENCE {
            said = Instant::now();
            let waited = started.elapsed().as_secs();
            tracing::warn!(waited_seconds = waited, %error, "not ready: waiting for the cloud to describe this node");
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn ask(provider: &Arc<dyn Provider>) -> Result<CloudMemory, ProviderError> {
    let (node, inventory) = tokio::try_join!(provider.node(), provider.inventory())?;
    // A cloud that has just made the node may not show it whole yet, and without
    // the primary interface nothing fits together.
    if !inventory.interfaces.iter().any(|one| one.primary) {
        let reason = "the node's primary interface does not show yet";
        let operation = Operation::Inventory.label();
        return Err(ProviderError::new(ErrorClass::Transient, operation, reason));
    }
    Ok(CloudMemory {
        node,
        inventory,
        capabilities: Some(provider.capabilities().clone()),
        as_of_ms: unix_millis(),
    })
}
