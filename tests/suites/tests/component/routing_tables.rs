//! The routing tables of interfaces over restarts and refusals: no rule is left behind,
//! and no two interfaces meet in one table.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use veni_dataplane::DataPlane;
use veni_dataplane::memory::Step;
use veni_dataplane::plan::{INTERFACE_TABLE_BASE, INTERFACE_TABLES, InterfacePlan, SourceRouting};
use veni_provider::Provider;
use veni_provider_mock::CloudConfig;

use crate::world::{LONG, Settings, World};

/// Nine addresses on the primary interface, the others on a second one.
const ELEVEN: Settings<'_> = &[
    ("WARM_IP_TARGET", "11"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_INVENTORY_INTERVAL", "10"),
];

fn world() -> Arc<World> {
    World::new(CloudConfig::aws().instant(), "m5.large")
}

/// Tables that have rules, but for the primary interface's, which needs none.
async fn tables(world: &World) -> Vec<u32> {
    let observed = world.kernel.observe(&[]).await.expect("is observed");
    observed.interface_tables
}

#[test]
fn a_start_removes_rules_that_no_interface_explains_and_keeps_those_of_the_others() {
    let world = world();
    world.until_killed(async {
        let daemon = world.start(ELEVEN).await;
        daemon.settle().await;
        assert_eq!(tables(&world).await, [INTERFACE_TABLE_BASE + 1]);
    });
    world.until_killed(async {
        let mac = world.interfaces()[1].mac.0;
        // As an interface that was detached while no daemon ran has left them.
        let left = InterfacePlan {
            mac,
            primary: false,
            table: INTERFACE_TABLE_BASE + 5,
            own_addresses: Vec::new(),
            gateways: Vec::new(),
            source_routing: SourceRouting::None,
            mtu: None,
        };
        world.kernel.ensure_interface(&left).await.expect("rules");
        let daemon = world.start(ELEVEN).await;
        daemon.settle().await;
        assert_eq!(tables(&world).await, [INTERFACE_TABLE_BASE + 1]);
        daemon.add_all((0..11).map(|n| format!("pod-{n}"))).await;
        daemon.check().await;
    });
}

#[test]
fn a_table_whose_rules_cannot_be_removed_is_not_given_to_the_next_interface() {
    let world = world();
    let later = world.until_killed(async {
        let daemon = world.start(ELEVEN).await;
        daemon.settle().await;
        let refused = world.kernel.taken(Step::RemoveInterface) + 1;
        world
            .kernel
            .fail(Step::RemoveInterface, refused, ErrorKind::OutOfMemory);
        let second = world.interfaces()[1].id.clone();
        let behind = world.other_client();
        behind.detach_interface(&second).await.expect("goes");
        sleep(Duration::from_secs(600)).await;
        let again = world.interfaces()[1].clone();
        assert_ne!(again.id, second, "another one has come");
        assert_eq!(again.device_index, 1);
        let later = *tables(&world).await.last().expect("its own");
        assert!(later > INTERFACE_TABLE_BASE + 1 && INTERFACE_TABLES.contains(&later));
        // The slow comparison with the kernel removes the rules in the end.
        sleep(LONG).await;
        assert_eq!(tables(&world).await, [later]);
        daemon.add_all((0..9).map(|n| format!("pod-{n}"))).await;
        daemon.check().await;
        daemon.stop().await;
        later
    });
    world.until_killed(async {
        let daemon = world.start(ELEVEN).await;
        daemon.settle().await;
        let tables = tables(&world).await;
        assert!(tables.contains(&later), "it keeps its table: {tables:?}");
        daemon.check().await;
    });
}
