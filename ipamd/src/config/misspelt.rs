//! Names in the environment that are no settings but nearly ones.

use super::provider::Providers;
use super::remark::Remark;
use super::variables::variables;

/// Names that begin like these belong to Veni or to the AWS plugin.
const PREFIXES: [&str; 4] = ["VENI_", "WARM_", "AWS_VPC_", "ENI_CONFIG"];

/// Read by the command line.
const ARGUMENTS: [&str; 1] = ["VENI_RUN_DIR"];

/// Those of the names that are no settings but look as if they were meant to
/// be; sorted.
pub fn misspelt(providers: &Providers, names: impl IntoIterator<Item = String>) -> Vec<Remark> {
    let mut remarks: Vec<Remark> = names
        .into_iter()
        .filter_map(|name| {
            let text = doubt(providers, &name)?;
            Some(Remark::warning(&name, text))
        })
        .collect();
    remarks.sort_by(|a, b| a.name.cmp(&b.name));
    remarks
}

fn doubt(providers: &Providers, name: &str) -> Option<String> {
    let known = || {
        variables(providers)
            .map(|variable| variable.name)
            .chain(ARGUMENTS)
    };
    if known().any(|known| known == name) || of_a_service(name) {
        return None;
    }
    let near = known()
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= allowance(known));
    match near {
        Some((_, known)) => Some(format!("not a setting; did you mean {known}?")),
        None if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => {
            Some("not a setting; `ipamd --settings` lists them".to_owned())
        }
        None => None,
    }
}

/// Kubernetes puts variables of this form into every container, for the
/// services of its namespace.
fn of_a_service(name: &str) -> bool {
    let of_port = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|letter: char| letter.is_ascii_digit()));
    of_port || name.ends_with("_PORT") || name.contains("_SERVICE_")
}

/// How many letters may differ: short names are near each other by nature.
fn allowance(name: &str) -> usize {
    (name.len() / 6).clamp(1, 3)
}

/// Levenshtein's distance, in which case does not count.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_ascii_uppercase(), other.to_ascii_uppercase());
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> Option<String> {
        let remarks = misspelt(&crate::app::providers(), [name.to_owned()]);
        remarks.into_iter().next().map(|remark| remark.text)
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest_setting() {
        for (name, meant) in [
            ("WARM_IP_TARGETS", "WARM_IP_TARGET"),
            ("ENABLE_IPV6", "ENABLE_IPv6"),
            ("ENABLE_PREFIX_DELEGATON", "ENABLE_PREFIX_DELEGATION"),
            (
                "AWS_VPC_K8S_CNI_EXTERNAL_SNAT",
                "AWS_VPC_K8S_CNI_EXTERNALSNAT",
            ),
            ("MAX_ENIS", "MAX_ENI"),
            (
                "AWS_VPC_CNI_NODE_PORT_SUPORT",
                "AWS_VPC_CNI_NODE_PORT_SUPPORT",
            ),
        ] {
            let expected = format!("not a setting; did you mean {meant}?");
            assert_eq!(said(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_name_of_ours_that_resembles_nothing_is_still_questioned() {
        let text = said("VENI_SOMETHING_ELSE_ALTOGETHER").expect("questioned");
        assert!(text.contains("ipamd --settings"), "{text}");
    }

    #[test]
    fn names_of_others_and_settings_themselves_are_left_in_peace() {
        for name in [
            "PATH",
            "HOSTNAME",
            "AWS_REGION",
            "AWS_ENDPOINT_URL_EC2",
            "KUBERNETES_SERVICE_HOST",
            "VENI_METRICS_PORT_61678_TCP_ADDR",
            "VENI_SERVICE_PORT",
            "VENI_RUN_DIR",
            "POD_IP",
            "WARM_IP_TARGET",
            "VPC_ID",
        ] {
            assert_eq!(said(name), None, "{name}");
        }
    }
}
