//! Addresses and prefixes that go.

use std::collections::BTreeSet;

use super::assigning::{addresses, prefixes};
use super::{
    Fixture, Outcome, TestNode, Verdict, ensure, ensure_class, free, primary, primary_now, refused,
    settle,
};
use crate::{ErrorClass, Grant};

pub(super) async fn released_addresses_go_away(_: &dyn Fixture, node: TestNode) -> Outcome {
    let interface = primary_now(&node).await?;
    let grant = node.provider.assign(&interface.id, addresses(2)).await?;
    settle(&node, "the addresses must show first", |inventory| {
        primary(inventory).is_ok_and(|i| i.addresses.len() == grant.addresses.len())
    })
    .await?;
    node.provider.release(&interface.id, &grant).await?;
    settle(&node, "released addresses must go away", |inventory| {
        primary(inventory).is_ok_and(|i| i.addresses.is_empty())
    })
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn released_addresses_can_be_had_again(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let interface = primary_now(&node).await?;
    let first = node.provider.assign(&interface.id, addresses(2)).await?;
    if !fixture.fill(&node.subnet, 0).await {
        return Ok(Verdict::NotApplicable("the fixture cannot fill a subnet"));
    }
    node.provider.release(&interface.id, &first).await?;
    // They are the only free ones now.
    let again = node.provider.assign(&interface.id, addresses(2)).await?;
    let set = |grant: &Grant| grant.addresses.iter().copied().collect::<BTreeSet<_>>();
    ensure(set(&first) == set(&again), || {
        format!("released were {first:?}, came {again:?}")
    })?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_released_prefix_is_free_as_a_whole(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !node.provider.capabilities().ipv4_prefixes {
        return Ok(Verdict::NotApplicable("no IPv4 prefixes"));
    }
    let interface = primary_now(&node).await?;
    let before = free(&node, &node.provider.inventory().await?);
    let grant = node.provider.assign(&interface.id, prefixes(1)).await?;
    settle(&node, "a prefix must take sixteen addresses", |inventory| {
        free(&node, inventory) == before.map(|before| before.saturating_sub(16))
    })
    .await?;
    node.provider.release(&interface.id, &grant).await?;
    settle(
        &node,
        "the prefix must go and its addresses be free",
        |inventory| {
            primary(inventory).is_ok_and(|i| i.prefixes.is_empty())
                && free(&node, inventory) == before
        },
    )
    .await?;
    Ok(Verdict::Shown)
}

pub(super) async fn releasing_twice_is_success(_: &dyn Fixture, node: TestNode) -> Outcome {
    let interface = primary_now(&node).await?;
    let grant = node.provider.assign(&interface.id, addresses(2)).await?;
    node.provider.release(&interface.id, &grant).await?;
    node.provider.release(&interface.id, &grant).await?;
    Ok(Verdict::Shown)
}

pub(super) async fn the_own_address_cannot_be_released(_: &dyn Fixture, node: TestNode) -> Outcome {
    let interface = primary_now(&node).await?;
    let own = Grant {
        addresses: interface.own_addresses.clone(),
        prefixes: Vec::new(),
    };
    let answer = node.provider.release(&interface.id, &own).await;
    let class = refused(answer, "releasing the own address")?;
    ensure_class(&class, &ErrorClass::Invalid)?;
    Ok(Verdict::Shown)
}

pub(super) async fn what_was_not_named_stays(_: &dyn Fixture, node: TestNode) -> Outcome {
    let interface = primary_now(&node).await?;
    let kept = node.provider.assign(&interface.id, addresses(2)).await?;
    let gone = node.provider.assign(&interface.id, addresses(1)).await?;
    node.provider.release(&interface.id, &gone).await?;
    let wanted: BTreeSet<_> = kept.addresses.iter().copied().collect();
    settle(&node, "only what was named must go", |inventory| {
        let shown = primary(inventory).map(|i| i.addresses.iter().copied().collect());
        shown.is_ok_and(|shown: BTreeSet<_>| shown == wanted)
    })
    .await?;
    Ok(Verdict::Shown)
}
