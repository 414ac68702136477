//! Answers that do not come, and callers that do not wait for them.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::assigning::addresses;
use super::attaching::{request, shows};
use super::{
    Fixture, Outcome, TestNode, Verdict, ensure, ensure_class, free, primary, primary_now, refused,
    settle,
};
use crate::{ErrorClass, Grant, Operation};

const CANNOT_LOSE: Outcome = Ok(Verdict::NotApplicable("the fixture cannot lose an answer"));

pub(super) async fn a_lost_answer_to_assign_leaves_a_doubt_that_the_inventory_settles(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    if !fixture.lose_answer(&node, Operation::Assign).await {
        return CANNOT_LOSE;
    }
    let answer = node.provider.assign(&interface.id, addresses(2)).await;
    let class = refused(answer, "a call whose answer is lost")?;
    ensure_class(&class, &ErrorClass::OutcomeUnknown)?;
    settle(&node, "what was assigned must show", |inventory| {
        primary(inventory).is_ok_and(|i| i.addresses.len() == 2)
    })
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_lost_answer_to_release_may_be_repeated(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let grant = node.provider.assign(&interface.id, addresses(2)).await?;
    if !fixture.lose_answer(&node, Operation::Release).await {
        return CANNOT_LOSE;
    }
    let answer = node.provider.release(&interface.id, &grant).await;
    let class = refused(answer, "a call whose answer is lost")?;
    ensure_class(&class, &ErrorClass::OutcomeUnknown)?;
    node.provider.release(&interface.id, &grant).await?;
    settle(&node, "the addresses must be gone", |inventory| {
        primary(inventory).is_ok_and(|i| i.addresses.is_empty())
    })
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_lost_answer_to_attach_is_found_again_by_its_token(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !node.provider.capabilities().attach_while_running {
        return Ok(Verdict::NotApplicable("interfaces are fixed"));
    }
    if !fixture.lose_answer(&node, Operation::AttachInterface).await {
        return CANNOT_LOSE;
    }
    let wanted = request(Some(addresses(1)), "lost");
    let answer = node.provider.attach_interface(&wanted).await;
    let class = refused(answer, "a call whose answer is lost")?;
    ensure_class(&class, &ErrorClass::OutcomeUnknown)?;
    let made = node.provider.attach_interface(&wanted).await?;
    let inventory = settle(&node, "the interface must show", |i| shows(i, &made)).await?;
    ensure(inventory.interfaces.len() == 2, || format!("{inventory:?}"))?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_dropped_call_leaves_a_state_that_the_inventory_tells(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let settle_time = node.provider.capabilities().settle_time;
    let before = free(&node, &node.provider.inventory().await?);
    for patience in [0, 1, 20, 100, 300] {
        let call = node.provider.assign(&interface.id, addresses(1));
        // Whether it came in time does not matter: the inventory is asked.
        let _ = timeout(Duration::from_millis(patience), call).await;
        // The longest that a call under way goes on by itself.
        sleep(settle_time + Duration::from_secs(1)).await;
        let all = Grant {
            addresses: primary_now(&node).await?.addresses,
            prefixes: Vec::new(),
        };
        if !all.is_empty() {
            node.provider.release(&interface.id, &all).await?;
        }
        settle(
            &node,
            "giving back all that shows must free everything",
            |i| primary(i).is_ok_and(|i| i.addresses.is_empty()) && free(&node, i) == before,
        )
        .await?;
    }
    Ok(Verdict::Shown)
}
