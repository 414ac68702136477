//! Settings of the daemon that change the node's kernel or the pods'. Each start makes what
//! its settings ask for, and leaves nothing of earlier settings.

use std::path::Path;

use veni_testbed::cloudlab::enter;
use veni_testbed::{Bed, BedConfig, kernel};

async fn setting(namespace: &Path, name: &str) -> String {
    let path = format!("/proc/sys/net/{name}");
    let value = enter(namespace, move || std::fs::read_to_string(path)).await;
    value.expect("a setting").trim().to_owned()
}

async fn set(namespace: &Path, name: &str, value: &'static str) {
    let path = format!("/proc/sys/net/{name}");
    let written = enter(namespace, move || std::fs::write(path, value)).await;
    written.expect("a setting");
}

/// Rules of the priorities of marks and external services, as `ip` prints them.
async fn rules(node: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for family in ["-4", "-6"] {
        let shown = kernel::ip(node, &format!("{family} -N rule show")).await;
        let lines = shown.lines().map(|line| line.replace(":\t", " "));
        found.extend(lines.map(|line| line.trim().to_owned()));
    }
    found.retain(|line| line.starts_with("1024 ") || line.starts_with("1535 "));
    found
}

#[tokio::test]
async fn another_mark_and_other_external_services_leave_nothing_of_those_before() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let node = bed.node(0).to_owned();
    kernel::ip(&node, "rule add priority 1535 to 192.0.2.0/24 lookup 99").await;
    kernel::ip(&node, "rule add priority 1024 fwmark 0x80/0x80 lookup 99").await;
    let foreign = rules(&node).await;
    assert_eq!(foreign.len(), 2, "{foreign:?}");
    let daemon = bed.daemon(0);
    daemon
        .start_with(&[
            ("AWS_EXTERNAL_SERVICE_CIDRS", "203.0.113.0/24,2001:db8::/32"),
            ("AWS_VPC_K8S_CNI_CONNMARK", "0x100"),
        ])
        .await;
    daemon.ready().await;
    let present = rules(&node).await;
    for wanted in [
        "1024 from all fwmark 0x100/0x100 goto 32763 proto 86",
        "1535 from all to 203.0.113.0/24 goto 32763 proto 86",
        "1535 from all to 2001:db8::/32 goto 32763 proto 86",
    ] {
        assert!(present.contains(&wanted.to_owned()), "{present:?}");
    }
    daemon.kill().await;
    daemon
        .start_with(&[("AWS_EXTERNAL_SERVICE_CIDRS", "198.51.100.0/24")])
        .await;
    daemon.ready().await;
    let mut wanted = foreign;
    wanted.extend([
        "1024 from all fwmark 0x80/0x80 goto 32763 proto 86".to_owned(),
        "1535 from all to 198.51.100.0/24 goto 32763 proto 86".to_owned(),
    ]);
    wanted.sort();
    let mut present = rules(&node).await;
    present.sort();
    assert_eq!(present, wanted);
    bed.end().await;
}

#[tokio::test]
async fn pods_without_ipv6_have_it_off_and_check_tells_when_they_do_not() {
    let config = BedConfig::new(1)
        .set("DISABLE_POD_V6", "true")
        .set("DISABLE_TCP_EARLY_DEMUX", "true");
    let bed = Bed::start(config).await;
    assert_eq!(setting(bed.node(0), "ipv4/tcp_early_demux").await, "0");
    let (pod, added) = bed.running(0, "pod").await;
    for link in ["all", "default", "lo", "eth0"] {
        let name = format!("ipv6/conf/{link}/disable_ipv6");
        assert_eq!(setting(pod.path(), &name).await, "1", "{link}");
        if link != "eth0" {
            assert_eq!(setting(bed.node(0), &name).await, "0", "the node's {link}");
        }
    }
    bed.check(&pod, &added).await.expect("CHECK");
    set(pod.path(), "ipv6/conf/lo/disable_ipv6", "0").await;
    let error = bed.check(&pod, &added).await.expect_err("a difference");
    assert!(error.to_string().contains("IPv6 is on"), "{error}");
    let again = bed.add(&pod).await;
    again.expect("a repeated ADD");
    assert_eq!(setting(pod.path(), "ipv6/conf/lo/disable_ipv6").await, "1");
    bed.end().await;
}
