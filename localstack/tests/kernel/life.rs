//! Labs live side by side, and leave nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use veni_cloudlab::mock::CloudConfig;
use veni_cloudlab::{Lab, LabConfig, LabError};

use crate::bed::{PATIENCE, lab, reaches};

/// Whether any process is in the same network namespace as `inode` names.
fn namespace_in_use(identity: &Path) -> bool {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path().join("ns/net")).ok())
        .any(|other| other == identity)
}

fn identity(lab: &Lab) -> Vec<PathBuf> {
    let nodes = lab.nodes().iter().map(|node| node.namespace().path());
    nodes
        .chain([lab.vpc(), lab.internet().path()])
        .map(|path| std::fs::read_link(path).unwrap())
        .collect()
}

#[tokio::test]
async fn two_labs_live_side_by_side_and_do_not_hear_each_other() {
    let (one, _folder_of_one) = lab(CloudConfig::aws().instant()).await;
    let (other, _folder_of_other) = lab(CloudConfig::aws().instant().seed(2)).await;
    assert!(reaches(one.node(0), one.node(1).addresses()[0]).await);
    assert!(reaches(other.node(0), other.node(1).addresses()[0]).await);
    one.shutdown().await.unwrap();
    assert!(reaches(other.node(0), other.node(1).addresses()[0]).await);
    other.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_lab_in_the_same_folder_is_refused() {
    let (lab, folder) = lab(CloudConfig::aws().instant()).await;
    let config = LabConfig::new("test", CloudConfig::aws(), 1, "m5.large");
    let refused = Lab::start(config.folder(folder.path().join("lab")))
        .await
        .unwrap_err();
    assert!(matches!(refused, LabError::Running { pid, .. } if pid == std::process::id()));
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn after_shutdown_no_namespace_no_link_and_no_file_is_left() {
    let (lab, folder) = lab(CloudConfig::aws().instant()).await;
    let pod = lab.pod(lab.node(0), "a").await.unwrap();
    let mut namespaces = identity(&lab);
    namespaces.push(std::fs::read_link(pod.namespace().path()).unwrap());
    for one in &namespaces {
        assert!(
            namespace_in_use(one),
            "the look sees {} while it is there",
            one.display()
        );
    }
    pod.remove().await.unwrap();
    lab.shutdown().await.unwrap();
    for one in &namespaces {
        assert!(!namespace_in_use(one), "{} is left", one.display());
    }
    assert!(!folder.path().join("lab").exists());
}

#[tokio::test]
async fn a_lab_that_is_dropped_goes_as_well() {
    let (lab, folder) = lab(CloudConfig::aws().instant()).await;
    let namespaces = identity(&lab);
    assert!(namespaces.iter().all(|one| namespace_in_use(one)));
    drop(lab);
    tokio::time::timeout(PATIENCE, async {
        while namespaces.iter().any(|one| namespace_in_use(one)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("all namespaces go");
    assert!(!folder.path().join("lab").exists());
}

#[tokio::test]
async fn a_lab_that_cannot_start_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let config = LabConfig::new("test", CloudConfig::aws(), 1, "no.such.type").folder(&path);
    let refused = Lab::start(config).await.unwrap_err();
    assert!(refused.to_string().contains("no.such.type"), "{refused}");
    assert!(!path.exists());
}
