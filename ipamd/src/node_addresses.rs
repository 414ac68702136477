//! Keeps the pool told of the addresses that the node's own links carry: when the
//! kernel notifies, and not by asking it again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veni_dataplane::{DataPlane, Watch};

use crate::pool::Pool;

/// Between two tries where the kernel refuses to tell.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells the pool at first and after each change, until `stop`.
pub(crate) async fn follow(kernel: Arc<dyn DataPlane>, pool: Pool, stop: CancellationToken) {
    let mut watch = kernel.watch();
    loop {
        let told = tell(&kernel, &pool).await;
        let next = async {
            match told {
                true => changed(&mut watch).await,
                false => tokio::time::sleep(PAUSE).await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = next => {}
        }
    }
}

/// Tells the pool; `false` when the kernel refused.
async fn tell(kernel: &Arc<dyn DataPlane>, pool: &Pool) -> bool {
    match kernel.node_addresses().await {
        Ok(addresses) => {
            pool.node_has(addresses);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "failed to list the addresses of the node's links");
            false
        }
    }
}

/// Waits until links may carry other addresses than before.
async fn changed(watch: &mut Watch) {
    loop {
        let changes = watch.changed().await;
        if changes.addresses || changes.links {
            return;
        }
    }
}
