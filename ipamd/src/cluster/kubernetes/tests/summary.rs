//! The node's summary.

use super::{Bed, MINUTE, SECOND, STATUS, SUMMARY};

#[tokio::test(start_paused = true)]
async fn the_summary_is_written_when_it_changes_and_once_a_minute_at_most() {
    let bed = Bed::new(false);
    let _told = bed.write_node();
    let first = bed.written(SUMMARY, SECOND).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(first[0]["status"]["addresses"]["free"], 2);
    assert_eq!(bed.written(SUMMARY, 5 * MINUTE).await.len(), 0, "no change");
    for free in 3..23 {
        bed.pool
            .send_modify(|(report, _)| report.counts.free = free);
        tokio::time::sleep(6 * SECOND).await;
    }
    let written = bed.written(SUMMARY, MINUTE).await;
    assert!((2..=3).contains(&written.len()), "{}", written.len());
    let last = &written.last().expect("some")["status"]["addresses"]["free"];
    assert_eq!(*last, 22, "the last state is written in the end");
}

#[tokio::test(start_paused = true)]
async fn what_the_summary_is_made_of_is_read_once_a_minute_at_most() {
    let bed = Bed::new(false);
    let _told = bed.write_node();
    assert_eq!(bed.written(SUMMARY, 65 * SECOND).await.len(), 1);
    bed.pool.send_modify(|(report, _)| report.counts.free = 9);
    assert_eq!(bed.written(SUMMARY, 45 * SECOND).await.len(), 0);
    assert_eq!(bed.written(SUMMARY, 20 * SECOND).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_written_again_for_another_node_and_as_a_slow_heartbeat() {
    let bed = Bed::new(false);
    let _told = bed.write_node();
    assert_eq!(bed.written(SUMMARY, SECOND).await.len(), 1);
    bed.cluster.update(|view| view.node.uid = "u-2".to_owned());
    let written = bed.written(SUMMARY, 2 * MINUTE).await;
    assert_eq!(written.len(), 1);
    assert_eq!(written[0]["metadata"]["ownerReferences"][0]["uid"], "u-2");
    assert_eq!(bed.written(SUMMARY, 12 * MINUTE).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_definition_of_summaries_it_is_said_and_all_else_goes_on() {
    let bed = Bed::new(false);
    bed.api.refuse("nodenetworks/n1", Some(404));
    let _told = bed.write_node();
    let conditions = bed.written(STATUS, SECOND).await;
    assert_eq!(conditions.len(), 1);
    let said = |bed: &Bed| bed.warnings.get().join("; ");
    assert!(said(&bed).contains("definition nodenetworks.veni.dev"));
    bed.api.refuse("nodenetworks/n1", None);
    assert_eq!(bed.written(SUMMARY, 6 * MINUTE).await.len(), 1);
    assert_eq!(said(&bed), "");
}
