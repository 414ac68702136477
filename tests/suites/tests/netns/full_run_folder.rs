//! A run folder that is full or read-only. Pods can end but not start, the daemon can
//! restart, and everything recovers when there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use veni_testbed::traffic::reaches;
use veni_testbed::{Bed, BedConfig, Death, TestPod, eventually};

/// A file system of its own in the place of a folder.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path, options: &str) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let options = format!("mode=700,{options}");
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], folder);
        Self(folder.to_owned())
    }

    /// A folder in its own place, which can be made read-only though others have
    /// files of the same file system open.
    fn onto_itself(folder: &Path) -> Self {
        let text = folder.to_str().expect("text");
        run("mount", &["--bind", text], folder);
        Self(folder.to_owned())
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run("mount", &["-o", &options], &self.0);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let mut command = Command::new(program);
    let status = command.args(arguments).arg(folder).status();
    assert!(status.expect("it can be executed").success(), "{command:?}");
}

/// Takes all blocks of a file system, down to the last byte.
fn fill_blocks(folder: &Path, round: usize) {
    let path = folder.join(format!("ballast-{round}"));
    let mut file = File::create(path).expect("a file");
    for size in [4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

/// Takes all inodes of a file system.
fn fill_inodes(folder: &Path, round: usize) {
    let mut number = 0;
    while File::create(folder.join(format!("ballast-{round}-{number}"))).is_ok() {
        number += 1;
    }
}

fn make_room(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("ballast") {
            fs::remove_file(entry.path()).expect("it can be removed");
        }
    }
}

/// Names of the files of the journal's endpoints.
fn entries(bed: &Bed) -> Vec<String> {
    let folder = bed.daemon(0).run_dir().join("journal/endpoints");
    let files = fs::read_dir(folder).expect("a folder").flatten();
    files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until the journal has so many entries and nothing else.
async fn until_entries(bed: &Bed, count: usize) {
    eventually("the journal's entries", async || {
        let found = entries(bed);
        let whole = found.iter().filter(|name| name.ends_with(".json")).count();
        match (found.len(), whole) {
            (all, whole) if all == count && whole == count => Ok(()),
            _ => Err(format!("{found:?}")),
        }
    })
    .await;
}

/// Asserts that an ADD is refused with the folder and the reason, and leaves nothing.
async fn refused(bed: &Bed, pod: &TestPod, reason: &str) {
    let before = entries(bed);
    let error = bed.add(pod).await.expect_err("there is no room");
    assert_eq!(error.code, 5, "{error}");
    let folder = bed.daemon(0).run_dir().display().to_string();
    assert!(error.message.contains(&folder), "{error}");
    assert!(error.message.contains(reason), "{error}");
    bed.nothing_in(pod).await;
    let after = entries(bed);
    assert!(after.iter().all(|name| before.contains(name)), "{after:?}");
}

async fn a_full_folder(options: &str, fill: fn(&Path, usize)) {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let run_dir = bed.daemon(0).run_dir().to_owned();
    let mounted = Mounted::new(&run_dir, options);
    bed.daemon(0).start().await;
    let (gone, _) = bed.running(0, "gone").await;
    let (vanished, _) = bed.running(0, "vanished").await;
    let (stays, added) = bed.running(0, "stays").await;
    let next = bed.pod(0, "next").await;

    fill(&run_dir, 1);
    refused(&bed, &next, "No space left on device").await;
    fill(&run_dir, 2);
    bed.del(&gone).await.expect("DEL without its record");
    bed.nothing_in(&gone).await;
    bed.daemon(0).kill().await;

    fill(&run_dir, 3);
    bed.del(&vanished)
        .await
        .expect("DEL without daemon and note");
    vanished.vanish().await;
    fill(&run_dir, 4);
    bed.daemon(0).start().await;
    eventually("the end of what was deleted", async || {
        let evidence = bed.evidence(&[&gone, &stays, &next]).await?;
        let left = evidence.nodes[0].endpoints.iter();
        let left: Vec<&str> = left.map(|one| one.container.as_str()).collect();
        match left == [stays.container()] {
            true => Ok(()),
            false => Err(format!("{left:?}")),
        }
    })
    .await;
    bed.check(&stays, &added).await.expect("CHECK");
    assert!(reaches(bed.node(0), added.address()).await);

    make_room(&run_dir);
    let next_added = bed.add(&next).await;
    next_added.expect("ADD without a restart, now that there is room");
    bed.sound(&[&gone, &stays, &next]).await;
    until_entries(&bed, 2).await;
    bed.daemon(0).kill().await;
    drop(mounted);
    bed.end().await;
}

#[tokio::test]
async fn with_the_run_folder_full_pods_end_none_begins_and_the_daemon_starts_again() {
    a_full_folder("size=256k", fill_blocks).await;
}

#[tokio::test]
async fn the_same_where_the_file_system_has_no_inode_left() {
    a_full_folder("nr_inodes=64", fill_inodes).await;
}

#[tokio::test]
async fn with_the_journal_read_only_pods_end_none_begins_and_what_is_over_goes_later() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (gone, _) = bed.running(0, "gone").await;
    let (stays, added) = bed.running(0, "stays").await;
    let next = bed.pod(0, "next").await;
    let journal = Mounted::onto_itself(&bed.daemon(0).run_dir().join("journal"));
    for restarts in [false, true] {
        journal.remount("bind,ro");
        if restarts {
            bed.daemon(0).kill().await;
            bed.daemon(0).start().await;
        }
        refused(&bed, &next, "Read-only file system").await;
        bed.del(&gone).await.expect("DEL without its record");
        bed.nothing_in(&gone).await;
        bed.check(&stays, &added).await.expect("CHECK");

        journal.remount("bind,rw");
        until_entries(&bed, 1).await;
        bed.add(&gone).await.expect("ADD without a restart");
        bed.sound(&[&gone, &stays, &next]).await;
    }
    bed.daemon(0).kill().await;
    drop(journal);
    bed.end().await;
}

#[tokio::test]
async fn a_start_on_a_read_only_run_folder_names_it_the_reason_and_what_to_do() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let mounted = Mounted::new(bed.daemon(0).run_dir(), "size=1m");
    mounted.remount("ro");
    assert_eq!(bed.daemon(0).second().await, Death::Exited(1));
    let log = bed.daemon(0).log();
    let last = log.lines().last().unwrap_or_default();
    let folder = bed.daemon(0).run_dir().display().to_string();
    for words in [
        "Read-only file system",
        "mount its file system writable",
        &folder,
    ] {
        assert!(last.contains(words), "{log}");
    }
    mounted.remount("rw");
    bed.daemon(0).start().await;
    bed.daemon(0).kill().await;
    drop(mounted);
    bed.end().await;
}
