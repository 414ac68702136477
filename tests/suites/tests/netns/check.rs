//! `veni check` on a real node: each kind of difference, planted by hand, is named with what
//! it breaks and its cure, and is gone from the answer once it is mended.
//!
//! What the daemon mends at once cannot be seen by a later question. So the test first
//! contests it until the daemon leaves it alone for a while, as a program would that keeps
//! changing it. The slow audit is switched off.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use veni_provider::{AddressSlots, ErrorClass, Family, Provider};
use veni_testbed::cloudlab::enter;
use veni_testbed::cloudlab::mock::{Fault, FaultKind};
use veni_testbed::kernel;
use veni_testbed::{Bed, BedConfig, TestPod, binaries, eventually};

/// What `veni check` has answered.
#[derive(Debug)]
pub(super) struct Answer {
    code: i32,
    json: Value,
}

impl Answer {
    fn of(&self, field: &str) -> Vec<String> {
        let all = self.json[field].as_array().cloned().unwrap_or_default();
        let text = |one: &Value| {
            let part = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            format!(
                "{}: {} | {} | {}",
                part("kind"),
                part("what"),
                part("breaks"),
                part("cure")
            )
        };
        all.iter().map(text).collect()
    }

    pub(super) fn findings(&self) -> Vec<String> {
        self.of("findings")
    }

    /// Fails unless nothing differs.
    pub(super) fn sound(&self, when: &str) {
        assert_eq!(self.findings(), Vec::<String>::new(), "{when}");
        assert_eq!(self.code, 0, "{when}: {self:?}");
    }

    /// The finding with these words; no other kind of thing may differ.
    pub(super) fn names(&self, kind: &str, words: &str) -> &Self {
        let found = self.findings();
        assert!(
            found
                .iter()
                .all(|one| one.starts_with(&format!("{kind}: "))),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|one| one.contains(words)),
            "{words} in {found:#?}"
        );
        assert_eq!(self.code, 1);
        self
    }
}

async fn veni(bed: &Bed, arguments: &[&str]) -> (i32, String) {
    let mut command = bed.exec(0, binaries::veni());
    command.args(arguments);
    command.arg("--run-dir").arg(bed.daemon(0).run_dir());
    let output = command.output().await.expect("veni runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code().expect("it ends by itself"), text)
}

/// What `veni check` answers on the first node.
pub(super) async fn check(bed: &Bed, further: &[&str]) -> Answer {
    let mut arguments = vec!["check", "--json"];
    arguments.extend(further);
    let (code, text) = veni(bed, &arguments).await;
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Answer { code, json }
}

/// A node with pods on its primary interface and on a second one.
async fn bed() -> (Bed, Vec<TestPod>) {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("MAX_ENI", "2")
        .set("WARM_IP_TARGET", "1")
        .set("VENI_AUDIT_INTERVAL", "3600");
    let bed = Bed::start(config).await;
    let mut pods = Vec::new();
    for number in 1..=4 {
        pods.push(bed.running(0, &format!("p{number}")).await.0);
    }
    eventually("a sound node with two interfaces", async || {
        let answer = check(&bed, &[]).await;
        match (answer.code, answer.json["interfaces"].as_u64()) {
            (0, Some(2)) => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    (bed, pods)
}

async fn set(node: &Path, name: &str, value: &'static str) {
    let path = format!("/proc/sys/net/{name}");
    let written = enter(node, move || std::fs::write(path, value)).await;
    written.expect("a setting");
}

/// Carries out `ip …`, `nft …` or `NAME=VALUE` of a setting on the node.
async fn carry_out(node: &Path, line: &'static str) {
    if let Some((name, value)) = line.split_once('=') {
        return set(node, name, value).await;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let ran = kernel::run(node, words[0], &words[1..]).await;
    ran.unwrap_or_else(|error| panic!("{line}: {error}"));
}

/// How many events of repairs have these words, as the daemon remembers them.
async fn repairs(bed: &Bed, words: &str) -> usize {
    let (_, text) = veni(bed, &["events", "--json"]).await;
    let repairs = text.lines().filter(|line| line.contains("\"repair\""));
    repairs.filter(|line| line.contains(words)).count()
}

/// What the daemon says once when it begins to leave a kind of thing alone.
const BACKED_OFF: &str = "somebody else on the node keeps changing";

/// Changes a thing of the daemon's again and again, until the daemon leaves it alone.
async fn contest(bed: &Bed, line: &'static str) {
    let node = bed.node(0).to_owned();
    let backed_off = repairs(bed, BACKED_OFF).await;
    while repairs(bed, BACKED_OFF).await == backed_off {
        let before = repairs(bed, "").await;
        carry_out(&node, line).await;
        eventually("its repair", async || {
            match repairs(bed, "").await > before {
                true => Ok(()),
                false => Err(line),
            }
        })
        .await;
    }
}

/// What a check finds when a thing is changed that the daemon leaves alone for a while, and
/// what `veni check --repair` then answers. On a busy machine that while may be over before
/// either of them: the daemon has then repaired the thing and told so, which the answer's
/// silence must be due to, and leaves it alone for longer.
async fn planted_and_mended(bed: &Bed, line: &'static str) -> (Answer, Answer) {
    contest(bed, line).await;
    loop {
        let before = repairs(bed, "").await;
        carry_out(bed.node(0), line).await;
        let found = check(bed, &["--no-cloud"]).await;
        let mended = check(bed, &["--repair"]).await;
        if !found.findings().is_empty() && !mended.of("mended").is_empty() {
            return (found, mended);
        }
        eventually("the daemon's own repair", async || {
            match repairs(bed, "").await > before {
                true => Ok(()),
                false => Err(format!("{line}: {found:?}, {mended:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_the_daemon_makes_is_named_when_it_is_not_as_it_was_made_and_repaired_on_demand() {
    let (bed, pods) = bed().await;
    check(&bed, &[]).await.sound("before anything is planted");
    for (line, kind, words) in [
        (
            "ip rule del priority 512",
            "rule",
            "rule 512 from all lookup 22016 is missing",
        ),
        (
            "nft delete table inet veni",
            "nftables",
            "inet veni is changed",
        ),
        (
            "ipv4/ip_forward=0",
            "setting",
            "ip_forward is 0 instead of 1",
        ),
        ("ip route flush table 22016", "pod-route", "is missing"),
        ("ip route flush table 22033", "route", "route 0.0.0.0/0 via"),
        ("ip link set eth1 mtu 1400", "link", "MTU of eth1 is 1400"),
    ] {
        let (found, mended) = planted_and_mended(&bed, line).await;
        found.names(kind, words);
        let one = &found.findings()[0];
        assert!(one.contains("veni check --repair"), "its cure: {one}");
        assert!(one.split(" | ").all(|part| !part.is_empty()), "{one}");
        mended.sound(line);
        let told = mended.of("mended");
        assert!(
            told.iter().any(|one| one.contains(words)),
            "{line}: {told:?}"
        );
        check(&bed, &[]).await.sound(line);
    }
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn a_source_rule_that_is_gone_is_named_by_the_addresses_that_it_was_for() {
    let (bed, _pods) = bed().await;
    let node = bed.node(0).to_owned();
    let rules = kernel::rules(&node).await;
    let rule = rules.iter().find(|rule| rule.priority == 1536);
    let source = rule.and_then(|rule| rule.source).expect("a rule of eth1");
    let line: &'static str = format!("ip rule del from {source} priority 1536").leak();
    let (found, mended) = planted_and_mended(&bed, line).await;
    found.names(
        "rule",
        &format!("rule 1536 from {source} lookup 22033 is missing"),
    );
    mended.sound("mended");
    bed.end().await;
}

#[tokio::test]
async fn what_belongs_to_others_is_named_and_left_alone() {
    let (bed, pods) = bed().await;
    let node = bed.node(0).to_owned();
    for (plant, kind, words, cure) in [
        (
            "ip rule add priority 512 from all to 10.9.9.9 lookup main",
            "foreign-rule",
            "512: from all to 10.9.9.9/32",
            "ip rule del priority 512 from all to 10.9.9.9/32 lookup 254",
        ),
        (
            "nft add table ip theirs { chain forward { type filter hook forward priority 0; policy drop; }; }",
            "node",
            "chain forward of nftables' table ip theirs",
            "nft delete table ip theirs",
        ),
        (
            "ip route add 10.9.9.9 dev eth0 table 22016 proto 86",
            "orphan",
            "route to 10.9.9.9 in the pods' table belongs to no endpoint",
            "ip route del 10.9.9.9 table 22016",
        ),
    ] {
        carry_out(&node, plant).await;
        check(&bed, &[]).await.names(kind, words);
        let still = check(&bed, &["--repair"]).await;
        still.names(kind, words);
        carry_out(&node, cure).await;
        check(&bed, &[]).await.sound(cure);
    }
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn an_endpoint_whose_link_is_gone_or_changed_is_named() {
    let (bed, pods) = bed().await;
    let node = bed.node(0).to_owned();
    let links = kernel::links(&node).await;
    let mut of_pods = links.iter().filter(|link| link.group == kernel::POD_GROUP);
    let (one, other) = (
        of_pods.next().expect("a pod"),
        of_pods.next().expect("a pod"),
    );
    let shown = kernel::ip_json(&node, &["link", "show", "dev", &one.name]).await;
    let mtu = shown[0]["mtu"].clone();
    kernel::ip(&node, &format!("link set {} mtu 1300", one.name)).await;
    let found = check(&bed, &[]).await;
    found.names("pod-link", &format!("MTU of {} is 1300", one.name));
    let cure = format!("ip link set dev {} mtu", one.name);
    assert!(found.findings()[0].contains(&cure), "{found:?}");
    kernel::ip(&node, &format!("link set {} mtu {mtu}", one.name)).await;
    check(&bed, &[]).await.sound("its MTU is back");
    kernel::ip(&node, &format!("link del {}", other.name)).await;
    let found = check(&bed, &["--no-cloud"]).await;
    found.names("pod-link", &format!("its link {} is gone", other.name));
    check(&bed, &["--repair"]).await.sound("it was released");
    drop(pods);
    bed.end().await;
}

#[tokio::test]
async fn an_interface_whose_mac_another_program_changed_has_no_link() {
    let (bed, _pods) = bed().await;
    let node = bed.node(0).to_owned();
    let links = kernel::links(&node).await;
    let eth1 = links.iter().find(|link| link.name == "eth1").expect("eth1");
    let mac = eth1.address.clone();
    kernel::ip(&node, "link set eth1 address 02:00:00:00:99:99").await;
    eventually("the finding", async || {
        let found = check(&bed, &["--no-cloud"]).await.findings();
        match found
            .iter()
            .any(|one| one.starts_with("interface: ") && one.contains(&mac))
        {
            true => Ok(()),
            false => Err(format!("{found:#?}")),
        }
    })
    .await;
    kernel::ip(&node, &format!("link set eth1 address {mac}")).await;
    eventually("a sound node", async || match check(&bed, &[]).await {
        answer if answer.code == 0 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    bed.end().await;
}

#[tokio::test]
async fn an_address_of_the_pool_on_the_node_is_named_until_it_is_gone() {
    let (bed, _pods) = bed().await;
    let node = bed.node(0).to_owned();
    let rules = kernel::rules(&node).await;
    let mut sources = rules.iter().filter(|rule| rule.priority == 1536);
    let source = sources
        .find_map(|rule| rule.source)
        .expect("an address of eth1");
    kernel::ip(&node, &format!("address add {} dev eth0", source.addr())).await;
    eventually("the finding", async || {
        let found = check(&bed, &["--no-cloud"]).await.findings();
        let address = source.addr().to_string();
        match found
            .iter()
            .any(|one| one.starts_with("node-address: ") && one.contains(&address))
        {
            true => Ok(()),
            false => Err(format!("{found:#?}")),
        }
    })
    .await;
    kernel::ip(&node, &format!("address del {}/32 dev eth0", source.addr())).await;
    eventually("a sound node", async || match check(&bed, &[]).await {
        answer if answer.code == 0 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    bed.end().await;
}

#[tokio::test]
async fn a_journal_entry_that_somebody_removed_is_written_again() {
    let (bed, _pods) = bed().await;
    let folder = bed.daemon(0).run_dir().join("journal/endpoints");
    let entry = std::fs::read_dir(&folder).expect("the journal").next();
    let entry = entry.expect("an entry").expect("an entry").path();
    std::fs::remove_file(&entry).expect("removed");
    check(&bed, &[])
        .await
        .names("journal", "has no entry in the journal");
    check(&bed, &["--repair"]).await.sound("it is written");
    assert!(entry.exists(), "a restart will find it");
    bed.end().await;
}

#[tokio::test]
async fn what_the_cloud_has_otherwise_is_named_and_taken_in_on_demand() {
    let (bed, _pods) = bed().await;
    let lab = bed.lab();
    let provider = lab.cloud().provider(lab.node(0).instance_id());
    let inventory = provider.inventory().await.expect("the inventory");
    let mut interfaces = inventory.interfaces.iter();
    let with_room = interfaces
        .find(|one| one.addresses.len() < 3)
        .expect("room");
    let interface = with_room.id.clone();
    let slots = AddressSlots::Addresses {
        family: Family::V4,
        count: 1,
    };
    let granted = provider.assign(&interface, slots).await;
    let granted = granted
        .expect("an address behind the daemon's back")
        .addresses[0];
    let found = check(&bed, &[]).await;
    found.names(
        "cloud",
        &format!("the cloud lists {granted}/32 on {interface}"),
    );
    assert_eq!(
        check(&bed, &["--no-cloud"]).await.code,
        0,
        "it was not asked"
    );
    check(&bed, &["--repair"]).await.sound("the pool knows it");
    lab.cloud().inject(Fault::always(FaultKind::Error {
        class: ErrorClass::Transient,
        reason: "the cloud is away".to_owned(),
    }));
    let away = check(&bed, &[]).await;
    assert_eq!((away.code, away.findings()), (2, Vec::new()), "{away:?}");
    assert!(
        away.json["unchecked"][0]
            .as_str()
            .is_some_and(|one| one.contains("is away"))
    );
    lab.cloud().clear_faults();
    bed.end().await;
}

#[tokio::test]
async fn without_its_daemon_a_node_tells_what_can_be_seen() {
    let (bed, pods) = bed().await;
    bed.daemon(0).kill().await;
    let (code, text) = veni(&bed, &["check"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("is ipamd running on this node?"), "{text}");
    assert!(
        text.contains("the journal has 4 endpoints; 4 of them run and have their link"),
        "{text}"
    );
    drop(pods);
    bed.end().await;
}

/// A thousand pods take far longer to make than the lane has time for; docs/performance.md
/// has that figure, measured by hand. What a check costs grows with pods by two dumps and the journal's files.
#[tokio::test]
async fn a_check_takes_a_fraction_of_a_second() {
    let (bed, _pods) = bed().await;
    let began = Instant::now();
    check(&bed, &[]).await.sound("nothing was planted");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let (code, text) = veni(&bed, &["check"]).await;
    assert_eq!(code, 0);
    assert!(
        text.starts_with("nothing differs: 4 endpoints, 2 interfaces"),
        "{text}"
    );
    bed.end().await;
}
