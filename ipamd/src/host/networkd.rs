//! Looks whether systemd-networkd and udev's link files would configure Veni's links, by
//! the rules of systemd.network(5), systemd.link(5) and networkd.conf(5).

use super::ini::{Ini, glob, is_no, is_yes, layered};
use super::{Finding, Gravity, Host};

const PROCESS: &str = "systemd-networkd";
const STATE: &str = "/run/systemd/netif/state";
const NETWORK_FOLDERS: [&str; 5] = [
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
];
const MAIN_FILES: [&str; 4] = [
    "/etc/systemd/networkd.conf",
    "/run/systemd/networkd.conf",
    "/usr/local/lib/systemd/networkd.conf",
    "/usr/lib/systemd/networkd.conf",
];
/// Both default to yes (networkd.conf(5)).
const FOREIGN: [&str; 2] = ["ManageForeignRoutingPolicyRules", "ManageForeignRoutes"];

/// A link to compare a file's `[Match]` section with.
pub(super) struct Link {
    pub(super) name: &'static str,
    pub(super) driver: &'static str,
    kind: &'static str,
}

/// Possible names of a secondary interface, which depend on kernel and image.
pub(super) const SECONDARIES: [Link; 4] = [
    secondary("eth1"),
    secondary("ens6"),
    secondary("enX1"),
    secondary("enp0s6"),
];

/// A host end as Veni names it by default.
const POD: Link = Link {
    name: "eni0123456789a",
    driver: "veth",
    kind: "veth",
};

const fn secondary(name: &'static str) -> Link {
    Link {
        name,
        driver: "ena",
        kind: "",
    }
}

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> = changes_macs(host).into_iter().collect();
    if !host.runs(PROCESS) && !host.exists(STATE) {
        return findings;
    }
    findings.extend(removes_foreign(host));
    let files = network_files(host);
    let managed = |link: &Link| {
        let (name, ini) = files.iter().find(|(_, ini)| matches(ini, link))?;
        let left_alone = ini.last("Link", "Unmanaged").is_some_and(is_yes);
        (!left_alone).then(|| format!("systemd-networkd configures {} by {name}", link.name))
    };
    if let Some(what) = SECONDARIES.iter().find_map(managed) {
        findings.push(Finding::warning(
            format!("{what}, and other secondary interfaces like it"),
            "it gives them addresses and default routes of their own, so that traffic leaves by \
             the wrong interface",
            "systemd/network/75-veni-secondary.network.in",
        ));
    }
    if let Some(what) = managed(&POD) {
        findings.push(Finding::warning(
            format!("{what}, and the host ends of all pods"),
            "it waits for DHCP on them and removes what it does not know",
            "systemd/network/05-veni-pods.network",
        ));
    }
    findings
}

/// Whether networkd removes rules and routes that none of its files names. It does so when
/// it starts or when a link changes.
fn removes_foreign(host: &Host) -> Option<Finding> {
    let mut settings = Ini::default();
    if let Some(text) = MAIN_FILES.iter().find_map(|path| host.read(path)) {
        settings.extend(&text);
    }
    let folders: Vec<String> = MAIN_FILES.iter().map(|path| format!("{path}.d")).collect();
    for (_, text) in layered(host, &folders, ".conf") {
        settings.extend(&text);
    }
    let told = |key: &&str| settings.last("Network", key).is_some_and(is_no);
    let missing: Vec<&str> = FOREIGN.into_iter().filter(|key| !told(key)).collect();
    (!missing.is_empty()).then(|| {
        Finding::warning(
            format!(
                "systemd-networkd runs without {}=no",
                missing.join("=no and ")
            ),
            "it removes the rules and routes of all pods when it is restarted or a link changes",
            "systemd/networkd.conf.d/10-veni.conf",
        )
    })
}

/// Whether udev replaces MACs. It leaves a MAC alone that the link's maker has set, as Veni
/// does, and replaces random ones of the kernel.
fn changes_macs(host: &Host) -> Option<Finding> {
    let files = configuration(host, ".link");
    let (name, ini) = files.iter().find(|(_, ini)| matches(ini, &POD))?;
    let persistent = ini.last("Link", "MACAddressPolicy") == Some("persistent");
    (persistent && host.runs("systemd-udevd")).then(|| Finding {
        gravity: Gravity::Note,
        what: format!("MACAddressPolicy=persistent holds for pods' host ends by {name}"),
        consequence: "udev replaces MACs that the kernel has chosen; Veni gives its links theirs, \
                      other plugins may not",
        cure: "systemd/network/05-veni-pods.link",
    })
}

fn network_files(host: &Host) -> Vec<(String, Ini)> {
    configuration(host, ".network")
}

/// Files with their drop-ins, in the order in which networkd tries them.
fn configuration(host: &Host, suffix: &str) -> Vec<(String, Ini)> {
    let folders = NETWORK_FOLDERS.map(str::to_owned);
    layered(host, &folders, suffix)
        .into_iter()
        .map(|(name, text)| {
            let mut ini = Ini::parse(&text);
            let beside = NETWORK_FOLDERS.map(|folder| format!("{folder}/{name}.d"));
            for (_, text) in layered(host, &beside, ".conf") {
                ini.extend(&text);
            }
            (name, ini)
        })
        .collect()
}

/// Whether a file is for this link. A file that asks for what we cannot know about a future
/// link, such as its MAC, counts as being for another.
fn matches(ini: &Ini, link: &Link) -> bool {
    let mut keys: Vec<&str> = ini.section("Match").map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().all(|key| {
        let lists: Vec<&str> = ini
            .section("Match")
            .filter(|(other, _)| *other == key)
            .map(|(_, value)| value)
            .collect();
        let list = lists.join(" ");
        match key {
            "Name" | "OriginalName" => in_list(&list, link.name),
            "Driver" => in_list(&list, link.driver),
            "Kind" => in_list(&list, link.kind),
            "Type" => in_list(&list, "ether"),
            "Architecture" | "Firmware" | "Host" | "KernelCommandLine" | "KernelVersion"
            | "Credential" | "Virtualization" => true,
            _ => false,
        }
    })
}

/// A list of patterns. A `!` in front inverts the whole list.
fn in_list(list: &str, text: &str) -> bool {
    let (inverted, list) = match list.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, list),
    };
    list.split_whitespace().any(|pattern| glob(pattern, text)) != inverted
}
