//! Looks for Amazon's ec2-net-utils, both generations: udev rules that start a unit for
//! every interface of EC2.

use super::{Finding, Host};

/// udev(7): of two files with the same name, the one in the earlier folder counts.
const RULES: [&str; 5] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

/// The rule files, and the unit that each starts.
const GENERATIONS: [(&str, &str, &str); 2] = [
    (
        "99-vpc-policy-routes.rules",
        "policy-routes@",
        "udev/rules.d/99-vpc-policy-routes.rules",
    ),
    (
        "53-ec2-network-interfaces.rules",
        "ec2net-ifup@",
        "udev/rules.d/53-ec2-network-interfaces.rules",
    ),
];

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    GENERATIONS
        .iter()
        .filter_map(|(file, unit, cure)| {
            let (path, text) = RULES.iter().find_map(|folder| {
                let path = format!("{folder}/{file}");
                let text = host.read(&path)?;
                Some((path, text))
            })?;
            let acts = text
                .lines()
                .any(|line| !line.trim_start().starts_with('#') && line.contains(unit));
            acts.then(|| {
                Finding::warning(
                    format!("ec2-net-utils starts {unit} for every interface ({path})"),
                    "it puts the addresses of pods on the node's own interfaces, so that the node \
                     answers for them, and makes rules and routes of its own",
                    cure,
                )
            })
        })
        .collect()
}
