//! Files that root alone may read, replaced whole: whoever reads one finds the old
//! content or the new one, and a write that fails leaves nothing beside it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Mode of folders.
pub(crate) const FOLDER: u32 = 0o700;
/// Mode of files.
pub(crate) const FILE: u32 = 0o600;

/// Makes a folder and those above it; one that is there is left as it is.
///
/// # Errors
/// Those of mkdir(2).
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Replaces a file. It survives the death of the process, and not that of the machine.
///
/// # Errors
/// Those of open(2), write(2) and rename(2); the file is what it was before.
pub(crate) fn replace(path: &Path, content: &str) -> io::Result<()> {
    replace_after(path, content, |_| Ok(()))
}

/// As [`replace`], with a last step between the new content and its taking effect.
///
/// # Errors
/// As [`replace`], and those of the step.
pub(crate) fn replace_after(
    path: &Path,
    content: &str,
    last_step: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let beside = path.with_extension("new");
    let replaced = write(&beside, content)
        .and_then(|file| last_step(&file))
        .and_then(|()| fs::rename(&beside, path));
    replaced.inspect_err(|_| {
        // Best effort: the first error is the one worth telling.
        drop(fs::remove_file(&beside));
    })
}

fn write(path: &Path, content: &str) -> io::Result<File> {
    #[cfg(feature = "replay")]
    if crate::replay::is_full(path) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE)
        .open(path)?;
    file.write_all(content.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replacement_that_fails_leaves_the_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (path, beside) = (folder.path().join("a.json"), folder.path().join("a.new"));
        replace(&path, "old").expect("writes");
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o7777, FILE);
        let seen = |_: &File| {
            assert!(beside.exists(), "the check sees what is beside");
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        replace_after(&path, "new", seen).expect_err("no room");
        assert!(!beside.exists());
        assert_eq!(fs::read_to_string(&path).expect("reads"), "old");
        let taken = folder.path().join("taken.json");
        fs::create_dir(&taken).expect("makes");
        replace(&taken, "new").expect_err("a folder has the name");
        assert!(!taken.with_extension("new").exists());
    }
}
