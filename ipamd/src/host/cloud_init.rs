//! Looks whether cloud-init configures interfaces when they appear or at a boot
//! (cloud-init's pages "Events and updates" and "Amazon EC2").

use super::ini::layered;
use super::{Finding, Host};

const RULES: [&str; 2] = ["/etc/udev/rules.d", "/run/udev/rules.d"];
const RULE: &str = "cloud-init-hook-hotplug.rules";
const MAIN: &str = "/etc/cloud/cloud.cfg";
const FOLDER: &str = "/etc/cloud/cloud.cfg.d";
const CURE: &str = "cloud/cloud.cfg.d/99-veni.cfg";

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rule = RULES.iter().find_map(|folder| {
        let names = host.names_in(folder);
        let name = names.into_iter().find(|name| name.ends_with(RULE))?;
        Some(format!("{folder}/{name}"))
    });
    if let Some(rule) = rule {
        findings.push(Finding::warning(
            format!("cloud-init configures interfaces as they are plugged in ({rule})"),
            "it writes a configuration with the pods' addresses and routes for every new \
             interface, and has it applied",
            CURE,
        ));
    } else if let Some(file) = renders_at_every_boot(host) {
        findings.push(Finding::warning(
            format!("cloud-init writes the network's configuration at every boot ({file})"),
            "it gives the pods' addresses to the node's own interfaces when the node is rebooted",
            CURE,
        ));
    }
    findings
}

/// The file that asks for it, unless a later file or another setting says otherwise.
fn renders_at_every_boot(host: &Host) -> Option<String> {
    let mut files = vec![(MAIN.to_owned(), host.read(MAIN).unwrap_or_default())];
    let more = layered(host, &[FOLDER.to_owned()], ".cfg");
    files.extend(
        more.into_iter()
            .map(|(name, text)| (format!("{FOLDER}/{name}"), text)),
    );
    let mut asked = None;
    for (file, text) in files {
        let text = without_comments(&text);
        let words = || text.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_');
        let says = |word: &str| words().any(|one| one == word);
        let primary_alone = text.contains("apply_full_imds_network_config: false");
        if primary_alone || (says("network") && says("config") && says("disabled")) {
            return None;
        }
        if says("updates") && says("when") {
            asked = (says("boot") || says("boot-legacy") || says("hotplug")).then_some(file);
        }
    }
    asked
}

fn without_comments(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}
