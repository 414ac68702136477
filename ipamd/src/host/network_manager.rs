//! Looks for NetworkManager and its nm-cloud-setup, by the rules of
//! NetworkManager.conf(5) and nm-cloud-setup(8).

use super::ini::{Ini, glob, is_no, is_yes, layered};
use super::networkd::{Link, SECONDARIES};
use super::{Finding, Host};

/// Folders of configuration; later ones override earlier ones.
const BEFORE_MAIN: [&str; 2] = [
    "/run/NetworkManager/conf.d",
    "/usr/lib/NetworkManager/conf.d",
];
const MAIN: &str = "/etc/NetworkManager/NetworkManager.conf";
const AFTER_MAIN: &str = "/etc/NetworkManager/conf.d";

/// What `systemctl enable` of the service or its timer leaves behind.
const CLOUD_SETUP_ENABLED: [&str; 2] = [
    "/etc/systemd/system/timers.target.wants/nm-cloud-setup.timer",
    "/etc/systemd/system/NetworkManager.service.wants/nm-cloud-setup.service",
];
const CLOUD_SETUP_DROPINS: [&str; 3] = [
    "/etc/systemd/system/nm-cloud-setup.service.d",
    "/run/systemd/system/nm-cloud-setup.service.d",
    "/usr/lib/systemd/system/nm-cloud-setup.service.d",
];
const CLOUD_SETUP_UNITS: [&str; 2] = [
    "/etc/systemd/system/nm-cloud-setup.timer",
    "/etc/systemd/system/nm-cloud-setup.service",
];

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    if host.runs("NetworkManager") {
        let files = configuration(host);
        if let Some(link) = SECONDARIES.iter().find(|link| manages(&files, link)) {
            findings.push(Finding::warning(
                format!(
                    "NetworkManager manages {}, and other secondary interfaces like it",
                    link.name
                ),
                "it gives them addresses and default routes of their own, so that traffic leaves \
                 by the wrong interface",
                "NetworkManager/conf.d/95-veni.conf.in",
            ));
        }
    }
    if sets_up_clouds(host) {
        findings.push(Finding::warning(
            "nm-cloud-setup is enabled for EC2",
            "it puts the addresses of pods on the node's own interfaces and removes rules that it \
             did not make",
            "systemd/system/nm-cloud-setup.service.d/95-veni.conf",
        ));
    }
    findings
}

fn configuration(host: &Host) -> Ini {
    let mut ini = Ini::default();
    // /run hides a file of /usr/lib that has the same name; /etc hides both.
    let etc = host.names_in(AFTER_MAIN);
    for (name, text) in layered(host, &BEFORE_MAIN.map(str::to_owned), ".conf") {
        if !etc.contains(&name) {
            ini.extend(&text);
        }
    }
    ini.extend(&host.read(MAIN).unwrap_or_default());
    for (_, text) in layered(host, &[AFTER_MAIN.to_owned()], ".conf") {
        ini.extend(&text);
    }
    ini
}

fn manages(ini: &Ini, link: &Link) -> bool {
    if unmanaged_devices(ini).is_some_and(|list| in_list(&list, link)) {
        return false;
    }
    // If several device sections match, the first one counts.
    let told = ini.sections_like("device").into_iter().find_map(|section| {
        let concerned = ini
            .last(section, "match-device")
            .is_none_or(|list| in_list(list, link));
        let managed = ini.last(section, "managed")?;
        concerned.then_some(managed)
    });
    told.is_none_or(|managed| !is_no(managed) || is_yes(managed))
}

/// `key+=` adds to what earlier files say, `key=` replaces it.
fn unmanaged_devices(ini: &Ini) -> Option<String> {
    let mut list: Option<String> = None;
    for (key, value) in ini.section("keyfile") {
        match key {
            "unmanaged-devices" => list = Some(value.to_owned()),
            "unmanaged-devices+" => {
                let before = list.take().unwrap_or_default();
                list = Some(format!("{before};{value}"));
            }
            _ => {}
        }
    }
    list
}

/// NetworkManager.conf(5), "Device List Format".
fn in_list(list: &str, link: &Link) -> bool {
    let specs = || {
        list.split([',', ';'])
            .map(str::trim)
            .filter(|s| !s.is_empty())
    };
    let is = |spec: &str| match spec.split_once(':') {
        _ if spec == "*" => true,
        Some(("interface-name", name)) => match name.strip_prefix('=') {
            Some(exact) => exact == link.name,
            None => glob(name.strip_prefix('~').unwrap_or(name), link.name),
        },
        Some(("driver", driver)) => driver.split('/').next() == Some(link.driver),
        Some(("type", kind)) => kind == "ethernet",
        _ => spec == link.name,
    };
    let mut excepted = specs().filter_map(|spec| spec.strip_prefix("except:"));
    if excepted.any(is) {
        return false;
    }
    let mut positive = specs()
        .filter(|spec| !spec.starts_with("except:"))
        .peekable();
    (positive.peek().is_none() && specs().next().is_some()) || positive.any(is)
}

fn sets_up_clouds(host: &Host) -> bool {
    let masked = |path: &&str| host.read(path).is_some_and(|text| text.is_empty());
    let enabled = CLOUD_SETUP_ENABLED.iter().any(|path| host.exists(path));
    if !enabled || CLOUD_SETUP_UNITS.iter().any(masked) {
        return false;
    }
    // The tool does nothing for a cloud that its environment does not name.
    let mut service = Ini::default();
    for (_, text) in layered(host, &CLOUD_SETUP_DROPINS.map(str::to_owned), ".conf") {
        service.extend(&text);
    }
    let told: Vec<&str> = service
        .section("Service")
        .filter(|(key, _)| *key == "Environment")
        .filter_map(|(_, value)| value.trim_matches('"').strip_prefix("NM_CLOUD_SETUP_EC2="))
        .collect();
    told.last().is_some_and(|value| is_yes(value))
}
