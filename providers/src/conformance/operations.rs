//! Changes that are begun, and may run in the cloud for minutes.

use tokio::time::{Instant, sleep};

use super::assigning::addresses;
use super::{
    Fixture, NotShown, Outcome, PATIENCE, TestNode, Verdict, ensure, ensure_class, primary,
    primary_now, refused, settle,
};
use crate::{ChangeRequest, ChangeResult, ErrorClass, InterfaceState, OperationId, Progress};

/// Asks until the change has ended, within the time that the cloud has promised.
async fn ended(node: &TestNode, begun: Progress) -> Result<ChangeResult, NotShown> {
    let mut running = match begun {
        Progress::Done(result) => return Ok(result),
        Progress::Running(running) => running,
    };
    let operation = running.operation.clone();
    let deadline = Instant::now() + running.at_most + PATIENCE;
    while Instant::now() < deadline {
        sleep(running.ask_again).await;
        running = match node.provider.resume(&operation).await? {
            Progress::Done(result) => return Ok(result),
            Progress::Running(running) => running,
        };
        ensure(running.operation == operation, || {
            format!("{operation} became {}", running.operation)
        })?;
    }
    Err(NotShown(format!("{operation} never ended: {running:?}")))
}

pub(super) async fn a_change_that_was_begun_is_brought_to_its_end(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?.id;
    let assign = ChangeRequest::Assign {
        interface: interface.clone(),
        slots: addresses(2),
    };
    let begun = node.provider.begin(&assign).await?;
    let ChangeResult::Assigned(grant) = ended(&node, begun).await? else {
        return Err(NotShown("an assignment brought something else".to_owned()));
    };
    ensure(grant.addresses.len() == 2, || format!("{grant:?}"))?;
    settle(&node, "what was assigned must show", |inventory| {
        primary(inventory).is_ok_and(|one| {
            let here = |address| one.addresses.contains(address);
            one.state == InterfaceState::Attached && grant.addresses.iter().all(here)
        })
    })
    .await?;
    let release = ChangeRequest::Release { interface, grant };
    let begun = node.provider.begin(&release).await?;
    let result = ended(&node, begun).await?;
    ensure(result == ChangeResult::Released, || format!("{result:?}"))?;
    settle(&node, "the addresses must be gone", |inventory| {
        primary(inventory).is_ok_and(|one| one.addresses.is_empty())
    })
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn an_interface_takes_no_second_change_while_it_is_updating(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let assign = ChangeRequest::Assign {
        interface: primary_now(&node).await?.id,
        slots: addresses(1),
    };
    let begun = node.provider.begin(&assign).await?;
    if matches!(begun, Progress::Done(_)) {
        return Ok(Verdict::NotApplicable("changes end with their call"));
    }
    settle(&node, "the interface must be updating", |inventory| {
        primary(inventory).is_ok_and(|one| one.state == InterfaceState::Updating)
    })
    .await?;
    let second = refused(node.provider.begin(&assign).await, "a second change")?;
    ensure_class(&second, &ErrorClass::Transient)?;
    ended(&node, begun).await?;
    let begun = node.provider.begin(&assign).await?;
    ended(&node, begun).await?;
    Ok(Verdict::Shown)
}

pub(super) async fn an_operation_that_the_cloud_does_not_know_is_not_found(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let unknown = OperationId::new("operation-of-nobody");
    let answer = node.provider.resume(&unknown).await;
    let class = refused(answer, "an operation that nobody knows")?;
    ensure_class(&class, &ErrorClass::NotFound)?;
    Ok(Verdict::Shown)
}
