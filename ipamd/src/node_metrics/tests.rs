//! What is read when metrics are asked for, and that nobody waits for it.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use veni_dataplane::Statistic;

use super::*;
use crate::metrics::exposition;
use crate::pool::{
    AddressReport, InterfaceReport, InterfaceState, PoolReport, PrefixReport, SubnetReport,
};
use crate::serve::fixtures::{interface_report, key, pool_report};

/// As ENA's driver names its first statistics, in its order.
const ENA: [&str; 13] = [
    "total_resets",
    "reset_fail",
    "tx_timeout",
    "suspend",
    "resume",
    "wd_expired",
    "bw_in_allowance_exceeded",
    "bw_out_allowance_exceeded",
    "pps_allowance_exceeded",
    "conntrack_allowance_exceeded",
    "conntrack_allowance_available",
    "linklocal_allowance_exceeded",
    "queue_0_tx_cnt",
];

fn ena() -> Vec<Statistic> {
    let counted = ENA.iter().zip(0_u64..);
    counted
        .map(|(name, value)| Statistic {
            name: (*name).to_owned(),
            value,
        })
        .collect()
}

fn text_of(metrics: &NodeMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    exposition::text(&registry).expect("is text")
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line} in\n{text}");
    }
}

#[test]
fn the_allowances_are_read_by_the_driver_s_names_and_nothing_else_is() {
    let told = Allowances::of(&ena()).expect("ENA tells of allowances");
    let expected = [
        ("bw_in", 6),
        ("bw_out", 7),
        ("conntrack", 9),
        ("linklocal", 11),
        ("pps", 8),
    ];
    assert_eq!(told.exceeded, expected);
    assert_eq!(told.conntrack_available, Some(10));
    let of_veth = [Statistic {
        name: "peer_ifindex".to_owned(),
        value: 7,
    }];
    assert_eq!(Allowances::of(&of_veth), None);
}

#[test]
fn a_driver_that_tells_of_some_allowances_has_those_alone() {
    let some = &ena()[..7];
    let told = Allowances::of(some).expect("one of them");
    assert_eq!(told.exceeded, [("bw_in", 6)]);
    assert_eq!(told.conntrack_available, None);
}

#[test]
fn what_the_kernel_tells_is_exposed_and_goes_with_its_interface() {
    let metrics = NodeMetrics::default();
    assert_eq!(text_of(&metrics), "# EOF\n", "nothing was read yet");
    metrics.set_kernel(KernelReading {
        conntrack: Some(Conntrack {
            entries: 12,
            limit: 65_536,
        }),
        allowances: vec![(
            "eth1".to_owned(),
            Allowances::of(&ena()).expect("ENA tells of allowances"),
        )],
        drops: vec![Drops {
            direction: "egress",
            reason: "source_mac",
            packets: 7,
        }],
    });
    assert_has(
        &text_of(&metrics),
        &[
            "# TYPE veni_conntrack_entries gauge",
            "veni_conntrack_entries 12",
            "veni_conntrack_limit 65536",
            "# TYPE veni_ena_allowance_exceeded_total counter",
            r#"veni_ena_allowance_exceeded_total{device="eth1",allowance="pps"} 8"#,
            r#"veni_ena_conntrack_allowance_available{device="eth1"} 10"#,
            r#"veni_enforcement_dropped_packets_total{direction="egress",reason="source_mac"} 7"#,
        ],
    );
    metrics.set_kernel(KernelReading::default());
    assert_eq!(text_of(&metrics), "# EOF\n");
}

/// An interface with a prefix of which two addresses are in use, and with single
/// addresses of which one is.
fn spread_pool() -> PoolReport {
    let address = |address: &str, state| AddressReport {
        address: address.parse().expect("an address"),
        state,
    };
    let interface = InterfaceReport {
        addresses: vec![
            address("10.0.0.5", AddressState::Assigned(key())),
            address("10.0.0.6", AddressState::Free),
        ],
        prefixes: vec![PrefixReport {
            prefix: "10.0.1.16/28".parse().expect("a range"),
            free: 14,
            assigned: 2,
            cooling: 0,
            used: Vec::new(),
        }],
        ..interface_report(InterfaceState::Attached)
    };
    let subnet = SubnetReport {
        id: interface.subnet.clone(),
        cidr: "10.0.0.0/20".parse().ok(),
        free_addresses: 4000,
        exhausted: None,
        age: None,
    };
    PoolReport {
        interfaces: vec![interface],
        subnets: vec![subnet],
        ..pool_report()
    }
}

#[test]
fn addresses_in_use_are_counted_by_interface_by_prefix_and_by_subnet() {
    let metrics = NodeMetrics::default();
    let mut pool = spread_pool();
    metrics.set_spread(&pool);
    assert_has(
        &text_of(&metrics),
        &[
            r#"awscni_assigned_ip_per_eni{eni="eni-1"} 3"#,
            r#"awscni_assigned_ip_per_cidr{cidr="10.0.1.16/28"} 2"#,
            r#"awscni_assigned_ip_per_cidr{cidr="10.0.0.0/20"} 1"#,
        ],
    );
    pool.subnets.clear();
    metrics.set_spread(&pool);
    let of_unknown = r#"awscni_assigned_ip_per_cidr{cidr="unknown"} 1"#;
    assert_has(&text_of(&metrics), &[of_unknown]);
    pool.interfaces.clear();
    metrics.set_spread(&pool);
    assert_eq!(
        text_of(&metrics),
        "# EOF\n",
        "series go with what they name"
    );
}

#[test]
fn a_kernel_that_tracks_no_connections_has_no_table() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Conntrack::read(folder.path()), None);
    for (name, text) in [("nf_conntrack_count", "7\n"), ("nf_conntrack_max", "0\n")] {
        fs::write(folder.path().join(name), text).expect("writes");
    }
    let read = Conntrack::read(folder.path());
    let (entries, limit) = (7, 0);
    assert_eq!(read, Some(Conntrack { entries, limit }));
}

fn sampler(
    statistics: impl Fn(&str) -> io::Result<Vec<Statistic>> + Send + Sync + 'static,
) -> (Sampler, NodeMetrics) {
    let metrics = NodeMetrics::default();
    let sources = Sources {
        netfilter: "/does/not/exist".into(),
        statistics: Arc::new(statistics),
        drops: Arc::new(Vec::new),
    };
    (Sampler::new(metrics.clone(), sources), metrics)
}

#[tokio::test]
async fn drivers_are_asked_once_in_a_while_however_often_metrics_are() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let (sampler, metrics) = sampler(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(ena())
    });
    for _ in 0..3 {
        sampler.read_kernel(vec!["eth0".to_owned()]).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(text_of(&metrics).contains(r#"device="eth0""#));
}

#[tokio::test]
async fn a_driver_that_does_not_answer_holds_up_one_reading_and_nobody_else() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (sampler, metrics) = sampler(move |_| {
        let wait = wait.lock().unwrap_or_else(PoisonError::into_inner);
        let _ended = wait.recv();
        Ok(ena())
    });
    let links = || vec!["eth0".to_owned()];
    let first = tokio::spawn({
        let sampler = sampler.clone();
        async move { sampler.read_kernel(links()).await }
    });
    while sampler.is_idle() {
        tokio::task::yield_now().await;
    }
    // A second reader has what there is, at once.
    let second = sampler.read_kernel(links());
    let second = timeout_of(second).await;
    assert!(second, "waits behind the driver");
    assert_eq!(text_of(&metrics), "# EOF\n");
    drop(go);
    first.await.expect("ends");
    assert!(text_of(&metrics).contains(r#"device="eth0""#));
}

async fn timeout_of(future: impl Future<Output = ()>) -> bool {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, future).await.is_ok()
}

#[tokio::test]
async fn a_driver_that_refuses_is_one_without_statistics() {
    let (sampler, metrics) = sampler(|link| match link {
        "eth0" => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(ena()),
    });
    sampler
        .read_kernel(vec!["eth0".to_owned(), "eth1".to_owned()])
        .await;
    let text = text_of(&metrics);
    assert!(!text.contains("eth0") && text.contains("eth1"), "{text}");
}
