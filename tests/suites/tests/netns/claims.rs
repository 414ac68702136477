//! One daemon per node: whose claim on the node counts, and whose run folder.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Child;
use veni_testbed::{Bed, BedConfig, Death};

/// The abstract socket by which daemons of one node find each other.
const NAME: &str = "veni/ipamd";

/// Binds an abstract socket and says so.
const SQUAT: &str = r#"
    use Socket;
    socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
    bind($socket, pack_sockaddr_un("\0$ARGV[0]")) or die "bind: $!";
    $| = 1;
    print "bound";
    sleep 3600;
"#;

/// A process of a user on node 0, without capabilities, that holds the name.
async fn squatter(bed: &Bed, user: u32) -> Child {
    let mut command = bed.exec(0, "setpriv");
    command.args([
        &format!("--reuid={user}"),
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--no-new-privs",
    ]);
    let child = command
        .args(["perl", "-e", SQUAT, NAME])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.expect("setpriv can be executed");
    let mut said = [0; 5];
    let out = child.stdout.as_mut().expect("a pipe");
    let read = out.read_exact(&mut said).await;
    read.expect("the name is free, and the user is known to this user namespace");
    child
}

/// Whether the user namespace that the tests run in has other users at all.
fn has_other_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("a map of users");
    map.split_whitespace().nth(2) != Some("1")
}

#[tokio::test]
async fn only_root_s_claim_on_the_node_keeps_a_daemon_from_starting() {
    if !has_other_users() {
        println!("not tried: this user namespace has no second user");
        return;
    }
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let mut nobody = squatter(&bed, 65534).await;
    bed.daemon(0).start().await;
    let log = bed.daemon(0).log();
    let told = log.lines().find(|line| line.contains("@veni/ipamd"));
    let told = told.unwrap_or_else(|| panic!("it says who holds its name:\n{log}"));
    let process = format!("process {}", nobody.id().expect("it runs"));
    assert!(told.contains(&process) && told.contains("65534"), "{told}");

    // Another daemon is refused while the name is taken and when it is free again.
    let elsewhere = bed.folder().join("elsewhere");
    let pid = bed.daemon(0).pid().await.expect("it runs");
    for _ in 0..2 {
        let before = bed.daemon(0).log().len();
        assert_eq!(bed.daemon(0).second_in(&elsewhere).await, Death::Exited(1));
        let log = bed.daemon(0).log().split_off(before);
        let holder = format!("another ipamd (process {pid}");
        assert!(log.contains(&holder), "{log}");
        nobody.kill().await.expect("it ends");
    }
    let (pod, _) = bed.running(0, "pod").await;
    bed.sound(&[&pod]).await;
    bed.daemon(0).kill().await;

    // The twin: the same name, held by root.
    let _root = squatter(&bed, 0).await;
    assert_eq!(bed.daemon(0).second().await, Death::Exited(1));
    bed.end().await;
}

#[tokio::test]
async fn a_daemon_narrows_the_run_folder_that_it_finds_and_refuses_one_that_is_another_s() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, added) = bed.running(0, "pod").await;
    bed.daemon(0).kill().await;
    let run_dir = bed.daemon(0).run_dir();
    let entry = bed.journal_entry(&pod);
    let paths = [run_dir, &run_dir.join("journal"), &entry];
    for path in paths {
        let wide = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, wide).expect("chmod");
    }
    bed.daemon(0).start().await;
    for path in paths {
        let found = std::fs::metadata(path).expect("it is there");
        let mode = found.permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    let log = bed.daemon(0).log();
    assert!(log.contains("set the mode of a folder"), "{log}");
    bed.check(&pod, &added).await.expect("CHECK");
    bed.daemon(0).kill().await;

    let link = bed.folder().join("link");
    std::os::unix::fs::symlink(run_dir, &link).expect("a link");
    let before = bed.daemon(0).log().len();
    assert_eq!(bed.daemon(0).second_in(&link).await, Death::Exited(1));
    let log = bed.daemon(0).log().split_off(before);
    let reason = format!("{} is a symbolic link", link.display());
    assert!(log.contains(&reason), "{log}");
    bed.end().await;
}
