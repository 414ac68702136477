//! How a daemon starts: what it finds in journal, kernel and cloud, and the seed of the
//! pool that is made of it.

pub(crate) mod first_inventory;
pub(crate) mod metrics;
pub(crate) mod recovery;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veni_dataplane::{DataPlane, NodePlan};

use crate::clock::boot_millis;
use crate::journal::Journal;
use crate::journal::endpoint::{Record, RecordState};
use crate::node_warnings::NodeWarnings;
use crate::pool::{Dying, Found, Holder, Living, Recalled};
use crate::progress::Progress;
use first_inventory::FirstInventory;
use recovery::{Recovered, RecoveryError, recover};

/// Between two tries of something that the kernel refused at the start.
const KERNEL_PAUSE: Duration = Duration::from_secs(2);

/// The kernel may refuse for a moment, or until somebody loads a module: the
/// daemon says so and tries again. `None` on shutdown.
pub(crate) async fn prepare(
    kernel: &Arc<dyn DataPlane>,
    plan: &NodePlan,
    journal: &Journal,
    (progress, warnings): (&Progress, &NodeWarnings),
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<Recovered>> {
    loop {
        match prepare_once(kernel, plan, journal, warnings).await {
            Ok(recovered) => return Ok(Some(recovered)),
            Err(RecoveryError::Kernel(error)) => {
                tracing::error!(%error, "not ready: the kernel refused");
                progress.waits_for(format!("the kernel refused, and is asked again: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(KERNEL_PAUSE) => {}
        }
    }
}

async fn prepare_once(
    kernel: &Arc<dyn DataPlane>,
    plan: &NodePlan,
    journal: &Journal,
    warnings: &NodeWarnings,
) -> Result<Recovered, RecoveryError> {
    warnings.set(kernel.prepare_node(plan).await?.warnings);
    recover(journal, kernel).await
}

/// What the pool starts with, of all that the start has found.
pub(crate) fn found(
    first: &FirstInventory,
    recovered: &Recovered,
    assigned: Option<Recalled>,
    was_ready: bool,
) -> Found {
    let is_dying = |record: &&Record| record.state == RecordState::Dying;
    let (dying, living): (Vec<&Record>, Vec<&Record>) =
        recovered.records.iter().partition(is_dying);
    let dying = dying.into_iter().map(|record| Dying {
        holder: holder(record),
        addresses: record.addresses(),
        released_boot_ms: record.released_boot_ms.unwrap_or_else(boot_millis),
    });
    let living = living.into_iter().map(|record| Living {
        holder: holder(record),
        addresses: record.addresses(),
        interface: record.cloud_interface.clone(),
    });
    Found {
        memory: first.memory.clone(),
        remembered: first.remembered,
        began: first.began,
        releases: recovered.releases.clone(),
        operations: recovered.operations.clone(),
        tables: recovered.tables.clone(),
        node_addresses: recovered.node_addresses.clone(),
        living: living.collect(),
        dying: dying.collect(),
        assigned,
        was_ready,
    }
}

fn holder(record: &Record) -> Holder {
    Holder {
        key: record.key.clone(),
        pod: record.label(),
    }
}
