//! What a start knows of the cloud: the first inventory, or what the daemon before knew in
//! this boot.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_provider::{ErrorClass, Operation, Provider, ProviderError};

use crate::clock::unix_millis;
use crate::journal::{CloudMemory, Folder, Journal, JournalError};
use crate::progress::Progress;
use crate::retry::Pauses;

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

/// What is known of the cloud at the start, and whether it is only remembered.
pub(crate) struct FirstInventory {
    pub(crate) memory: CloudMemory,
    pub(crate) remembered: bool,
    /// When the cloud was asked; nothing that changed later is in it.
    pub(crate) began: Instant,
}

/// What the daemon before knew in this boot, if there was one.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn remembered(journal: &Journal) -> Result<Option<CloudMemory>, JournalError> {
    let folder = journal.read::<CloudMemory>(Folder::Cloud)?;
    Ok(folder.current.into_iter().next().map(|(_, memory)| memory))
}

/// What the daemon before knew in this boot, if there was one: pods are served
/// from it at once, and the cloud is asked beside. Otherwise waits for the
/// cloud. `None` on shutdown.
///
/// # Errors
/// The journal cannot be read.
pub(crate) async fn first_inventory(
    journal: &Journal,
    provider: &Arc<dyn Provider>,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<Option<FirstInventory>, JournalError> {
    let began = Instant::now();
    if let Some(mut memory) = remembered(journal)? {
        // Its limits and ranges may have changed since; without an answer at
        // once, what is remembered must do.
        if let Ok(Ok(node)) = tokio::time::timeout(NODE_PATIENCE, provider.node()).await {
            memory.node = node;
        }
        return Ok(Some(FirstInventory {
            memory,
            remembered: true,
            began,
        }));
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(None),
        first = ask_until_answered(provider, progress) => Ok(Some(first)),
    }
}

async fn ask_until_answered(provider: &Arc<dyn Provider>, progress: &Progress) -> FirstInventory {
    let started = Instant::now();
    progress.waits_for(WAITING);
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut said = started;
    loop {
        let began = Instant::now();
        let error = match ask(provider).await {
            Ok(memory) => {
                return FirstInventory {
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
        tokio::time::sleep(pauses.after_failure()).await;
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
