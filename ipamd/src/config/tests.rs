//! The settings as operators meet them.

use std::time::Duration;

use veni_pool::SlotKind;

use super::{Config, ConfigError, variables};

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let lookup = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::try_new(&lookup, "node-1")
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
    assert!(error.to_string().contains("10.0.0.0/99"));
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
fn zero_address_targets_count_as_not_set() {
    let config = read(&[("WARM_IP_TARGET", "0"), ("MINIMUM_IP_TARGET", "0")]).expect("valid");
    assert_eq!(config.targets.warm_ip, None);
    assert_eq!(config.targets.minimum_ip, None);
}

#[test]
fn the_documentation_names_every_variable_with_its_default() {
    let text = include_str!("../../../docs/configuration.md");
    for variable in variables() {
        let row = format!("| `{}` |", variable.name);
        let line = text
            .lines()
            .find(|line| line.starts_with(&row))
            .unwrap_or_else(|| panic!("docs/configuration.md has no row for {}", variable.name));
        assert!(
            line.contains(variable.default)
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
    assert_eq!(rows, variables().count(), "a row without a variable");
}
