//! Endpoints that are made and taken away.

use std::io;

use veni_api::failure::code;
use veni_dataplane::Limit;
use veni_dataplane::memory::Step;

use super::super::bed::Bed;
use super::super::fixtures::{key, pod};
use super::*;
use crate::journal::Folder;

fn refusal() -> io::ErrorKind {
    io::ErrorKind::PermissionDenied
}

#[tokio::test]
async fn what_was_made_is_in_kernel_journal_and_memory() {
    let mut bed = Bed::new(None);
    let record = bed.make("a").await.expect("is made");
    let links = record.links.expect("has links");
    let routes = bed.kernel.routes();
    assert_eq!(routes, [([10, 0, 0, 9].into(), links.host_index)]);
    assert_eq!(bed.states_in_journal(), [RecordState::Ready]);
    assert_eq!(bed.records.get(&record.key), Some(record));
    assert_eq!(bed.wear(), None);
}

#[tokio::test]
async fn a_refused_add_leaves_nothing_and_its_address_is_unused() {
    let mut bed = Bed::new(None);
    bed.kernel.fail(Step::CreatePair, 1, refusal());
    let failure = bed.make("a").await.expect_err("the kernel refuses");
    assert_eq!(failure.code, code::KERNEL_REFUSED);
    assert!(bed.kernel.routes().is_empty());
    assert!(bed.states_in_journal().is_empty());
    assert_eq!(bed.records.get(&key("a")), None);
    assert_eq!(bed.wear(), Some(Wear::Unused));
    let again = bed.make("a").await.expect("the kernel refuses no more");
    let first = crate::attachment::host_link_names("eni", &key("a"), &pod("web"));
    assert_eq!(again.plan.host_link, first[0], "its name was free again");
}

#[tokio::test]
async fn an_add_without_a_node_local_address_returns_its_address_unused() {
    let mut bed = Bed::new(Some("169.254.172.0/30"));
    for container_id in ["a", "b"] {
        bed.make(container_id).await.expect("one is free");
    }
    let failure = bed.make("c").await.expect_err("none is free");
    assert_eq!(failure.code, code::TRY_AGAIN_LATER);
    assert_eq!(bed.wear(), Some(Wear::Unused));
    assert_eq!(bed.states_in_journal().len(), 2);
}

#[tokio::test]
async fn a_name_that_another_s_link_has_is_exchanged_also_in_the_journal() {
    let bed = Bed::new(None);
    let names = crate::attachment::host_link_names("eni", &key("a"), &pod("web"));
    bed.kernel.add_foreign_link(None, &names[0]);
    let record = bed.make("a").await.expect("is made");
    assert_eq!(record.plan.host_link, names[1]);
    let contents = bed.journal.read::<Record>(Folder::Endpoints);
    let (_, journalled) = contents.expect("reads").current.remove(0);
    assert_eq!(journalled.plan.host_link, names[1]);
}

#[tokio::test]
async fn a_removed_endpoint_is_dying_in_the_journal_and_its_address_cools() {
    let mut bed = Bed::new(None);
    let record = bed.make("a").await.expect("is made");
    bed.maker.remove(record, None).await.expect("is removed");
    assert!(bed.kernel.routes().is_empty());
    assert_eq!(bed.states_in_journal(), [RecordState::Dying]);
    assert_eq!(bed.records.get(&key("a")), None);
    assert_eq!(bed.wear(), Some(Wear::Used));
}

#[tokio::test]
async fn the_ifb_device_of_a_limit_goes_with_its_endpoint_and_with_a_repeated_removal() {
    let mut bed = Bed::new(None);
    bed.bandwidth.from_pod = Limit::try_new(10_000_000, 0).expect("a rate");
    let record = bed.make("a").await.expect("is made");
    let links = record.links.expect("has links");
    assert_eq!(bed.kernel.rates(links.host_index), (None, Some(10_000_000)));
    bed.kernel.fail(Step::RemoveLimits, 1, refusal());
    let refused = bed.maker.remove(record, None).await;
    assert_eq!(refused.expect_err("refused").code, code::KERNEL_REFUSED);
    let dying = bed.records.get(&key("a")).expect("is known still");
    bed.maker.remove(dying, None).await.expect("is removed");
    bed.kernel.reap(&[links.host_index]).await.expect("reaped");
    assert_eq!(bed.kernel.link_names(), ["eth0"]);
}

#[tokio::test]
async fn a_removal_that_the_kernel_refuses_can_be_repeated() {
    let mut bed = Bed::new(None);
    let record = bed.make("a").await.expect("is made");
    bed.kernel.fail(Step::RemoveEndpoint, 1, refusal());
    let refused = bed.maker.remove(record, None).await;
    assert_eq!(refused.expect_err("refused").code, code::KERNEL_REFUSED);
    let dying = bed.records.get(&key("a")).expect("is known still");
    assert_eq!(dying.state, RecordState::Dying);
    assert_eq!(bed.wear(), None, "a pod may use it still");
    bed.maker.remove(dying, None).await.expect("is removed");
    assert_eq!(bed.wear(), Some(Wear::Used));
}
