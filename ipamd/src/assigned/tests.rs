//! The file, lost and damaged in several ways, on a disk that works and one that does not.

use std::os::unix::fs::PermissionsExt;

use tokio::sync::broadcast::error::TryRecvError;

use super::*;

const NODE: &str = "i-1";

struct Place {
    folder: tempfile::TempDir,
    journal: Journal,
    file: AssignedFile,
    events: Events,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a temp folder");
    Place {
        journal: Journal::new(&folder.path().join("run"), "boot-1"),
        file: AssignedFile::new(&folder.path().join("state"), "boot-1"),
        events: Events::default(),
        folder,
    }
}

fn record(node: &str) -> AssignedRecord {
    let text = format!(
        r#"{{"node": "{node}", "interfaces": {{"eni-0": {{"made_for_pods": false,
            "ranges": {{"10.0.0.9/32": "veni", "10.0.0.16/28": "others"}}}}}}}}"#
    );
    serde_json::from_str(&text).expect("a record")
}

impl Place {
    /// Keeps a record and lets the writer write it.
    async fn keep(&self, record: AssignedRecord) {
        let journal = self.journal.clone();
        let (keeper, writer) = Keeper::new(journal, self.file.clone(), self.events.clone());
        let writer = tokio::spawn(writer);
        keeper.keep(record);
        drop(keeper);
        writer.await.expect("the writer ends");
    }

    /// What a daemon after a reboot is told.
    async fn recalled(&self) -> Option<AssignedRecord> {
        let run = self.folder.path().join("run-of-another-boot");
        let journal = Journal::new(&run, "boot-2");
        let recalled = recall(&journal, &self.file, NODE, &self.events).await;
        assert!(recalled.as_ref().is_none_or(|one| !one.this_boot));
        recalled.map(|one| one.record)
    }

    fn mode(&self, of: &Path) -> u32 {
        let metadata = fs::metadata(of).expect("it is there");
        metadata.permissions().mode() & 0o777
    }
}

#[tokio::test]
async fn what_was_kept_is_recalled_after_a_reboot_and_root_alone_can_read_it() {
    let place = place();
    place.keep(record(NODE)).await;
    assert_eq!(place.recalled().await, Some(record(NODE)));
    assert_eq!(place.mode(&place.file.path()), 0o600);
    assert_eq!(place.mode(&place.file.folder), 0o700);
    let left: Vec<_> = fs::read_dir(&place.file.folder).expect("lists").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_daemon_of_the_same_boot_is_told_by_the_journal() {
    let place = place();
    place.keep(record(NODE)).await;
    fs::remove_file(place.file.path()).expect("it is there");
    let recalled = recall(&place.journal, &place.file, NODE, &place.events).await;
    let recalled = recalled.expect("the journal has it");
    assert!(recalled.this_boot);
    assert_eq!(recalled.record, record(NODE));
    let another = recall(&place.journal, &place.file, "i-2", &place.events).await;
    assert!(another.is_none(), "it is not that node's");
}

#[tokio::test]
async fn a_damaged_entry_of_the_journal_is_told_and_the_file_counts() {
    let place = place();
    place.keep(record(NODE)).await;
    let entry = place
        .folder
        .path()
        .join("run/journal/assigned/assigned.json");
    cut(&entry, 10);
    let mut events = place.events.subscribe();
    let recalled = recall(&place.journal, &place.file, NODE, &place.events).await;
    let recalled = recalled.expect("the file tells");
    assert_eq!((recalled.record, recalled.this_boot), (record(NODE), false));
    let event = events.try_recv().expect("an event").message;
    assert!(event.contains("damaged"), "{event}");
}

#[tokio::test]
async fn a_missing_file_tells_nothing_and_is_no_event() {
    let place = place();
    let mut events = place.events.subscribe();
    assert_eq!(place.recalled().await, None);
    assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)));
}

#[tokio::test]
async fn a_file_that_is_damaged_of_another_version_or_of_another_node_tells_nothing_and_is_an_event()
 {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("early", |file| cut(file, 5)),
        ("checksum", |file| edit(file, "10.0.0.9", "10.0.0.8")),
        ("format", |file| edit(file, "\"format\":1", "\"format\":9")),
        ("of the node i-2", |file| {
            let other = AssignedFile::new(file.parent().expect("a folder"), "boot-1");
            other.write(&record("i-2")).expect("writes");
        }),
        ("directory", |file| {
            fs::remove_file(file).expect("it is there");
            fs::create_dir(file).expect("made");
        }),
    ];
    for (said, harm) in harms {
        let place = place();
        place.keep(record(NODE)).await;
        let mut events = place.events.subscribe();
        harm(&place.file.path());
        assert_eq!(place.recalled().await, None, "{said}");
        let event = events.try_recv().expect("an event").message;
        assert!(event.contains(said), "{said}: {event}");
        assert!(event.contains("never given back"), "{event}");
    }
}

fn cut(file: &Path, bytes: usize) {
    let text = fs::read(file).expect("reads");
    fs::write(file, &text[..text.len() - bytes]).expect("writes");
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("reads");
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).expect("writes");
}

#[tokio::test]
async fn what_a_killed_writer_left_beside_the_file_harms_nothing() {
    let place = place();
    place.keep(record(NODE)).await;
    let beside = place.file.path().with_extension("new");
    fs::write(&beside, "half").expect("writes");
    assert_eq!(place.recalled().await, Some(record(NODE)));
    place.keep(AssignedRecord::default()).await;
    assert!(!beside.exists(), "it was written over and renamed");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_is_told_once_and_tried_again_until_it_does() {
    let place = place();
    fs::write(&place.file.folder, "no folder").expect("writes");
    let mut events = place.events.subscribe();
    let journal = place.journal.clone();
    let (keeper, writer) = Keeper::new(journal, place.file.clone(), place.events.clone());
    let writer = tokio::spawn(writer);
    keeper.keep(record(NODE));
    tokio::time::sleep(4 * LONGEST_PAUSE).await;
    let event = events.try_recv().expect("an event").message;
    assert!(event.contains("VENI_STATE_DIR"), "{event}");
    assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)));
    fs::remove_file(&place.file.folder).expect("it is there");
    tokio::time::sleep(2 * LONGEST_PAUSE).await;
    assert_eq!(place.recalled().await, Some(record(NODE)));
    drop(keeper);
    writer.await.expect("the writer ends");
}
