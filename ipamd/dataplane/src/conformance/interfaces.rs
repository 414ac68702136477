//! The cloud's interfaces: in service, and out of it.

use super::{Fixture, SECOND_MAC, interface};
use crate::DataPlane;
use crate::plan::{KernelError, SECONDARY_GROUP};

/// An interface's table is observed for as long as it is in service.
pub async fn an_interface_is_in_service_until_it_is_removed<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let plane = fixture.plane();
    for _ in 0..2 {
        let report = plane
            .ensure_interface(&interface())
            .await
            .expect("in service");
        assert_eq!(report.link, "eth1");
        let observed = plane.observe(&[]).await.expect("observed");
        assert_eq!(observed.interface_tables, [0x5611]);
    }
    for _ in 0..2 {
        plane
            .remove_interface(0x5611)
            .await
            .expect("out of service");
        let observed = plane.observe(&[]).await.expect("observed");
        assert!(observed.interface_tables.is_empty(), "{observed:?}");
    }
}

/// Attaching takes the cloud some seconds.
pub async fn an_interface_that_has_not_appeared_is_no_such_link<F: Fixture>(fixture: &F) {
    let error = fixture.plane().ensure_interface(&interface()).await;
    let error = error.expect_err("no link");
    assert!(matches!(error, KernelError::NoSuchLink(_)), "{error}");
    fixture.plug("eth1", SECOND_MAC);
    let report = fixture.plane().ensure_interface(&interface()).await;
    assert_eq!(report.expect("in service").link, "eth1");
}

/// Other programs may put links into groups, too.
pub async fn secondary_interfaces_are_kept_in_their_group_until_the_link_goes<F: Fixture>(
    fixture: &F,
) {
    fixture.plug("eth1", SECOND_MAC);
    let group = || fixture.group_and_mtu("eth1").0;
    assert_eq!(group(), 0);
    for others in [0, 7] {
        fixture.set_group("eth1", others);
        let ensured = fixture.plane().ensure_interface(&interface()).await;
        ensured.expect("in service");
        assert_eq!(group(), SECONDARY_GROUP);
    }
    let removed = fixture.plane().remove_interface(0x5611).await;
    removed.expect("out of service");
    assert_eq!(group(), SECONDARY_GROUP, "the link is there still");
}

/// The same card may have been a secondary one before the machine was moved.
pub async fn the_primary_interface_is_kept_out_of_the_group_of_secondary_ones<F: Fixture>(
    fixture: &F,
) {
    fixture.plug("eth1", SECOND_MAC);
    let mut primary = interface();
    primary.primary = true;
    for (before, after) in [(SECONDARY_GROUP, 0), (7, 7)] {
        fixture.set_group("eth1", before);
        let ensured = fixture.plane().ensure_interface(&primary).await;
        ensured.expect("in service");
        assert_eq!(fixture.group_and_mtu("eth1").0, after);
    }
}

/// The verb says what it has made again, and nothing where all was there.
pub async fn what_others_removed_of_an_interface_is_answered_as_repaired<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let ensure = async || {
        let report = fixture.plane().ensure_interface(&interface()).await;
        report.expect("in service").repairs
    };
    ensure().await;
    assert_eq!(ensure().await, []);
    fixture.flush_table(interface().table);
    assert!(!ensure().await.is_empty());
    assert_eq!(ensure().await, []);
}
