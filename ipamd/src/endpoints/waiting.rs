//! How an ADD waits for its addresses: until there are some, until waiting is hopeless or
//! has taken too long, or until nobody wants them any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veni_api::failure::{CniFailure, code};

use super::turns::Turn;
use crate::attachment::AttachmentKey;
use crate::pool::{AcquireError, Attempt, Lease, Pool};

/// Who wants addresses.
pub(super) struct Claim<'a> {
    pub(super) key: &'a AttachmentKey,
    /// The pod, in words.
    pub(super) pod: &'a str,
    /// Cancelled when the caller of the ADD has gone away.
    pub(super) caller: &'a CancellationToken,
    /// Fails where another attachment has a port of the node that is asked for.
    pub(super) find_free_ports: &'a (dyn Fn() -> Result<(), CniFailure> + Sync),
}

/// Waits for one address per family, for `longest` at most. `release_dead` is done at most
/// once, where ports are taken or before waiting is called hopeless: sandboxes that died
/// without a DEL may hold the ports, or all addresses.
///
/// # Errors
/// Another attachment keeps a port that is asked for, no address can be had, in time or at
/// all, or nobody wants one any more.
pub(super) async fn wait(
    pool: &Pool,
    claim: &Claim<'_>,
    turn: &Turn<'_>,
    longest: Duration,
    release_dead: impl Future<Output = ()>,
) -> Result<Lease, CniFailure> {
    let key = claim.key;
    let wait = turn.wait();
    tokio::select! {
        // An address that has come is taken, whatever else has happened by then.
        biased;
        acquired = acquire(pool, claim, release_dead) => acquired,
        () = wait.deleted() => Err(given_up(key)),
        () = claim.caller.cancelled() => Err(given_up(key)),
        () = tokio::time::sleep(longest) => {
            drop(wait);
            Err(waited_in_vain(pool, key, longest).await)
        }
    }
}

/// An ADD whose ports stay taken does not wait for an address that it cannot use.
async fn acquire(
    pool: &Pool,
    claim: &Claim<'_>,
    release_dead: impl Future<Output = ()>,
) -> Result<Lease, CniFailure> {
    let attempt = |which| pool.acquire(claim.key, claim.pod, which);
    let acquired = if (claim.find_free_ports)().is_err() {
        release_dead.await;
        (claim.find_free_ports)()?;
        attempt(Attempt::First).await
    } else {
        match attempt(Attempt::First).await {
            Err(AcquireError::Hopeless(_)) => {
                release_dead.await;
                attempt(Attempt::Repeated).await
            }
            other => other,
        }
    };
    acquired.map_err(|error| no_address(claim.key, &error))
}

fn no_address(key: &AttachmentKey, error: &AcquireError) -> CniFailure {
    match error {
        AcquireError::Hopeless(reason) => CniFailure::new(
            code::NO_ADDRESS,
            format!("no address for {key}: {reason}"),
            "waiting would not help; `veni status --explain` on the node tells more",
        ),
        AcquireError::Closed => CniFailure::new(
            code::TRY_AGAIN_LATER,
            format!("no address for {key}: the daemon is shutting down"),
            "it will be back after its restart",
        ),
    }
}

fn given_up(key: &AttachmentKey) -> CniFailure {
    CniFailure::new(
        code::TRY_AGAIN_LATER,
        format!("add of {key} was given up while it waited for an address"),
        "the attachment was deleted, or the caller went away",
    )
}

async fn waited_in_vain(pool: &Pool, key: &AttachmentKey, longest: Duration) -> CniFailure {
    let plan = pool.plan().await.unwrap_or_default();
    let under_way = plan
        .actions
        .iter()
        .map(|action| format!("under way: {}", action.action));
    let held_back = plan.held_back.iter().map(ToString::to_string);
    let notes = plan.notes.iter().map(ToString::to_string);
    let why: Vec<String> = held_back.chain(notes).chain(under_way).collect();
    CniFailure::new(
        code::TRY_AGAIN_LATER,
        format!(
            "no address for {key} within {} s: {}",
            longest.as_secs(),
            why.join("; ")
        ),
        "the pool is refilled as fast as the cloud allows; `veni status --explain` tells more",
    )
}
