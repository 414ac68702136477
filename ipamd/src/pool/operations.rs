//! Changes that run in the cloud on their own: written down as soon as the cloud has
//! accepted them, asked about until they have ended, by this daemon or by the next.

use std::time::Duration;

use sha1::{Digest, Sha1};
use tokio::time::{Instant, sleep};
use veni_nouns::OperationId;
use veni_provider::{
    ChangeRequest, ChangeResult, ErrorClass, Progress, Provider, ProviderError, Running,
};

use super::change::{Change, request};
use crate::attachment::hex_of;
use crate::clock::{millis, unix_millis};
use crate::journal::{Call, Folder, Journal, RunningChange};

/// Between two questions at least, whatever the cloud says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Brings changes to their end.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    journal: Journal,
}

impl Operations {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal }
    }

    /// Begins a change, and waits until it has ended.
    ///
    /// # Errors
    /// Those of the change; `OutcomeUnknown` when its time is over or the cloud does not
    /// know it any more.
    pub(super) async fn carry_out(
        &self,
        provider: &dyn Provider,
        change: &Change,
        call: &Call,
    ) -> Result<ChangeResult, ProviderError> {
        let request = request(call);
        let running = match provider.begin(&request).await? {
            Progress::Done(result) => return Ok(result),
            Progress::Running(running) => running,
        };
        let entry = RunningChange {
            operation: running.operation.clone(),
            family: change.family,
            reason: change.cause.to_string(),
            call: call.clone(),
            ends_by_ms: unix_millis().saturating_add(millis(running.at_most)),
        };
        let name = entry_name(&entry.operation);
        if let Err(error) = self.journal.write(Folder::Operations, &name, &entry) {
            tracing::warn!(%error, "after a restart only the inventory tells what came of a change");
        }
        self.wait(provider, &request, running).await
    }

    /// Waits for a change that a daemon before has begun.
    ///
    /// # Errors
    /// As [`Self::carry_out`].
    pub(super) async fn resume(
        &self,
        provider: &dyn Provider,
        entry: &RunningChange,
    ) -> Result<ChangeResult, ProviderError> {
        let left = entry.ends_by_ms.saturating_sub(unix_millis());
        let running = Running {
            operation: entry.operation.clone(),
            ask_again: Duration::ZERO,
            at_most: Duration::from_millis(left),
        };
        self.wait(provider, &request(&entry.call), running).await
    }

    /// Asks until the change has ended, or its time is over. Its entry goes then: what came
    /// of it is the answer's business, or the next inventory's.
    async fn wait(
        &self,
        provider: &dyn Provider,
        request: &ChangeRequest,
        running: Running,
    ) -> Result<ChangeResult, ProviderError> {
        let result = asked_until_ended(provider, request, &running).await;
        let name = entry_name(&running.operation);
        self.journal.remove(Folder::Operations, &name);
        result
    }
}

async fn asked_until_ended(
    provider: &dyn Provider,
    request: &ChangeRequest,
    running: &Running,
) -> Result<ChangeResult, ProviderError> {
    let operation = &running.operation;
    // No deadline where the clock cannot hold one.
    let deadline = Instant::now().checked_add(running.at_most);
    let mut pause = running.ask_again;
    let unknown = |reason: String| {
        let name = request.operation().label();
        ProviderError::new(ErrorClass::OutcomeUnknown, name, reason)
    };
    loop {
        sleep(pause).await;
        pause = pause.max(SHORTEST_PAUSE);
        let trouble = match provider.resume(operation).await {
            Ok(Progress::Done(result)) => return Ok(result),
            Ok(Progress::Running(running)) => {
                pause = running.ask_again.max(SHORTEST_PAUSE);
                "it is running still".to_owned()
            }
            Err(error) => match &error.class {
                ErrorClass::NotFound => return Err(unknown(error.reason)),
                // The question has failed, and not the change.
                ErrorClass::Throttled { retry_after } => {
                    pause = pause.max(retry_after.unwrap_or_default());
                    error.to_string()
                }
                ErrorClass::Transient => error.to_string(),
                _ => return Err(error),
            },
        };
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let took = format!("{operation} has not ended in time: {trouble}");
            return Err(unknown(took));
        }
    }
}

/// A file name: an operation's id may be a path, or a URL of some thousand bytes where a name
/// has 255. A long one is named by its digest: the entry itself holds the id.
fn entry_name(operation: &OperationId) -> String {
    let id = operation.as_str();
    match id.len() {
        0..=100 => hex_of(id),
        _ => hex_of(Sha1::digest(id)),
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use super::super::change::{Cause, begun_before};
    use veni_nouns::{Family, InterfaceId, SlotKind};
    use veni_pool::Action;
    use veni_provider::AddressSlots;
    use veni_provider_mock::{CloudConfig, MockCloud, MockProvider, NodeConfig};

    use super::*;

    const LASTS: Duration = Duration::from_secs(180);

    /// A cloud whose changes take three minutes, and its node's primary interface.
    fn slow_cloud() -> (MockProvider, InterfaceId) {
        let config = CloudConfig::aws().instant();
        let subnet = config.subnets[0].id.to_string();
        let cloud = MockCloud::new(config).expect("a cloud");
        let node = NodeConfig::new("i-1", "m5.large", &subnet);
        let primary = cloud.add_node(node).expect("a node");
        cloud.set_long_changes(Some(LASTS));
        (cloud.provider("i-1"), primary.id)
    }

    fn written(journal: &Journal) -> Vec<RunningChange> {
        journal.peek(Folder::Operations).expect("reads")
    }

    fn assign(interface: &InterfaceId) -> (Change, Call) {
        let slots = AddressSlots::new(Family::V4, SlotKind::Address, 2);
        let interface = interface.clone();
        let action = Action::Assign {
            interface: interface.clone(),
            kind: SlotKind::Address,
            count: 2,
        };
        let change = Change {
            family: Family::V4,
            action,
            cause: Cause::Resumed("warm".to_owned()),
        };
        (change, Call::Assign { interface, slots })
    }

    #[test]
    fn an_entry_s_name_fits_a_file_however_long_the_id_is() {
        let long = |end: &str| OperationId::new(format!("https://{}{end}", "x".repeat(5_000)));
        let names = [long("1"), long("2"), "op/1".into()].map(|id| entry_name(&id));
        assert!(
            names
                .iter()
                .all(|name| name.len() <= 200 && !name.contains('/'))
        );
        assert_ne!(names[0], names[1]);
        assert_eq!(names[2], "6f702f31");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_written_down_while_it_runs_and_its_result_is_waited_for() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let (provider, primary) = slow_cloud();
        let (change, call) = assign(&primary);
        let operations = Operations::new(journal.clone());
        let began = Instant::now();
        let running = operations.carry_out(&provider, &change, &call);
        let seen = async {
            sleep(LASTS / 2).await;
            written(&journal)
        };
        let (result, seen) = tokio::join!(running, seen);
        assert_eq!(seen.len(), 1);
        assert_eq!(begun_before(&seen[0]), change);
        assert!(began.elapsed() >= LASTS);
        let assigned =
            matches!(&result, Ok(ChangeResult::Assigned(grant)) if grant.addresses.len() == 2);
        assert!(assigned, "{result:?}");
        assert!(written(&journal).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_cloud_does_not_know_any_more_has_an_unknown_outcome_and_no_entry() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let (provider, primary) = slow_cloud();
        let (change, call) = assign(&primary);
        let entry = RunningChange {
            operation: OperationId::new("op/unknown"),
            family: change.family,
            reason: change.cause.to_string(),
            call,
            // No clock holds this.
            ends_by_ms: u64::MAX,
        };
        let name = entry_name(&entry.operation);
        journal
            .write(Folder::Operations, &name, &entry)
            .expect("writes");
        let operations = Operations::new(journal.clone());
        assert_eq!(written(&journal).len(), 1);
        let error = operations.resume(&provider, &entry).await;
        let class = error.expect_err("not known").class;
        assert_eq!(class, ErrorClass::OutcomeUnknown);
        assert!(written(&journal).is_empty());
    }
}
