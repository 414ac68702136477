//! Interfaces that come and go, where the cloud can do that.

use super::assigning::{addresses, ensure_disjoint, ensure_usable, prefixes};
use super::{
    Fixture, NotShown, Outcome, TestNode, Verdict, ensure, ensure_class, free, primary_now,
    refused, settle,
};
use crate::{
    AddressSlots, AttachRequest, ErrorClass, Grant, Interface, InterfaceState, Inventory, Limit,
    Scarcity,
};

const CANNOT: Outcome = Ok(Verdict::NotApplicable("interfaces are fixed"));

pub(super) fn request(slots: Option<AddressSlots>, token: &str) -> AttachRequest {
    AttachRequest {
        subnet: None,
        slots,
        token: token.to_owned(),
    }
}

/// In the node's own subnet, where the fixture decides what is free.
fn request_here(node: &TestNode, slots: Option<AddressSlots>, token: &str) -> AttachRequest {
    AttachRequest {
        subnet: Some(node.subnet.clone()),
        ..request(slots, token)
    }
}

pub(super) fn shows(inventory: &Inventory, interface: &Interface) -> bool {
    inventory
        .interfaces
        .iter()
        .any(|shown| shown.id == interface.id && shown.state == InterfaceState::Attached)
}

fn held(interface: &Interface) -> Grant {
    let addresses = interface.own_addresses.iter().chain(&interface.addresses);
    Grant {
        addresses: addresses.copied().collect(),
        prefixes: interface.prefixes.clone(),
    }
}

fn can_attach(node: &TestNode) -> bool {
    node.provider.capabilities().attach_while_running
}

pub(super) async fn an_attached_interface_holds_what_was_asked_for(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !can_attach(&node) {
        return CANNOT;
    }
    let primary = primary_now(&node).await?;
    let wanted = request(Some(addresses(2)), "holds");
    let made = node.provider.attach_interface(&wanted).await?;
    let seen = || format!("{made:?}");
    ensure(!made.primary && made.managed && made.device_index > 0, seen)?;
    ensure(made.state == InterfaceState::Attached, seen)?;
    ensure(made.id != primary.id && made.mac != primary.mac, seen)?;
    ensure(!made.own_addresses.is_empty(), seen)?;
    ensure((1..=2).contains(&made.addresses.len()), seen)?;
    let secondary = Grant {
        addresses: made.addresses.clone(),
        prefixes: made.prefixes.clone(),
    };
    ensure_usable(&made, &secondary)?;
    ensure_disjoint([&held(&primary), &held(&made)])?;
    let inventory = settle(&node, "the new interface must show", |i| shows(i, &made)).await?;
    let shown = inventory.interfaces.iter().find(|i| i.id == made.id);
    ensure(shown == Some(&made), || {
        format!("attaching returned {made:?}, the inventory says {shown:?}")
    })?;
    Ok(Verdict::Shown)
}

pub(super) async fn an_interface_beyond_the_limit_is_refused(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !can_attach(&node) {
        return CANNOT;
    }
    let limit = node.provider.node().await?.limits.interfaces;
    for number in 1..limit {
        let one = request(None, &format!("limit-{number}"));
        node.provider.attach_interface(&one).await?;
    }
    let all = limit as usize;
    settle(&node, "all interfaces must show", |i| {
        i.interfaces.len() == all
    })
    .await?;
    let more = request(None, "beyond");
    let answer = node.provider.attach_interface(&more).await;
    let class = refused(answer, "one interface too many")?;
    ensure_class(
        &class,
        &ErrorClass::LimitReached {
            limit: Limit::Interfaces,
        },
    )?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_detached_interface_gives_everything_back(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !can_attach(&node) {
        return CANNOT;
    }
    let before = free(&node, &node.provider.inventory().await?);
    let wanted = request_here(&node, Some(addresses(3)), "back");
    let made = node.provider.attach_interface(&wanted).await?;
    let taken = u32::try_from(made.addresses.len()).unwrap_or(u32::MAX) + 1;
    settle(
        &node,
        "the new interface must show and take addresses",
        |i| shows(i, &made) && free(&node, i) == before.map(|before| before - taken),
    )
    .await?;
    node.provider.detach_interface(&made.id).await?;
    settle(&node, "the interface must go and all of it be free", |i| {
        i.interfaces.len() == 1 && free(&node, i) == before
    })
    .await?;
    let answer = node.provider.assign(&made.id, addresses(1)).await;
    let class = refused(answer, "assigning to a detached interface")?;
    ensure_class(&class, &ErrorClass::NotFound)?;
    Ok(Verdict::Shown)
}

pub(super) async fn detaching_twice_is_success(fixture: &dyn Fixture, node: TestNode) -> Outcome {
    if !can_attach(&node) {
        return CANNOT;
    }
    let made = node
        .provider
        .attach_interface(&request(None, "twice"))
        .await?;
    node.provider.detach_interface(&made.id).await?;
    node.provider.detach_interface(&made.id).await?;
    let unknown = fixture.unknown_interface();
    node.provider.detach_interface(&unknown).await?;
    Ok(Verdict::Shown)
}

pub(super) async fn the_primary_interface_cannot_be_detached(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    let primary = primary_now(&node).await?;
    let answer = node.provider.detach_interface(&primary.id).await;
    let class = refused(answer, "detaching the primary interface")?;
    let fixed = !can_attach(&node) && class == ErrorClass::Unsupported;
    ensure(class == ErrorClass::Invalid || fixed, || {
        format!("expected Invalid, saw {class:?}")
    })?;
    primary_now(&node).await?;
    Ok(Verdict::Shown)
}

pub(super) async fn one_token_makes_one_interface(_: &dyn Fixture, node: TestNode) -> Outcome {
    if !can_attach(&node) {
        return CANNOT;
    }
    let wanted = request(Some(addresses(1)), "the same");
    let first = node.provider.attach_interface(&wanted).await?;
    let second = node.provider.attach_interface(&wanted).await?;
    ensure(first.id == second.id, || {
        format!("one token made {} and {}", first.id, second.id)
    })?;
    let inventory = settle(&node, "the interface must show", |i| shows(i, &first)).await?;
    ensure(inventory.interfaces.len() == 2, || format!("{inventory:?}"))?;
    Ok(Verdict::Shown)
}

pub(super) async fn an_interface_that_cannot_be_filled_is_not_left_behind(
    fixture: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !can_attach(&node) || !node.provider.capabilities().ipv4_prefixes {
        return CANNOT;
    }
    if !fixture.fragment(&node.subnet).await {
        return Ok(Verdict::NotApplicable(
            "the fixture cannot fragment a subnet",
        ));
    }
    let before = free(&node, &node.provider.inventory().await?);
    let wanted = request_here(&node, Some(prefixes(1)), "cannot be filled");
    let answer = node.provider.attach_interface(&wanted).await;
    let class = match answer {
        // An interface without prefixes is less than was asked, and allowed.
        Ok(made) => return less_than_asked(&made),
        Err(error) => error.class,
    };
    let exhausted = ErrorClass::Exhausted {
        subnet: node.subnet.clone(),
        scarcity: Scarcity::Prefixes,
    };
    ensure_class(&class, &exhausted)?;
    tokio::time::sleep(node.provider.capabilities().settle_time).await;
    settle(&node, "nothing must be left behind", |i| {
        i.interfaces.len() == 1 && free(&node, i) == before
    })
    .await?;
    Ok(Verdict::Shown)
}

fn less_than_asked(made: &Interface) -> Outcome {
    ensure(
        made.prefixes.is_empty() && made.addresses.is_empty(),
        || format!("a fragmented subnet gave {made:?}"),
    )?;
    Ok(Verdict::Shown)
}

pub(super) async fn two_interfaces_never_get_the_same_address(
    _: &dyn Fixture,
    node: TestNode,
) -> Outcome {
    if !can_attach(&node) {
        return CANNOT;
    }
    let primary = primary_now(&node).await?;
    let wanted = request_here(&node, Some(addresses(1)), "parallel");
    let made = node.provider.attach_interface(&wanted).await?;
    let (first, second) = tokio::join!(
        node.provider.assign(&primary.id, addresses(3)),
        node.provider.assign(&made.id, addresses(3)),
    );
    ensure_disjoint([&held(&primary), &held(&made), &first?, &second?])?;
    Ok(Verdict::Shown)
}

pub(super) async fn a_cloud_that_cannot_attach_says_so(_: &dyn Fixture, node: TestNode) -> Outcome {
    if can_attach(&node) {
        return Ok(Verdict::NotApplicable("interfaces can be attached"));
    }
    let answer = node
        .provider
        .attach_interface(&request(None, "cannot"))
        .await;
    let class = refused(answer, "attaching")?;
    ensure_class(&class, &ErrorClass::Unsupported)?;
    let inventory = node.provider.inventory().await.map_err(NotShown::from)?;
    ensure(inventory.interfaces.len() == 1, || format!("{inventory:?}"))?;
    Ok(Verdict::Shown)
}
