//! A file of the journal, as a crash, a full disk or an editor may have left it.

use ipamd::journal::endpoint::Record;
use ipamd::journal::{Folder, Journal};

/// An entry is read, or dropped with a reason. It never keeps the others from being read.
pub(crate) fn survives(bytes: &[u8]) {
    let place = tempfile::tempdir().expect("a temp folder");
    let folder = place.path().join("journal/endpoints");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("one.json"), bytes).expect("a file");
    let journal = Journal::new(place.path(), "boot");
    let read = journal
        .read::<Record>(Folder::Endpoints)
        .expect("the folder is read");
    let entries = read.current.len() + read.earlier.len() + read.damaged.len();
    assert_eq!(entries, 1);
    let again = journal
        .read::<Record>(Folder::Endpoints)
        .expect("the folder is read");
    assert!(again.damaged.is_empty(), "what is damaged is dropped once");
}
