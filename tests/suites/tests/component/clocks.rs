//! Somebody sets the machine's clock. What the daemon compares goes by a clock that nobody
//! sets.

use std::fs;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipamd::replay::{Now, set_clock};
use tokio::time::sleep;
use veni_api::file_names;

use crate::daemon::key;
use crate::world::{Settings, World};

const SETTINGS: Settings<'_> = &[("WARM_IP_TARGET", "2"), ("IP_COOLDOWN_PERIOD", "30")];
const HOUR: i64 = 3_600_000;
/// The time of day at first, milliseconds since the epoch.
const DAY: i64 = 1_900_000_000_000;

/// Lets the machine's clock be off by so much from now on.
fn off_by(world: &Arc<World>, by: i64) {
    let world = Arc::clone(world);
    set_clock(Some(Rc::new(move || {
        let boot = 100_000 + world.now_ms();
        let unix = DAY + by + i64::try_from(boot).expect("fits");
        let unix = u64::try_from(unix).expect("after 1970");
        Now { unix, boot }
    })));
}

#[test]
fn a_clock_that_is_set_forward_ends_no_cooldown() {
    let world = World::aws("m5.large");
    off_by(&world, 0);
    world.until_killed(async {
        let daemon = world.start(SETTINGS).await;
        daemon.add("a").await.expect("is served");
        assert!(daemon.del("a").await);
    });
    off_by(&world, HOUR);
    world.until_killed(async {
        let daemon = world.start(SETTINGS).await;
        assert_eq!(daemon.report().await.cooling, 1);
        sleep(Duration::from_secs(31)).await;
        assert_eq!(daemon.report().await.cooling, 0, "and it ends in time");
    });
    set_clock(None);
}

#[test]
fn a_del_that_was_noted_after_the_clock_was_set_back_is_made_up_for() {
    let world = World::aws("m5.large");
    off_by(&world, 0);
    world.until_killed(async {
        let daemon = world.start(SETTINGS).await;
        for pod in ["a", "b"] {
            daemon.add(pod).await.expect("is served");
        }
    });
    off_by(&world, -HOUR);
    leave_note("a", &world, Some(ipamd::clock::boot_millis()));
    // A plugin of an older build has but the time of day: its DEL seems to precede the ADD.
    leave_note("b", &world, None);
    world.until_killed(async {
        let daemon = world.start(SETTINGS).await;
        daemon.app.make_up_for_dels().await;
        let left = daemon.app.endpoints.list();
        let left: Vec<&str> = left
            .iter()
            .map(|one| one.key.container_id.as_str())
            .collect();
        assert_eq!(left, ["b"]);
    });
    set_clock(None);
}

fn leave_note(container: &str, world: &World, boot_ms: Option<u64>) {
    let key = key(container);
    let note = serde_json::json!({
        "version": 1, "network": key.network, "containerId": key.container_id,
        "interfaceName": key.interface_name, "timeMs": ipamd::clock::unix_millis(),
        "bootMs": boot_ms, "bootId": "",
    });
    let parts = [
        key.network.as_str(),
        key.container_id.as_str(),
        key.interface_name.as_str(),
    ];
    let folder = world.folder().join(veni_api::PENDING_DIR);
    fs::create_dir_all(&folder).expect("makes");
    fs::write(folder.join(file_names::note(parts)), note.to_string()).expect("writes");
}

#[test]
fn gc_collects_what_was_added_before_the_clock_was_set_back() {
    let world = World::aws("m5.large");
    off_by(&world, 0);
    world.until_killed(async {
        let daemon = world.start(SETTINGS).await;
        daemon.add("a").await.expect("is served");
        sleep(Duration::from_secs(1)).await;
        off_by(&world, -HOUR);
        let none = std::collections::HashSet::new();
        let endpoints = &daemon.app.endpoints;
        let collected = endpoints.collect_garbage("veni", &none).await;
        assert_eq!(collected.expect("collects"), 1);
    });
    set_clock(None);
}
