//! DELs that come while the daemon is down, and pods that go without any.

use std::path::PathBuf;

use veni_testbed::traffic::reaches;
use veni_testbed::{Bed, BedConfig, eventually};

/// The notes of DELs that are waiting.
fn notes(bed: &Bed) -> Vec<PathBuf> {
    let folder = bed.daemon(0).run_dir().join("pending");
    std::fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |all| all.flatten().map(|one| one.path()).collect(),
    )
}

#[tokio::test]
async fn a_del_without_a_daemon_succeeds_and_is_worked_off_at_its_start() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (gone, _) = bed.running(0, "gone").await;
    let (stays, stays_added) = bed.running(0, "stays").await;
    bed.daemon(0).kill().await;
    bed.del(&gone).await.expect("DEL without a daemon");
    bed.del(&gone).await.expect("the second DEL");
    assert_eq!(notes(&bed).len(), 1);
    bed.daemon(0).start().await;
    bed.sound(&[&gone, &stays]).await;
    let evidence = bed.evidence(&[&gone, &stays]).await.expect("evidence");
    let left: Vec<&str> = evidence.nodes[0]
        .endpoints
        .iter()
        .map(|one| one.container.as_str())
        .collect();
    assert_eq!(left, [stays.container()]);
    assert!(reaches(bed.node(0), stays_added.address()).await);
    bed.end().await;
}

#[tokio::test]
async fn sandboxes_that_are_tried_again_and_again_without_a_daemon_leave_no_notes() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (stays, added) = bed.running(0, "stays").await;
    bed.daemon(0).kill().await;
    for number in 0..3 {
        let pod = bed.pod(0, &format!("retry{number}")).await;
        bed.add(&pod).await.expect_err("there is no daemon");
        bed.del(&pod).await.expect("DEL without a daemon");
        pod.vanish().await;
    }
    assert_eq!(notes(&bed), Vec::<PathBuf>::new());
    // What a plugin of an earlier version has left, and one that was interrupted.
    let folder = bed.daemon(0).run_dir().join("pending");
    std::fs::create_dir(&folder).expect("a folder");
    for name in ["0123456789abcdef.json", ".0123456789abcdef.json.17"] {
        let file = std::fs::File::create(folder.join(name)).expect("a file");
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        file.set_modified(long_ago).expect("its time can be set");
    }
    bed.daemon(0).start().await;
    assert_eq!(notes(&bed), Vec::<PathBuf>::new());
    bed.check(&stays, &added).await.expect("CHECK");
    bed.sound(&[&stays]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_note_that_arrives_while_the_daemon_runs_is_worked_off_and_cannot_undo_a_later_add() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let (other, _) = bed.running(0, "other").await;
    bed.daemon(0).kill().await;
    bed.del(&pod).await.expect("DEL without a daemon");
    let [note] = &notes(&bed)[..] else {
        panic!("one note")
    };
    let kept = bed.folder().join("note");
    std::fs::rename(note, &kept).expect("the note can be kept back");
    bed.daemon(0).start().await;

    std::fs::copy(&kept, note).expect("the note arrives");
    eventually("the note's end", async || {
        if note.exists() {
            Err("it is there")
        } else {
            Ok(())
        }
    })
    .await;
    bed.sound(&[&pod, &other]).await;
    let evidence = bed.evidence(&[&pod, &other]).await.expect("evidence");
    assert_eq!(
        evidence.nodes[0].endpoints.len(),
        1,
        "the noted DEL was done"
    );

    let added = bed.add(&pod).await.expect("ADD after DEL");
    std::fs::copy(&kept, note).expect("the note arrives late");
    eventually("the late note's end", async || {
        if note.exists() {
            Err("it is there")
        } else {
            Ok(())
        }
    })
    .await;
    assert!(
        reaches(bed.node(0), added.address()).await,
        "a late note has undone a later ADD"
    );
    bed.check(&pod, &added).await.expect("CHECK");
    bed.sound(&[&pod, &other]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_pod_whose_namespace_is_deleted_without_a_del_is_released_by_the_audit() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (gone, _) = bed.running(0, "gone").await;
    let (stays, _) = bed.running(0, "stays").await;
    gone.vanish().await;
    eventually("the release of the vanished pod", async || {
        let evidence = bed.evidence(&[&stays]).await?;
        match evidence.nodes[0].endpoints.len() {
            1 => Ok(()),
            count => Err(format!("{count} endpoints")),
        }
    })
    .await;
    bed.sound(&[&stays]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_pod_whose_namespace_went_while_the_daemon_was_down_is_released_at_its_start() {
    let bed = Bed::start(BedConfig::new(1).set("VENI_AUDIT_INTERVAL", "3600")).await;
    let (gone, _) = bed.running(0, "gone").await;
    let (stays, stays_added) = bed.running(0, "stays").await;
    bed.daemon(0).kill().await;
    gone.vanish().await;
    eventually("the end of the pod's link", async || {
        let left = veni_testbed::kernel::of_pods(bed.node(0)).await;
        if left.len() == 2 {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })
    .await;
    bed.daemon(0).start().await;
    bed.sound(&[&stays]).await;
    assert_eq!(
        bed.evidence(&[&stays]).await.expect("evidence").nodes[0]
            .endpoints
            .len(),
        1
    );
    assert!(reaches(bed.node(0), stays_added.address()).await);
    bed.end().await;
}
