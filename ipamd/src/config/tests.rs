//! The settings as operators meet them.

use std::time::Duration;

use veni_pool::SlotKind;
use veni_provider::Family;

use super::{Config, ConfigError, variables};

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let lookup = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
            // The one that must be set.
            .or_else(|| (name == "VENI_PROVIDER").then(|| "mock".to_owned()))
    };
    Config::try_new(&crate::app::providers(), &lookup, "node-1")
}

#[test]
fn nobody_gets_the_mock_cloud_without_asking_for_it() {
    let error = Config::try_new(&crate::app::providers(), &|_| None, "node-1")
        .expect_err("must be refused");
    let [problem] = &error.problems[..] else {
        panic!("{error}");
    };
    assert!(
        problem.starts_with("VENI_PROVIDER=: must be set"),
        "{problem}"
    );
}

#[test]
fn an_empty_environment_gives_the_defaults_that_operators_know() {
    let config = read(&[]).expect("defaults are valid");
    assert_eq!(config.targets.warm_eni, 1);
    assert_eq!(config.targets.mode, SlotKind::Address);
    assert_eq!(config.timing.cooldown, Duration::from_secs(30));
    assert_eq!(config.network.pod_mtu, 9001);
    assert!(config.network.ipv4 && !config.network.ipv6);
}

#[test]
fn all_problems_are_named_at_once() {
    let error = read(&[
        ("WARM_IP_TARGET", "-3"),
        ("ENABLE_IPv4", "no"),
        ("AWS_VPC_ENI_MTU", "90000"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "vlan"),
        ("AWS_VPC_K8S_CNI_LOGLEVEL", "loud"),
        (
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            "10.0.0.0/8, 10.0.0.0/99",
        ),
    ])
    .expect_err("must be refused");
    assert_eq!(error.problems.len(), 6, "{error}");
    assert!(
        error
            .to_string()
            .contains("WARM_IP_TARGET=-3: must be a whole number")
    );
    assert!(
        error
            .to_string()
            .contains("10.0.0.0/99: must be a range of addresses")
    );
}

#[test]
fn prefix_delegation_without_any_target_above_zero_is_refused() {
    let error = read(&[
        ("ENABLE_PREFIX_DELEGATION", "true"),
        ("WARM_PREFIX_TARGET", "0"),
    ])
    .expect_err("must be refused");
    assert!(error.problems[0].starts_with("WARM_PREFIX_TARGET=0"));
}

#[test]
fn a_release_threshold_that_would_flap_is_refused() {
    let error = read(&[("VENI_POOL_RELEASE_PERCENT", "120")]).expect_err("must be refused");
    assert!(error.problems[0].contains("at least VENI_POOL_REQUEST_PERCENT + 100 = 150"));
}

#[test]
fn both_families_may_be_on_together_but_not_off_together() {
    let dual = read(&[("ENABLE_IPv6", "true")]).expect("dual stack is valid");
    assert!(dual.network.ipv4 && dual.network.ipv6);
    assert!(read(&[("ENABLE_IPv4", "false")]).is_err());
}

#[test]
fn pods_open_flows_of_the_family_that_they_have_no_address_of() {
    let egress = |pairs: &[(&str, &str)]| read(pairs).expect("valid").kernel.egress;
    let ipv6_alone = [("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true")];
    assert_eq!(egress(&[]), None);
    assert_eq!(egress(&[("ENABLE_V6_EGRESS", "true")]), Some(Family::V6));
    assert_eq!(egress(&ipv6_alone), Some(Family::V4));
    let mut without = ipv6_alone.to_vec();
    without.push(("ENABLE_V4_EGRESS", "false"));
    assert_eq!(egress(&without), None);
    let dual = [("ENABLE_IPv6", "true"), ("ENABLE_V6_EGRESS", "true")];
    assert_eq!(egress(&dual), None);
}

#[test]
fn pods_without_ipv6_can_have_nothing_that_needs_it() {
    assert!(
        read(&[("DISABLE_POD_V6", "true")])
            .expect("valid")
            .kernel
            .no_pod_ipv6
    );
    for other in ["ENABLE_IPv6", "ENABLE_V6_EGRESS"] {
        let error = read(&[("DISABLE_POD_V6", "true"), (other, "true")]).expect_err("refused");
        assert!(
            error.problems[0].starts_with("DISABLE_POD_V6=true: ")
                && error.problems[0].contains(other),
            "{error}"
        );
    }
}

#[test]
fn a_connection_mark_is_decimal_or_hexadecimal() {
    for (text, mark) in [
        ("256", 0x100),
        ("0x100", 0x100),
        ("0XfFfF3FfF", 0xffff_3fff),
    ] {
        let config = read(&[("AWS_VPC_K8S_CNI_CONNMARK", text)]).expect("valid");
        assert_eq!(config.kernel.mark, mark, "{text}");
    }
    assert_eq!(read(&[]).expect("valid").kernel.mark, 0x80);
}

#[test]
fn a_connection_mark_of_nothing_or_of_kube_proxy_s_bits_is_refused() {
    for text in ["0", "-1", "0x", "0x100000000", "mark"] {
        let error = read(&[("AWS_VPC_K8S_CNI_CONNMARK", text)]).expect_err("must be refused");
        assert!(error.problems[0].contains("must be from 1"), "{error}");
    }
    for text in ["0x4000", "0x8080", "0xffffffff"] {
        let error = read(&[("AWS_VPC_K8S_CNI_CONNMARK", text)]).expect_err("must be refused");
        assert!(error.problems[0].contains("kube-proxy"), "{error}");
    }
}

#[test]
fn external_services_are_ranges_of_both_families_but_not_everything() {
    let ranges = "203.0.113.0/24, 2001:db8::/32";
    let config = read(&[("AWS_EXTERNAL_SERVICE_CIDRS", ranges)]).expect("valid");
    assert_eq!(config.kernel.external_services.len(), 2);
    let error = read(&[("AWS_EXTERNAL_SERVICE_CIDRS", "10.0.0.0/8,0.0.0.0/0,x")])
        .expect_err("must be refused");
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(error.to_string().contains("0.0.0.0/0: would lead all"));
}

#[test]
fn zero_address_targets_count_as_not_set() {
    let config = read(&[("WARM_IP_TARGET", "0"), ("MINIMUM_IP_TARGET", "0")]).expect("valid");
    assert_eq!(config.targets.warm_ip, None);
    assert_eq!(config.targets.minimum_ip, None);
}

#[test]
fn the_documentation_names_every_variable_with_its_default() {
    let text = include_str!("../../../docs/configuration.md");
    for variable in variables(&crate::app::providers()) {
        let row = format!("| `{}` |", variable.name);
        let line = text
            .lines()
            .find(|line| line.starts_with(&row))
            .unwrap_or_else(|| panic!("docs/configuration.md has no row for {}", variable.name));
        assert!(
            line.contains(&variable.default.to_string())
                && line.contains(variable.effect)
                && line.contains(variable.disposition.why()),
            "the row of {} differs from the code:\n{line}\n| `{}` | {} | {} | {}",
            variable.name,
            variable.name,
            variable.default,
            variable.effect,
            variable.disposition.why(),
        );
    }
    let rows = text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(
        rows,
        variables(&crate::app::providers()).count(),
        "a row without a variable"
    );
}

mod aws_plugin;
mod declarations;
mod in_force;
