//! Daemons of a lab's nodes see nothing of the machine on which the tests run.

use veni_testbed::{Bed, BedConfig, Death};

/// How the log begins to speak of software that disturbs the network.
const DISTURBED: &str = "the host disturbs pods' network";
/// How it questions a variable.
const QUESTIONED: &str = "a setting needs a look";

/// Files of a node on which nm-cloud-setup is enabled, and does its work for EC2.
const CLOUD_SETUP: [(&str, &str); 2] = [
    ("timers.target.wants/nm-cloud-setup.timer", "[Timer]\n"),
    (
        "nm-cloud-setup.service.d/10-clouds.conf",
        "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=yes\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn daemons_see_no_files_of_the_machine_and_no_variables_of_the_tests() {
    assert!(std::env::vars_os().any(|(name, _)| name == "VENI_TEST_NAMESPACES"));
    let bed = Bed::start(BedConfig::localstack(1)).await;
    let daemon = bed.daemon(0);
    let log = daemon.log();
    assert!(!log.contains(DISTURBED), "{log}");
    assert!(!log.contains("VENI_TEST_"), "{log}");
    assert_eq!(daemon.terminate().await, Death::Exited(0));

    // They see what is the node's own.
    let root = bed.lab().node(0).host_root().join("etc/systemd/system");
    for (name, text) in CLOUD_SETUP {
        let file = root.join(name);
        let folder = file.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::write(&file, text).expect("the file can be written");
    }
    daemon.start_with(&[("VENI_TEST_OF_NODE", "1")]).await;
    daemon.ready().await;
    let log = daemon.log();
    assert!(log.contains(DISTURBED), "{log}");
    let questioned = log.lines().find(|line| line.contains(QUESTIONED));
    let questioned = questioned.expect("the variable is questioned");
    assert!(questioned.contains("VENI_TEST_OF_NODE"), "{questioned}");
    bed.sound(&[]).await;
    bed.end().await;
}
