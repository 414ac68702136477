//! What becomes of removed endpoints, on a paused clock and an in-memory kernel.

use std::io::ErrorKind;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::DropGuard;
use veni_dataplane::Limit;
use veni_dataplane::memory::Step;

use super::super::bed::Bed;
use super::super::fixtures::{key, pod};
use super::*;

/// A moment, after which everything that was due has happened.
const MOMENT: Duration = Duration::from_millis(1);
/// As the bed has it.
const COOLDOWN: Duration = Duration::from_secs(30);

/// A bed whose reaper runs until the guard goes.
fn reaping() -> (Bed, JoinHandle<()>, DropGuard) {
    let mut bed = Bed::new(None);
    let reaper = bed.reaper.take().expect("nobody has it");
    let stop = CancellationToken::new();
    let running = tokio::spawn(reaper.run(stop.clone()));
    (bed, running, stop.drop_guard())
}

/// Makes an endpoint and removes it. Answers its link's name.
async fn removed(bed: &Bed, container_id: &str) -> String {
    let record = bed.make(container_id).await.expect("is made");
    let name = record.plan.host_link.clone();
    bed.maker.remove(record, None).await.expect("is removed");
    name
}

fn is_there(bed: &Bed, name: &str) -> bool {
    bed.kernel.link_names().iter().any(|link| link == name)
}

/// Whether an endpoint of this container would get the name.
fn is_free(bed: &Bed, container_id: &str, name: &str) -> bool {
    let taken = bed.names.take(&key(container_id), &pod("web"));
    bed.names.free(&taken);
    taken == name
}

#[tokio::test(start_paused = true)]
async fn a_link_goes_first_and_its_entry_when_its_address_has_cooled() {
    let (bed, _running, _stop) = reaping();
    let name = removed(&bed, "a").await;
    sleep(MOMENT).await;
    assert!(is_there(&bed, &name) && !is_free(&bed, "a", &name));
    sleep(INTERVAL).await;
    assert!(!is_there(&bed, &name) && is_free(&bed, "a", &name));
    assert_eq!(bed.states_in_journal().len(), 1, "its address cools");
    sleep(COOLDOWN).await;
    assert!(bed.states_in_journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn links_that_follow_the_first_go_with_it() {
    let (bed, _running, _stop) = reaping();
    let first = removed(&bed, "a").await;
    sleep(INTERVAL / 2).await;
    let second = removed(&bed, "b").await;
    sleep(INTERVAL / 2 + MOMENT).await;
    assert!(!is_there(&bed, &first) && !is_there(&bed, &second));
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_refuses_is_asked_again_and_nothing_is_freed_before() {
    let (bed, _running, _stop) = reaping();
    sleep(MOMENT).await;
    bed.kernel.fail(Step::Reap, 1, ErrorKind::PermissionDenied);
    let name = removed(&bed, "a").await;
    sleep(INTERVAL + MOMENT).await;
    assert!(is_there(&bed, &name) && !is_free(&bed, "a", &name));
    sleep(PAUSE).await;
    assert!(!is_there(&bed, &name) && is_free(&bed, "a", &name));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_endpoint_has_by_now_stays_its_own() {
    let (bed, _running, _stop) = reaping();
    let name = removed(&bed, "a").await;
    sleep(INTERVAL + MOMENT).await;
    let next = bed.make("a").await.expect("is made");
    assert_eq!(next.plan.host_link, name);
    // The first one still cools while another's link is deleted.
    removed(&bed, "b").await;
    sleep(INTERVAL + MOMENT).await;
    assert!(!is_free(&bed, "a", &name));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_ends_deletes_the_links_of_its_last_dels() {
    let (bed, running, stop) = reaping();
    let name = removed(&bed, "a").await;
    drop(stop);
    running.await.expect("it ends");
    assert!(!is_there(&bed, &name));
    assert_eq!(bed.states_in_journal().len(), 1, "its address cools");
}

#[tokio::test(start_paused = true)]
async fn what_a_daemon_before_has_left_dying_goes_at_the_start() {
    let mut bed = Bed::new(None);
    bed.bandwidth.from_pod = Limit::try_new(10_000_000, 0).expect("a rate");
    let record = bed.make("a").await.expect("is made");
    let host_index = record.links.expect("has links").host_index;
    bed.maker.remove(record, None).await.expect("is removed");
    bed.kernel.delete_link(host_index);
    assert_eq!(bed.kernel.link_names().len(), 2, "eth0 and the ifb device");
    let mut reaper = bed.reaper.take().expect("nobody has it");
    while reaper.queue.try_recv().is_ok() {}
    let stop = CancellationToken::new();
    let _running = tokio::spawn(reaper.run(stop.clone()));
    let _stop = stop.drop_guard();
    sleep(MOMENT).await;
    assert_eq!(bed.kernel.link_names(), ["eth0"]);
}
