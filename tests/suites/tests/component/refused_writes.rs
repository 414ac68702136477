//! A run folder that takes no file for a while. Pods can end but not start, nothing goes
//! back to the cloud, and everything recovers without a restart.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;
use veni_api::failure::code;

use crate::daemon::key;
use crate::world::{Settings, World};

const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];

/// Makes a folder of the journal refuse everything, by a file in its place.
struct Refusing {
    folder: PathBuf,
    aside: PathBuf,
}

impl Refusing {
    fn new(world: &World, of: &str) -> Self {
        let folder = world.folder().join("journal").join(of);
        let aside = world.folder().join(format!("{of}-aside"));
        fs::create_dir_all(&folder).expect("makes");
        fs::rename(&folder, &aside).expect("moves");
        fs::write(&folder, "").expect("writes");
        Self { folder, aside }
    }

    fn end(self) {
        fs::remove_file(&self.folder).expect("removes");
        fs::rename(&self.aside, &self.folder).expect("moves");
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_a_del_is_done_and_an_add_refused_and_undone_until_there_is_room_again() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.add_all(["a", "b"].map(str::to_owned)).await;
    daemon.settle().await;
    let refusing = Refusing::new(&world, "endpoints");

    assert!(daemon.del("a").await, "a pod ends without its record");
    assert_eq!(world.kernel.routes().len(), 1);
    let report = daemon.report().await;
    assert_eq!((report.assigned, report.cooling), (1, 1));

    let failure = daemon.add("c").await.expect_err("must be refused");
    assert_eq!(failure.code, code::IO_FAILURE);
    let folder = refusing.folder.display().to_string();
    assert!(failure.message.contains(&folder), "{}", failure.message);
    assert!(failure.details.contains("make room"), "{}", failure.details);
    assert_eq!(daemon.report().await.assigned, 1);
    assert_eq!(daemon.app.endpoints.list().len(), 1);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(world.kernel.link_names().len(), 2, "eth0 and that of b");
    assert_eq!(daemon.report().await.cooling, 0);

    refusing.end();
    assert_eq!(
        world.journal("endpoints"),
        2,
        "the entry of a is still there"
    );
    sleep(Duration::from_secs(15)).await;
    assert_eq!(world.journal("endpoints"), 1);
    daemon.add("c").await.expect("there is room again");
    daemon.settle().await;
    daemon.check().await;
}

#[test]
fn a_del_without_its_record_stays_done_when_the_daemon_is_killed_then() {
    let world = World::aws("m5.large");
    let refusing = world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        daemon.add_all(["a", "b"].map(str::to_owned)).await;
        daemon.settle().await;
        let refusing = Refusing::new(&world, "endpoints");
        assert!(daemon.del("a").await);
        sleep(Duration::from_secs(1)).await;
        refusing
    });
    refusing.end();
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        let left = daemon.app.endpoints.list();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].key, key("b"));
        assert_eq!(
            daemon.report().await.cooling,
            1,
            "others may still send to it"
        );
        sleep(Duration::from_secs(40)).await;
        assert_eq!(world.journal("endpoints"), 1);
        daemon.settle().await;
        daemon.check().await;
    });
}

#[test]
fn a_daemon_starts_though_what_it_finds_cannot_be_written_down() {
    let world = World::aws("m5.large");
    let ids = world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        daemon.add_all(["a", "b"].map(str::to_owned)).await;
        let records = daemon.app.endpoints.list();
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        ids
    });
    world.end_namespace("a");
    // Entries can be read, but neither replaced nor, where half of one was left, tidied.
    let in_the_way = ids.iter().map(|id| {
        let path = world.folder().join("journal/endpoints").join(id);
        path.with_extension("new")
    });
    for path in in_the_way {
        fs::create_dir(path).expect("makes");
    }
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        let left = daemon.app.endpoints.list();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].key, key("b"));
        daemon.add("c").await.expect("is served");
        daemon.settle().await;
        daemon.check().await;
    });
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_back_to_the_cloud_that_cannot_be_written_down_and_goes_when_it_can() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let pods = || (0..5).map(|number| format!("pod-{number}"));
    daemon.add_all(pods()).await;
    daemon.settle().await;
    let held = world.holdings().addresses;
    let refusing = Refusing::new(&world, "releases");
    for pod in pods() {
        daemon.del(&pod).await;
    }
    sleep(Duration::from_secs(300)).await;
    assert_eq!(world.holdings().addresses, held, "nothing is lost");
    let told = daemon.explanation().await;
    assert!(
        told.contains("writing down what goes back failed"),
        "{told}"
    );
    assert!(told.contains("journal/releases"), "{told}");
    refusing.end();
    sleep(Duration::from_secs(60)).await;
    daemon.settle().await;
    let now = world.holdings().addresses;
    assert!(now < held, "{now} of {held} are left");
    assert_eq!(daemon.report().await.free, 4);
    daemon.check().await;
}
