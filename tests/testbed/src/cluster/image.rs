//! Veni's image, made of the programs of the test build by the recipe of the release.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::sync::OnceCell;

use crate::binaries;

/// The image's name, as the recipe and the chart have it by themselves.
pub const IMAGE: &str = concat!("localhost/veni:", env!("CARGO_PKG_VERSION"));

static ARCHIVE: OnceCell<PathBuf> = OnceCell::const_new();

/// The image's archive, which is made once per process, in the folder for temporary files.
///
/// # Panics
/// When it cannot be made.
pub async fn image() -> PathBuf {
    let made = ARCHIVE.get_or_init(async || {
        let made = tokio::task::spawn_blocking(|| {
            let folder = std::env::temp_dir().join(format!("image-{}", std::process::id()));
            build_image(&folder);
            folder.join("veni.tar")
        });
        made.await.expect("the image can be made")
    });
    made.await.clone()
}

/// Makes the image into a folder: `veni.tar`, its digest, and the folder of its files.
///
/// # Panics
/// When the recipe fails.
pub fn build_image(into: &Path) {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/image/build");
    let output = Command::new(&recipe)
        .args(["--programs".as_ref(), binaries::folder().as_os_str()])
        .args(["--into".as_ref(), into.as_os_str()])
        .args(["--compression", "1"])
        .output()
        .expect("the recipe can be executed");
    assert!(
        output.status.success(),
        "{}: {}",
        recipe.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
