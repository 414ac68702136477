//! Local views: a difference leads to an inventory refresh when somebody else has changed
//! something, and only then.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;
use veni_provider::{AddressSlots, AttachRequest, Family, Operation, Provider};

use crate::world::{Settings, World};

const TWO_WARM: Settings<'_> = &[("WARM_IP_TARGET", "2")];
const ONE: AddressSlots = AddressSlots::Addresses {
    family: Family::V4,
    count: 1,
};
/// A little more than the time between two local views.
const A_GLANCE: Duration = Duration::from_secs(31);
const AN_HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn what_somebody_else_assigns_is_found_by_the_next_local_view() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    let looks = world.calls.of(Operation::Inventory);
    let primary = world.interfaces()[0].id.clone();
    let admin = world.other_client();
    let grant = admin.assign(&primary, ONE).await.expect("an address");
    sleep(A_GLANCE).await;
    assert_eq!(world.calls.of(Operation::Inventory), looks + 1);
    let report = daemon.report().await;
    let text = grant.addresses[0].to_string();
    let mut listed = report.interfaces.iter().flat_map(|one| &one.addresses);
    assert!(listed.any(|address| address.address == text), "{text}");
    // The pool knows it now, so it does not refresh again.
    sleep(10 * A_GLANCE).await;
    assert_eq!(world.calls.of(Operation::Inventory), looks + 1);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_somebody_else_attaches_or_detaches_is_found_by_the_next_local_view() {
    let world = World::aws("m5.large");
    // Nothing must be released while the test looks.
    let settings = [("WARM_IP_TARGET", "2"), ("VENI_DETACH_AGE", "86400")];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let admin = world.other_client();
    let request = AttachRequest {
        subnet: None,
        slots: None,
        token: "somebody else".to_owned(),
    };
    let made = admin.attach_interface(&request).await.expect("attaches");
    sleep(A_GLANCE).await;
    assert_eq!(daemon.report().await.interfaces.len(), 2);
    // Older than the doubt time, so that an inventory that lacks it raises a doubt.
    sleep(Duration::from_secs(120)).await;
    admin.detach_interface(&made.id).await.expect("detaches");
    sleep(A_GLANCE).await;
    assert_eq!(daemon.report().await.interfaces[1].state, "missing");
    // A second inventory must agree.
    sleep(Duration::from_secs(121)).await;
    assert_eq!(daemon.report().await.interfaces.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_rest_the_inventory_is_looked_at_once_an_hour_and_oftener_without_local_views() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    let before = world.calls.of(Operation::Inventory);
    sleep(5 * AN_HOUR).await;
    let looks = world.calls.of(Operation::Inventory) - before;
    assert!((4..=6).contains(&looks), "{looks} looks in five hours");
    assert!(
        world.calls.local_views() >= 500,
        "{}",
        world.calls.local_views()
    );
    world.calls.freeze_local_view(Some(None));
    let before = world.calls.of(Operation::Inventory);
    sleep(5 * AN_HOUR).await;
    let looks = world.calls.of(Operation::Inventory) - before;
    assert!((28..=32).contains(&looks), "{looks} looks in five hours");
}

#[tokio::test(start_paused = true)]
async fn own_changes_that_the_node_sees_late_cost_one_look_at_most() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    let old = world.other_client().local_view().await;
    assert!(old.is_some());
    world.calls.freeze_local_view(Some(old));
    let before = world.calls.of(Operation::Inventory);
    daemon.add_all((0..4).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    sleep(10 * A_GLANCE).await;
    let looks = world.calls.of(Operation::Inventory) - before;
    assert!(looks <= 1, "{looks} looks for changes of our own");
    world.calls.freeze_local_view(None);
    sleep(10 * A_GLANCE).await;
    let looks = world.calls.of(Operation::Inventory) - before;
    assert!(looks <= 1, "{looks} looks for changes of our own");
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_grows_is_noticed_and_its_new_range_not_translated() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    let range: IpNet = "100.64.0.0/16".parse().expect("a range");
    let untranslated = || world.kernel.node().expect("is prepared").untranslated;
    assert!(!untranslated().contains(&range));
    world.cloud.add_network_range(range);
    // A local view, and then the next round of the node's own set-up.
    sleep(A_GLANCE + Duration::from_secs(61)).await;
    assert!(untranslated().contains(&range), "{:?}", untranslated());
}
