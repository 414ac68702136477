//! The image by itself: made by the recipe of the release.

use std::path::Path;
use std::process::Command;

use veni_testbed::cluster::{build_image, image};

#[test]
fn an_image_of_the_same_programs_has_the_same_digest() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let digests = folders.each_ref().map(|folder| {
        build_image(folder.path());
        std::fs::read_to_string(folder.path().join("veni.digest")).expect("a digest")
    });
    assert_eq!(digests[0], digests[1]);
    assert!(digests[0].starts_with("sha256:"), "{}", digests[0]);
}

#[tokio::test]
async fn an_image_holds_what_runs_without_a_shell() {
    let archive = image().await;
    let root = archive.with_file_name("root");
    // Their libraries are complete, for nothing of the machine is there.
    for program in ["/usr/bin/ipamd", "/usr/bin/veni", "/usr/sbin/nft"] {
        let ran = in_root(&root, &[program, "--version"]);
        assert!(ran.status.success(), "{program}: {ran:?}");
    }
    let shell = in_root(&root, &["/bin/sh", "-c", "true"]);
    assert!(!shell.status.success(), "a shell is in the image");
    for folder in ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local"] {
        let Ok(listed) = std::fs::read_dir(root.join(folder)) else {
            continue;
        };
        for file in listed {
            let name = file.expect("an entry").file_name();
            let known = ["ipamd", "veni", "veni-cni", "nft"];
            assert!(
                known.iter().any(|one| name == *one),
                "{folder} has {name:?}"
            );
        }
    }
}

fn in_root(root: &Path, command: &[&str]) -> std::process::Output {
    let ran = Command::new("chroot").arg(root).args(command).output();
    ran.expect("chroot can be executed")
}
