//! Hosts made of files in a temporary root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A host with some files and some running programs.
struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().expect("temp folder"),
        }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let place = self.place(path);
        fs::write(place, text).expect("writes the file");
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.place(path)).expect("makes the link");
        self
    }

    fn running(self, id: u32, comm: &str) -> Self {
        self.file(&format!("/proc/{id}/comm"), &format!("{comm}\n"))
    }

    /// Where a file is to be made; its folder is.
    fn place(&self, path: &str) -> PathBuf {
        let place = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a folder")).expect("makes the folder");
        place
    }

    /// A shipped drop-in, as `deploy/host/install` puts it there.
    fn cured(self, cure: &str) -> Self {
        let text = fs::read_to_string(shipped().join(cure)).expect("a shipped file");
        let text = text.replace("@PRIMARY_NAME@", "ens5");
        let path = format!("/etc/{}", cure.trim_end_matches(".in"));
        self.file(&path, &text)
    }

    fn cures(&self) -> Vec<&'static str> {
        let findings = Host::at(self.root.path()).interferers();
        findings.into_iter().map(|finding| finding.cure).collect()
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/host")
}

const FOREIGN: &str = "systemd/networkd.conf.d/10-veni.conf";
const SECONDARY: &str = "systemd/network/75-veni-secondary.network.in";
const PODS: &str = "systemd/network/05-veni-pods.network";
const MACS: &str = "systemd/network/05-veni-pods.link";
const NETWORK_MANAGER: &str = "NetworkManager/conf.d/95-veni.conf.in";
const CLOUD_SETUP: &str = "systemd/system/nm-cloud-setup.service.d/95-veni.conf";
const CLOUD_INIT: &str = "cloud/cloud.cfg.d/99-veni.cfg";
const POLICY_ROUTES: &str = "udev/rules.d/99-vpc-policy-routes.rules";
const EC2_NET_UTILS: &str = "udev/rules.d/53-ec2-network-interfaces.rules";
const FIREWALL: &str = "README.md#firewalld";

fn networkd() -> Fake {
    Fake::new().running(300, "systemd-network")
}

#[test]
fn an_empty_host_has_nothing_to_say() {
    assert!(Fake::new().cures().is_empty());
}

#[test]
fn networkd_without_the_drop_in_would_remove_foreign_rules() {
    assert_eq!(networkd().cures(), [FOREIGN]);
    assert!(networkd().cured(FOREIGN).cures().is_empty());
}

#[test]
fn foreign_rules_may_be_kept_by_anybody_s_drop_in_and_taken_by_a_later_one() {
    let kept = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=false\n";
    let taken = "[Network]\nManageForeignRoutes=yes\n";
    let release = "/usr/lib/systemd/networkd.conf.d/80-release.conf";
    let later = "/etc/systemd/networkd.conf.d/90-site.conf";
    assert!(networkd().file(release, kept).cures().is_empty());
    let both = networkd().file(release, kept).file(later, taken);
    assert_eq!(both.cures(), [FOREIGN]);
}

#[test]
fn a_general_network_file_takes_secondary_interfaces_until_the_drop_in_precedes_it() {
    let general = || {
        networkd().cured(FOREIGN).file(
            "/usr/lib/systemd/network/80-ec2.network",
            "[Match]\nDriver=ena ixgbevf vif\n[Network]\nDHCP=yes\n",
        )
    };
    assert_eq!(general().cures(), [SECONDARY]);
    assert!(general().cured(SECONDARY).cures().is_empty());
    let narrowed = general().file(
        "/run/systemd/network/80-ec2.network.d/10-primary.conf",
        "[Match]\nPermanentMACAddress=02:00:00:00:00:01\n",
    );
    assert!(narrowed.cures().is_empty());
}

#[test]
fn a_network_file_of_the_primary_interface_takes_no_other() {
    let by_name = networkd().cured(FOREIGN).file(
        "/run/systemd/network/10-netplan-ens5.network",
        "[Match]\nName=ens5\n[Network]\nDHCP=ipv4\n",
    );
    assert!(by_name.cures().is_empty());
    // Written for a secondary interface by another program: a link out of /run.
    let linked = networkd()
        .cured(FOREIGN)
        .file(
            "/usr/lib/systemd/network/default",
            "[Match]\nName=ens6\n[Network]\nDHCP=yes\n",
        )
        .link(
            "/run/systemd/network/70-ens6.network",
            "/usr/lib/systemd/network/default",
        );
    assert_eq!(linked.cures(), [SECONDARY]);
}

#[test]
fn a_network_file_for_en_takes_pods_too() {
    let wide = || {
        networkd().cured(FOREIGN).cured(SECONDARY).file(
            "/etc/systemd/network/70-all.network",
            "[Match]\nName=en*\n[Network]\nDHCP=yes\n",
        )
    };
    assert_eq!(wide().cures(), [SECONDARY, PODS]);
    assert_eq!(wide().cured(PODS).cures(), [SECONDARY]);
}

#[test]
fn a_masked_network_file_takes_nothing() {
    let masked = networkd()
        .cured(FOREIGN)
        .file(
            "/usr/lib/systemd/network/80-ec2.network",
            "[Match]\nName=*\n",
        )
        .link("/etc/systemd/network/80-ec2.network", "/dev/null");
    assert!(masked.cures().is_empty());
}

#[test]
fn a_policy_for_macs_is_a_note_and_stands_behind_warnings() {
    let host = || {
        networkd().running(200, "systemd-udevd").file(
            "/usr/lib/systemd/network/99-default.link",
            "[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent\n",
        )
    };
    assert_eq!(host().cures(), [FOREIGN, MACS]);
    assert_eq!(host().cured(MACS).cures(), [FOREIGN]);
}

#[test]
fn networkmanager_takes_secondary_interfaces_until_it_is_told_not_to() {
    let host = || Fake::new().running(7, "NetworkManager");
    assert_eq!(host().cures(), [NETWORK_MANAGER]);
    assert!(host().cured(NETWORK_MANAGER).cures().is_empty());
    let other_words = host().file(
        "/etc/NetworkManager/conf.d/10-site.conf",
        "[device-site]\nmatch-device=type:ethernet,except:interface-name:eth0\nmanaged=0\n",
    );
    assert!(other_words.cures().is_empty());
    let not_enough = host().file(
        "/etc/NetworkManager/NetworkManager.conf",
        "[keyfile]\nunmanaged-devices=interface-name:eth1\n",
    );
    assert_eq!(not_enough.cures(), [NETWORK_MANAGER]);
}

#[test]
fn nm_cloud_setup_counts_when_it_is_enabled_for_ec2() {
    let enabled = || {
        Fake::new()
            .link(
                "/etc/systemd/system/timers.target.wants/nm-cloud-setup.timer",
                "../nm-cloud-setup.timer",
            )
            .file("/etc/systemd/system/nm-cloud-setup.timer", "[Timer]\n")
    };
    assert!(enabled().cures().is_empty());
    let for_ec2 = || {
        enabled().file(
            "/usr/lib/systemd/system/nm-cloud-setup.service.d/10-rh-enable-for-ec2.conf",
            "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=yes\n",
        )
    };
    assert_eq!(for_ec2().cures(), [CLOUD_SETUP]);
    assert!(for_ec2().cured(CLOUD_SETUP).cures().is_empty());
}

#[test]
fn cloud_init_counts_when_it_acts_on_new_interfaces_or_at_every_boot() {
    let plugged = Fake::new().file(
        "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules",
        "SUBSYSTEM==\"net\", RUN+=\"/usr/libexec/cloud-init/hook-hotplug\"\n",
    );
    assert_eq!(plugged.cures(), [CLOUD_INIT]);
    let booted = || {
        Fake::new()
            .file("/etc/cloud/cloud.cfg", "users: [default]\n")
            .file(
                "/etc/cloud/cloud.cfg.d/50-site.cfg",
                "updates:\n  network:\n    when: ['boot']\n",
            )
    };
    assert_eq!(booted().cures(), [CLOUD_INIT]);
    assert!(booted().cured(CLOUD_INIT).cures().is_empty());
}

#[test]
fn ec2_net_utils_of_both_generations_count_until_their_rules_are_hidden() {
    let host = || {
        Fake::new()
            .file(
                "/usr/lib/udev/rules.d/99-vpc-policy-routes.rules",
                "RUN+=\"/usr/bin/systemctl enable --now policy-routes@$name.service\"\n",
            )
            .file(
                "/usr/lib/udev/rules.d/53-ec2-network-interfaces.rules",
                "RUN+=\"/usr/bin/systemctl start ec2net-ifup@$env{INTERFACE}\"\n",
            )
    };
    assert_eq!(host().cures(), [POLICY_ROUTES, EC2_NET_UTILS]);
    assert_eq!(host().cured(POLICY_ROUTES).cures(), [EC2_NET_UTILS]);
    let empty = host().file("/etc/udev/rules.d/99-vpc-policy-routes.rules", "");
    assert_eq!(empty.cured(EC2_NET_UTILS).cures(), [] as [&str; 0]);
}

#[test]
fn firewalld_counts_when_it_runs() {
    assert_eq!(Fake::new().running(9, "firewalld").cures(), [FIREWALL]);
}

/// A host with every program that a file is shipped for, as images have them.
fn full() -> Fake {
    networkd()
        .running(7, "NetworkManager")
        .file("/usr/lib/systemd/systemd-networkd", "")
        .file("/usr/lib/systemd/systemd-udevd", "")
        .file("/usr/sbin/NetworkManager", "")
        .file(
            "/usr/lib/systemd/network/80-ec2.network",
            "[Match]\nDriver=ena ixgbevf vif\n[Network]\nDHCP=yes\n",
        )
        .file(
            "/usr/lib/systemd/network/85-wide.network",
            "[Match]\nName=en*\n[Network]\nDHCP=yes\n",
        )
        .file(
            "/usr/lib/systemd/system/nm-cloud-setup.service.d/10-rh-enable-for-ec2.conf",
            "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=yes\n",
        )
        .file("/usr/lib/systemd/system/nm-cloud-setup.service", "[Unit]\n")
        .file(
            "/etc/systemd/system/timers.target.wants/nm-cloud-setup.timer",
            "[Timer]\n",
        )
        .file("/etc/cloud/cloud.cfg", "users: [default]\n")
        .file(
            "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules",
            "SUBSYSTEM==\"net\", RUN+=\"/usr/libexec/cloud-init/hook-hotplug\"\n",
        )
        .file(
            "/usr/lib/udev/rules.d/99-vpc-policy-routes.rules",
            "RUN+=\"/usr/bin/systemctl enable --now policy-routes@$name.service\"\n",
        )
}

fn install(host: &Fake, further: &[&str]) -> String {
    let output = std::process::Command::new(shipped().join("install"))
        .arg("--root")
        .arg(host.root.path())
        .args(["--primary", "ens5"])
        .args(further)
        .output()
        .expect("the script can be executed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).expect("utf-8")
}

#[test]
fn the_installer_cures_all_that_is_found() {
    let host = full();
    let found = host.cures();
    let expected = [
        FOREIGN,
        SECONDARY,
        PODS,
        NETWORK_MANAGER,
        CLOUD_SETUP,
        CLOUD_INIT,
        POLICY_ROUTES,
    ];
    assert_eq!(found, expected);
    install(&host, &["--pretend"]);
    assert_eq!(host.cures(), expected, "only pretended");
    let said = install(&host, &[]);
    assert_eq!(host.cures(), [] as [&str; 0], "{said}");
    assert_eq!(
        install(&host, &[]).lines().count() + 1,
        said.lines().count()
    );
    let filled = host
        .root
        .path()
        .join("etc/systemd/network/75-veni-secondary.network");
    let filled = fs::read_to_string(filled).expect("made");
    assert!(filled.contains("Name=!ens5"), "{filled}");
}

#[test]
fn the_installer_leaves_a_host_alone_that_needs_nothing() {
    assert_eq!(install(&Fake::new(), &[]), "");
}

#[test]
fn every_cure_is_shipped_and_described() {
    let readme = fs::read_to_string(shipped().join("README.md")).expect("the page");
    let listed = fs::read_to_string(shipped().join("files")).expect("the list");
    let all = [
        FOREIGN,
        SECONDARY,
        PODS,
        MACS,
        NETWORK_MANAGER,
        CLOUD_SETUP,
        CLOUD_INIT,
        POLICY_ROUTES,
        EC2_NET_UTILS,
        FIREWALL,
    ];
    for cure in all {
        if let Some((page, section)) = cure.split_once('#') {
            assert_eq!(page, "README.md");
            assert!(readme.contains(&format!("## {section}\n")), "{cure}");
            continue;
        }
        assert!(shipped().join(cure).is_file(), "{cure}");
        assert!(readme.contains(&format!("| `{cure}` |")), "{cure}");
        let is_listed = listed
            .lines()
            .any(|line| line.starts_with(&format!("{cure} ")));
        assert!(is_listed, "{cure}");
    }
}
