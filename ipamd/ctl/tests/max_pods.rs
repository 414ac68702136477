//! `veni max-pods` as a user and a node's bootstrap script run it: offline, and
//! with instance metadata on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_cloudlab::metadata::{Instance, Interface, Service, Settings, View};

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

/// What a run said.
struct Said {
    code: i32,
    out: String,
    error: String,
}

fn run(line: &str, environment: &[(&str, &str)]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_veni"))
        .arg("max-pods")
        .args(line.split_whitespace())
        .env_remove("AWS_EC2_METADATA_DISABLED")
        .env_remove("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
        .env(ENDPOINT, NOBODY)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a good run printed.
fn good(line: &str) -> String {
    let said = run(line, &[]);
    assert_eq!((said.code, said.error.as_str()), (0, ""), "{line}");
    said.out
}

#[test]
fn one_type_is_one_number_for_scripts() {
    for (line, expected) in [
        ("--instance-type m5.large", 29),
        ("m5.large", 29),
        ("--cni-prefix-delegation-enabled m5.large", 110),
        ("--instance-type m5.large --cni-version 1.18.1", 29),
        ("--instance-type t3.small", 11),
        ("--instance-type m5.xlarge", 58),
        ("--instance-type m5.4xlarge --show-max-allowed", 234),
        ("--instance-type m5.4xlarge", 110),
        ("--instance-type m5.24xlarge", 250),
        ("--instance-type m5.24xlarge --show-max-allowed", 737),
        ("--instance-type p5.48xlarge", 100),
        ("--instance-type t3.nano", 4),
        (
            "--instance-type=m5.large --cni-custom-networking-enabled",
            20,
        ),
        (
            "--instance-type m5.large --cni-prefix-delegation-enabled",
            110,
        ),
        (
            "--instance-type m5.large --cni-prefix-delegation-enabled --show-max-allowed",
            434,
        ),
        ("--instance-type m5.large --cni-max-eni 2", 20),
        ("--instance-type m5.large --cni-max-eni 0", 29),
        (
            "--instance-type m5.large --cni-max-eni 2 --cni-custom-networking-enabled",
            11,
        ),
    ] {
        assert_eq!(good(line), format!("{expected}\n"), "{line}");
    }
}

#[test]
fn a_type_that_cannot_hold_prefixes_is_counted_by_addresses_and_says_so() {
    let line = "--instance-type m4.large --cni-prefix-delegation-enabled";
    assert_eq!(good(line), "20\n");
    let explained = good(&format!("{line} --explain"));
    assert_eq!(explained.matches("no prefixes").count(), 1, "{explained}");
}

#[test]
fn several_types_are_a_table_and_each_stands_in_it_once() {
    let table = "TYPE      PODS\nm5.large    29\nt3.nano      4\n";
    assert_eq!(good("--instance-type m5.large t3.nano"), table);
    assert_eq!(good("--instance-type m5.large,t3.nano,m5.large"), table);
    for line in [
        "m5.large t3.nano",
        "m5.large,t3.nano",
        "t3.nano --instance-type m5.large",
    ] {
        assert_eq!(good(line), table, "{line}");
    }
    let table = good("--instance-type m5.large --instance-type t3.nano");
    assert_eq!(table.lines().count(), 3);
}

#[test]
fn explain_shows_the_formula_with_its_numbers() {
    let explained = good("--instance-type m5.xlarge --explain");
    let row = explained.lines().nth(1).unwrap();
    assert!(
        row.contains("4 interfaces × (15 − 1) addresses + 2 = 58"),
        "{row}"
    );
    let explained =
        good("--instance-type m5.large --cni-max-eni 2 --cni-custom-networking-enabled --explain");
    assert!(
        explained.contains(" 1 interface × (10 − 1) addresses + 2 = 11"),
        "{explained}"
    );
    assert!(
        explained.contains("MAX_ENI lowers 3 interfaces to 2"),
        "{explained}"
    );
    let explained = good("m5.large --cni-max-eni 0 --explain");
    assert!(
        explained.contains("MAX_ENI 0 means no limit"),
        "{explained}"
    );
}

#[test]
fn json_has_the_number_and_how_it_came_about() {
    let told: Value = serde_json::from_str(&good("--instance-type m5.4xlarge --json")).unwrap();
    let [one] = told.as_array().unwrap().as_slice() else {
        panic!("{told}");
    };
    assert_eq!(one["instanceType"], "m5.4xlarge");
    assert_eq!(one["maxPods"], 110);
    assert_eq!(one["byAddresses"], 234);
    assert_eq!(one["recommended"], 110);
}

#[test]
fn all_lists_every_known_type() {
    let table = good("--all --show-max-allowed");
    for row in ["m5.large", "t3.nano"] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row}");
    }
    assert!(table.lines().count() > 1000);
}

#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_veni"))
        .args(["max-pods", "--all", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than a pipe holds: it cannot have written all of it.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_node_on_azure_is_counted_without_a_type() {
    assert_eq!(good("--azure"), "250\n");
    assert_eq!(good("--azure --show-max-allowed"), "255\n");
    assert_eq!(good("--azure --cni-prefix-delegation-enabled"), "250\n");
    let explained = good("--azure --explain");
    let sum = "256 − 1 addresses = 255; recommended at most 250";
    assert!(explained.contains(sum), "{explained}");
    assert!(good("--azure --format kubelet").contains("maxPods: 250\n"));
    for (line, reason) in [
        ("--azure m5.large", "cannot be used with"),
        ("--azure --cni-max-eni 2", "cannot be used with"),
        ("--azure --format karpenter", "--format kubelet"),
    ] {
        let said = run(line, &[]);
        assert_eq!(said.code, 2, "{line}");
        assert!(said.error.contains(reason), "{line}: {}", said.error);
    }
}

#[test]
fn an_unknown_type_names_its_neighbours_once_and_the_known_ones_are_still_told() {
    for line in ["", "--explain", "--json"] {
        let said = run(&format!("--instance-type m5.lagre,m5.lagre {line}"), &[]);
        assert_eq!(said.code, 2, "{line}");
        assert_eq!(said.error.matches("not known").count(), 1, "{}", said.error);
        assert!(
            said.error.contains("nearest are m5.large,"),
            "{}",
            said.error
        );
        assert!(!said.out.contains("m5.lagre"), "{}", said.out);
    }
    let said = run("--instance-type m5.lagre m5.large", &[]);
    assert_eq!(said.code, 2);
    assert_eq!(said.out, "TYPE      PODS\nm5.large    29\n");
}

#[test]
fn nothing_to_tell_and_two_ways_to_tell_it_are_refused() {
    let said = run("", &[]);
    assert_eq!(said.code, 2);
    assert!(said.error.contains("no instance type"), "{}", said.error);
    for line in [
        "--from-imds --instance-type m5.large",
        "--from-imds m5.large",
        "--from-imds --all",
        "--all m5.large",
    ] {
        assert_eq!(run(line, &[]).code, 2, "{line}");
    }
}

#[test]
fn an_empty_type_is_named_as_one() {
    for line in ["--instance-type=", "m5.large,", "--instance-type=,m5.large"] {
        let said = run(line, &[]);
        assert_eq!(said.code, 2, "{line}");
        assert_eq!(
            said.error.matches("type is empty").count(),
            1,
            "{line}: {}",
            said.error
        );
        assert!(!said.error.contains("nearest"), "{line}: {}", said.error);
    }
}

/// Instance metadata of a machine of a type.
struct Metadata {
    service: Service,
    url: String,
    _stop: DropGuard,
}

async fn metadata(instance_type: &str, change: impl FnOnce(&mut Instance)) -> Metadata {
    let mut interface = Interface::new("eni-1", "0e:00:00:00:00:01".parse().unwrap(), 0);
    interface.ipv4 = vec![Ipv4Addr::LOCALHOST];
    let mut instance = Instance::new("i-1", instance_type);
    instance.options.tokens_required = true;
    instance.interfaces = vec![interface];
    change(&mut instance);
    let service = Service::new(View::of(instance), Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(service.clone().serve(listener, stop.clone()));
    Metadata {
        service,
        url,
        _stop: stop.drop_guard(),
    }
}

impl Metadata {
    async fn run(&self, line: &'static str) -> Said {
        let url = self.url.clone();
        let running = tokio::task::spawn_blocking(move || run(line, &[(ENDPOINT, &url)]));
        running.await.unwrap()
    }
}

#[tokio::test]
async fn a_machine_s_own_type_is_told_by_its_metadata() {
    let metadata = metadata("m5.xlarge", |_| ()).await;
    let said = metadata.run("--from-imds").await;
    assert_eq!(
        (said.out.as_str(), said.code),
        ("58\n", 0),
        "{}",
        said.error
    );
    // As the EKS script spells it.
    let line = "--instance-type-from-imds --cni-version 1.9.0 --cni-prefix-delegation-enabled";
    let said = metadata.run(line).await;
    assert_eq!(
        (said.out.as_str(), said.code),
        ("110\n", 0),
        "{}",
        said.error
    );
}

#[tokio::test]
async fn a_machine_of_an_unknown_type_is_told_as_one() {
    let said = metadata("m5.lagre", |_| ()).await.run("--from-imds").await;
    assert_eq!(said.code, 2);
    assert!(said.error.contains("m5.large"), "{}", said.error);
}

#[tokio::test]
async fn metadata_that_is_switched_off_is_named_with_the_way_out() {
    let metadata = metadata("m5.large", |one| one.options.enabled = false).await;
    let said = metadata.run("--from-imds").await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    for part in [
        "answered 403",
        "HttpEndpoint=disabled",
        "no EC2 instance",
        "--instance-type",
        metadata.url.as_str(),
    ] {
        assert!(said.error.contains(part), "{}", said.error);
    }
}

#[tokio::test]
async fn metadata_that_is_out_of_order_or_silent_is_an_error_of_one_line() {
    let metadata = metadata("m5.large", |_| ()).await;
    metadata.service.set_unavailable(true);
    let said = metadata.run("--from-imds").await;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("503"), "{}", said.error);
    assert_eq!(said.error.lines().count(), 1, "{}", said.error);
    metadata.service.set_unavailable(false);
    metadata.service.set_delay(Duration::from_secs(3600));
    let said = metadata.run("--from-imds").await;
    assert_eq!(said.code, 1);
    assert!(
        said.error.contains("HttpPutResponseHopLimit"),
        "{}",
        said.error
    );
}

#[test]
fn where_there_is_no_metadata_the_place_and_the_reason_are_named() {
    let said = run("--from-imds", &[]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    for part in [NOBODY, ENDPOINT, "refused"] {
        assert!(said.error.contains(part), "{}", said.error);
    }
    let said = run("--from-imds", &[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert_eq!(said.code, 1);
    assert!(
        said.error.contains("AWS_EC2_METADATA_DISABLED"),
        "{}",
        said.error
    );
}

#[test]
fn each_tool_gets_the_setting_in_its_own_file() {
    for (tool, expected) in [
        (
            "kubelet",
            "# m5.large: 29\napiVersion: kubelet.config.k8s.io/v1beta1\n\
             kind: KubeletConfiguration\nmaxPods: 29\n",
        ),
        (
            "nodeadm",
            "# m5.large: 29\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n\
             spec:\n  kubelet:\n    config:\n      maxPods: 29\n",
        ),
        (
            "karpenter",
            "# m5.large: 29\napiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\n\
             spec:\n  kubelet:\n    maxPods: 29\n",
        ),
    ] {
        assert_eq!(good(&format!("m5.large --format {tool}")), expected);
    }
}

#[test]
fn a_file_for_several_types_has_the_least_of_their_numbers() {
    let file = good("m5.large t3.small m5.xlarge --format kubelet");
    assert!(
        file.starts_with("# m5.large: 29\n# t3.small: 11\n# m5.xlarge: 58\n"),
        "{file}"
    );
    assert!(file.ends_with("\nmaxPods: 11\n"), "{file}");
}

#[test]
fn no_file_is_printed_when_a_type_is_not_known() {
    let said = run("m5.large m5.lagre --format nodeadm", &[]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(
        said.error.contains("m5.lagre is not known"),
        "{}",
        said.error
    );
}
