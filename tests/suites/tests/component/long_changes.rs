//! A cloud whose changes run for minutes: they are waited for, and a daemon that is
//! killed meanwhile leaves them to the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use veni_provider::Operation;
use veni_provider_mock::CloudConfig;

use crate::world::{Settings, World};

/// A change takes so long in the cloud.
const LASTS: Duration = Duration::from_secs(180);
/// Part of it.
const MINUTE: Duration = Duration::from_secs(60);

const TWO_WARM: Settings<'static> = &[("WARM_IP_TARGET", "2")];

fn slow_cloud() -> Arc<World> {
    let world = World::new(CloudConfig::aws().instant(), "m5.large");
    world.cloud.set_long_changes(Some(LASTS));
    world
}

#[test]
fn a_change_that_takes_minutes_is_waited_for_and_made_once() {
    let world = slow_cloud();
    world.until_killed(async {
        let daemon = world.start(TWO_WARM).await;
        sleep(MINUTE).await;
        assert_eq!(world.journal("operations"), 1, "it is written down");
        assert_eq!(world.holdings().addresses, 0);
        sleep(LASTS).await;
        assert_eq!(world.holdings().addresses, 2);
        daemon.add("web").await.expect("is served at once");
        sleep(LASTS + MINUTE).await;
        assert_eq!(world.holdings().addresses, 3, "two more stay warm");
        assert_eq!(world.calls.of(Operation::Assign), 2);
        assert_eq!(world.journal("operations"), 0, "nothing runs any more");
    });
}

#[test]
fn a_change_that_runs_while_the_daemon_is_killed_is_resumed_and_nothing_is_bought_twice() {
    let world = slow_cloud();
    world.until_killed(async {
        let _daemon = world.start(TWO_WARM).await;
        sleep(MINUTE).await;
        assert_eq!(world.calls.of(Operation::Assign), 1);
    });
    world.until_killed(async {
        let daemon = world.start(TWO_WARM).await;
        sleep(MINUTE).await;
        assert_eq!(world.holdings().addresses, 0, "it runs still");
        assert_eq!(
            world.calls.of(Operation::Assign),
            1,
            "and is not begun again"
        );
        let under_way = daemon.plan().await.notes.join("\n");
        assert!(
            under_way.contains("under way: assign 2 addresses"),
            "{under_way}"
        );
        sleep(2 * MINUTE).await;
        assert_eq!(world.holdings().addresses, 2);
        assert_eq!(world.journal("operations"), 0);
        daemon.add("web").await.expect("is served at once");
        sleep(MINUTE).await;
        assert_eq!(
            world.calls.of(Operation::Assign),
            2,
            "for the next warm one"
        );
    });
}
