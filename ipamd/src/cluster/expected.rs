//! Tells the pool which pods are expected on this node.

use tokio_util::sync::CancellationToken;

use super::Cluster;
use crate::pool::Pool;

/// Tells the pool at first and after each change, until `stop`.
pub(crate) async fn tell_expected(cluster: Cluster, pool: Pool, stop: CancellationToken) {
    let (mut view, mut told) = (cluster.watch(), None);
    loop {
        let expected = view.borrow_and_update().expected_pods.clone();
        // The view may differ in something else.
        if told.as_ref() != Some(&expected) {
            pool.expects(expected.iter().map(ToString::to_string));
            told = Some(expected);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Ok(()) = view.changed() => {}
        }
    }
}
