//! Who may read the run folder: root alone. What was made with wider modes, by an
//! earlier version or by hand, is narrowed; what somebody else could have put
//! there is refused.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{RunDirError, refused};
use crate::private_file::{FILE, FOLDER};

/// What chmod(2) changes.
const MODE_BITS: u32 = 0o7777;

/// Narrows the run folder itself. From then on nobody else can change what is in it.
///
/// # Errors
/// It is a symbolic link, no folder, or another user's; chmod(2) is refused.
pub(super) fn enforce_on_folder(folder: &Path) -> Result<(), RunDirError> {
    let found = fs::symlink_metadata(folder).map_err(refused("look at", folder))?;
    folder_is_ours(folder, &found)?;
    narrow(folder, &found, FOLDER).map(drop)
}

/// Narrows everything in the run folder.
///
/// # Errors
/// Something in it is another user's, or one of its folders is a symbolic link;
/// chmod(2) is refused.
pub(super) fn enforce_inside(folder: &Path) -> Result<(), RunDirError> {
    let mut narrowed = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(refused("list", &folder))? {
            let path = entry.map_err(refused("list", &folder))?.path();
            match fs::symlink_metadata(&path) {
                Ok(found) => enforce_on(path, &found, &mut folders, &mut narrowed)?,
                // A plugin that has just finished a note has renamed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused("look at", &path)(error)),
            }
        }
    }
    if let Some(first) = narrowed.first() {
        let (files, first) = (narrowed.len(), first.display());
        tracing::info!(files, %first, "files that others could read are root's alone now");
    }
    Ok(())
}

fn enforce_on(
    path: PathBuf,
    found: &Metadata,
    folders: &mut Vec<PathBuf>,
    narrowed: &mut Vec<PathBuf>,
) -> Result<(), RunDirError> {
    let kind = found.file_type();
    if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
        folder_is_ours(&path, found)?;
        narrow(&path, found, FOLDER)?;
        folders.push(path);
    } else {
        is_ours(&path, found)?;
        // The mode of a symbolic link means nothing.
        if (kind.is_file() || kind.is_socket()) && narrow(&path, found, FILE)? {
            narrowed.push(path);
        }
    }
    Ok(())
}

fn folder_is_ours(path: &Path, found: &Metadata) -> Result<(), RunDirError> {
    let untrusted = |what: &str, advice| {
        Err(RunDirError::Untrusted {
            path: path.display().to_string(),
            what: what.to_owned(),
            advice,
        })
    };
    if found.is_symlink() {
        return untrusted(
            "is a symbolic link",
            "name the folder itself in --run-dir (VENI_RUN_DIR), or remove the link",
        );
    }
    if !found.is_dir() {
        return untrusted("is no folder", "remove it, and ipamd makes one");
    }
    is_ours(path, found)
}

fn is_ours(path: &Path, found: &Metadata) -> Result<(), RunDirError> {
    if found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(RunDirError::Untrusted {
        path: path.display().to_string(),
        what: format!("belongs to user {}", found.uid()),
        advice: "remove it, or give it to root if nobody else has changed it",
    })
}

/// Sets a mode where there is another, and tells whether there was.
fn narrow(path: &Path, found: &Metadata, mode: u32) -> Result<bool, RunDirError> {
    let was = found.permissions().mode() & MODE_BITS;
    if was == mode {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(refused("set the mode of", path))?;
    if found.is_dir() {
        let (was, mode) = (format!("{was:04o}"), format!("{mode:04o}"));
        tracing::info!(folder = %path.display(), was, mode, "set the mode of a folder");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::super::RunDir;
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        let found = fs::symlink_metadata(path).expect("it is there");
        found.permissions().mode() & MODE_BITS
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }

    /// What a daemon would have made, with modes of its umask's.
    fn wide_open() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temp folder");
        fs::create_dir_all(folder.path().join("journal/endpoints")).expect("makes");
        fs::create_dir(folder.path().join("pending")).expect("makes");
        for file in ["journal/endpoints/a.json", "pending/b.json", "ready"] {
            fs::write(folder.path().join(file), "text").expect("writes");
            set_mode(&folder.path().join(file), 0o666);
        }
        for name in ["pending", "journal/endpoints", "journal", ""] {
            set_mode(&folder.path().join(name), 0o777);
        }
        folder
    }

    #[test]
    fn an_existing_run_folder_and_all_in_it_become_root_s_alone() {
        let folder = wide_open();
        let socket = folder.path().join("cni.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("binds"));
        set_mode(&socket, 0o777);
        let _taken = RunDir::try_new(folder.path()).expect("takes it");
        for name in ["", "journal", "journal/endpoints", "pending"] {
            assert_eq!(mode_of(&folder.path().join(name)), 0o700, "{name}");
        }
        let files = ["journal/endpoints/a.json", "pending/b.json", "ready"];
        for name in files.into_iter().chain(["cni.sock", "ipamd.lock"]) {
            assert_eq!(mode_of(&folder.path().join(name)), 0o600, "{name}");
        }
        let entry = folder.path().join("journal/endpoints/a.json");
        assert_eq!(fs::read_to_string(entry).expect("reads"), "text");
    }

    #[test]
    fn a_run_folder_that_is_no_folder_or_a_link_to_one_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).expect("makes");
        symlink(&real, &link).expect("links");
        let file = folder.path().join("file");
        fs::write(&file, "text").expect("writes");
        let nowhere = folder.path().join("nowhere");
        symlink(folder.path().join("nothing"), &nowhere).expect("links");
        for (path, reason) in [
            (&link, "is a symbolic link"),
            (&link.join(""), "is a symbolic link"),
            (&nowhere, "is a symbolic link"),
            (&file, "is no folder"),
        ] {
            let error = RunDir::try_new(path).expect_err("is refused").to_string();
            let name: PathBuf = path.components().collect();
            assert!(error.contains(reason), "{error}");
            assert!(error.contains(&name.display().to_string()), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).expect("stays"), "text");
        RunDir::try_new(&real).expect("the folder itself is good");
    }

    #[test]
    fn what_another_user_could_have_put_there_is_refused_by_name() {
        let root = rustix::process::geteuid().is_root();
        assert!(
            root,
            "this test needs root: nobody else can give files away"
        );
        for name in ["", "journal", "journal/endpoints/a.json", "pending/b.json"] {
            let folder = wide_open();
            let path: PathBuf = folder.path().join(name).components().collect();
            chown(&path, Some(65534), None).expect("chown");
            let error = RunDir::try_new(folder.path()).expect_err("is refused");
            let error = error.to_string();
            assert!(error.contains("belongs to user 65534"), "{error}");
            assert!(error.contains(path.to_str().expect("text")), "{error}");
            chown(&path, Some(0), None).expect("chown");
            RunDir::try_new(folder.path()).expect("given to root it is good");
        }
    }

    #[test]
    fn a_folder_of_the_journal_that_leads_elsewhere_is_refused() {
        let (folder, elsewhere) = (wide_open(), tempfile::tempdir().expect("temp folder"));
        let journal = folder.path().join("journal");
        fs::remove_dir_all(&journal).expect("removes");
        symlink(elsewhere.path(), &journal).expect("links");
        set_mode(elsewhere.path(), 0o755);
        let error = RunDir::try_new(folder.path()).expect_err("is refused");
        assert!(error.to_string().contains("journal is a symbolic link"));
        assert_eq!(mode_of(elsewhere.path()), 0o755, "it was not touched");
    }
}
