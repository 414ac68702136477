//! The node itself: settings, the rules for all pods, marks and source NAT.

use netlink_packet_route::AddressFamily;

use super::host_ports::table::{self, MarksOfPods};
use super::link::{self, Link};
use super::main_table::{self, Primary};
use super::netlink::Mode;
use super::rule::{self, EXTERNAL_SERVICES, FORWARDED, FORWARDED_OTHERWISE, MARKED, Rule, TO_PODS};
use super::settings::{self, Setting};
use super::worker::Host;
use super::{inspect, interface, nft, others};
use crate::KernelError;
use crate::plan::{NodePlan, NodeReport, PRIMARY_TABLE, Repair, RepairKind};

/// What was loaded into nftables last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loaded {
    /// Marks and source NAT.
    own: LoadedTable,
    /// Ports of the node.
    host_ports: LoadedTable,
    /// Why these could not be loaded last, with the consequence.
    without_host_ports: Option<String>,
}

/// What was loaded into a table last, and how the kernel lists it.
#[derive(Debug, Clone, Default)]
struct LoadedTable {
    text: Option<String>,
    listed: Option<String>,
}

/// What does not work without forwarding.
const FORWARDING: &str = "the node forwards nothing: no pod reaches anybody outside of the node, \
                          and nobody reaches a pod";
/// What does not work while TCP packets are looked up by socket before they are routed.
const EARLY_DEMUX: &str = "the kubelet may not reach pods whose traffic enters by another \
                           interface than it leaves";

/// Makes the node ready; with a socket that compares, it tells what is to be made.
pub(crate) fn prepare(
    host: &mut Host,
    plan: &NodePlan,
    loaded: &mut Loaded,
) -> Result<NodeReport, KernelError> {
    let link = interface::find(&mut host.socket, plan.primary_mac)?;
    let primary = link.name.clone();
    let mut report = NodeReport {
        primary_link: primary.clone(),
        ..NodeReport::default()
    };
    let mode = host.socket.mode();
    forward(plan, &primary, mode, &mut report)?;
    optional(
        interface::loose_reverse_path(&primary, mode),
        "answers to node ports and to pods on other interfaces may be dropped",
        &mut report,
    );
    if plan.no_tcp_early_demux {
        optional(
            Setting::ipv4("tcp_early_demux").ensure("0", EARLY_DEMUX, mode),
            EARLY_DEMUX,
            &mut report,
        );
    }
    set_mtu(host, plan, &link, &mut report);
    make_rules(host, plan, &link, &mut report)?;
    let own = nft::table(plan, &primary);
    let marks = match own {
        Some(_) => MarksOfPods::Restored,
        None => MarksOfPods::NotRestored,
    };
    load(own, &mut loaded.own, mode, &mut report)?;
    let addresses = inspect::node_addresses(host)?;
    let ports = table::text(plan, &primary, &addresses, marks);
    let outcome = load_host_ports(ports, &mut loaded.host_ports, mode, &mut report);
    if mode == Mode::Make || outcome.is_err() {
        loaded.without_host_ports = outcome.err().map(|error| {
            format!("{error}; pods that ask for ports of the node (hostPort) are refused")
        });
    }
    let without = loaded.without_host_ports.iter().cloned();
    report.warnings.extend(without);
    // Pods need no warnings: the node is ready without, and what was repaired is told.
    match others::found(&mut host.socket, plan, &link, &families(plan)) {
        Ok(others) => {
            report.warnings.extend(others.warnings);
            report.foreign_rules = others.foreign_rules;
        }
        Err(error) => report.warnings.push(format!(
            "{error}; what others have set up against pods' packets could not be looked for, \
             and is with the next comparison"
        )),
    }
    Ok(report)
}

/// A setting that pods can do without: warned of, with its consequence, where it could
/// not be made.
fn optional(
    outcome: Result<Option<Repair>, settings::Unsettable>,
    consequence: &str,
    report: &mut NodeReport,
) {
    match outcome {
        Ok(repair) => report.repairs.extend(repair),
        Err(unsettable) => report.warnings.push(unsettable.warning(consequence)),
    }
}

/// Forwarding. Every pod needs it, so the node is not ready without it.
fn forward(
    plan: &NodePlan,
    primary: &str,
    mode: Mode,
    report: &mut NodeReport,
) -> Result<(), KernelError> {
    let [wants_v4, wants_v6] = wanted(plan);
    if wants_v4 {
        let forwarding = Setting::ipv4("ip_forward").ensure("1", FORWARDING, mode);
        let repair = forwarding.map_err(settings::Unsettable::into_error)?;
        report.repairs.extend(repair);
    }
    if !wants_v6 {
        return Ok(());
    }
    // A host that forwards ignores router advertisements, which may be where its
    // default route comes from, unless it is told otherwise first. 0 stays: then
    // a program in user space handles them.
    let accept = Setting::ipv6(&format!("conf/{primary}/accept_ra"));
    if accept.get().is_ok_and(|value| value == "1") {
        let breaks = "the node may lose its IPv6 default route";
        optional(accept.ensure("2", breaks, mode), breaks, report);
    }
    match Setting::ipv6("conf/all/forwarding").ensure("1", FORWARDING, mode) {
        Err(unsettable) if unsettable.missing() => {
            report
                .warnings
                .push(unsettable.warning("pods have no IPv6, because the node's kernel has none"));
            Ok(())
        }
        other => {
            let repair = other.map_err(settings::Unsettable::into_error)?;
            report.repairs.extend(repair);
            Ok(())
        }
    }
}

/// Whether pods send IPv4, and whether IPv6, be it by node-local addresses.
fn wanted(plan: &NodePlan) -> [bool; 2] {
    let egress = |v4: bool| plan.egress.is_some_and(|node| node.is_ipv4() == v4);
    [
        plan.node_v4.is_some() || egress(true),
        plan.node_v6.is_some() || egress(false),
    ]
}

/// The families that pods send and the node's kernel has.
fn families(plan: &NodePlan) -> Vec<AddressFamily> {
    let [wants_v4, wants_v6] = wanted(plan);
    let mut families = Vec::new();
    if wants_v4 {
        families.push(AddressFamily::Inet);
    }
    if wants_v6 && settings::has_ipv6() {
        families.push(AddressFamily::Inet6);
    }
    families
}

/// The primary interface's MTU. Pods work with another one, if not as fast as they could
/// or not with packets as large as theirs.
fn set_mtu(host: &mut Host, plan: &NodePlan, primary: &Link, report: &mut NodeReport) {
    let Some(mtu) = plan.primary_mtu.filter(|mtu| *mtu != primary.mtu) else {
        return;
    };
    let change = link::mtu(primary.index, &primary.name, mtu);
    let present = primary.mtu;
    if let Err(refused) = host.socket.apply(vec![change]) {
        report.warnings.push(format!(
            "{}; it stays {present}, and larger packets of pods do not pass: set \
             AWS_VPC_ENI_MTU to what the interface carries",
            KernelError::from(refused)
        ));
        return;
    }
    report.repairs.push(Repair::new(
        RepairKind::Link,
        format!("MTU of {}", primary.name),
        format!("{present} instead of {mtu}"),
        interface::MTU_BREAKS,
    ));
}

/// The node's own rules, and the table that one of them looks up.
fn make_rules(
    host: &mut Host,
    plan: &NodePlan,
    primary: &Link,
    report: &mut NodeReport,
) -> Result<(), KernelError> {
    let rules = rules(plan);
    let mut families: Vec<AddressFamily> = rules.iter().map(|rule| rule.family).collect();
    families.dedup();
    let way_out = Primary {
        link_index: primary.index,
        gateways: &plan.primary_gateways,
    };
    match main_table::ensure_copies(&mut host.socket, &families, &way_out) {
        // Others change the main table, and the copies follow: only one who compares is
        // told that they do not agree.
        Ok(differed) if differed > 0 && host.socket.mode() == Mode::Compare => {
            report.repairs.push(Repair::new(
                RepairKind::Route,
                format!("table {PRIMARY_TABLE}, which copies the main table's routes for pods,"),
                format!("different from it in {differed} routes"),
                "what pods send may be lost where the main table has routes by secondary \
                 interfaces",
            ));
        }
        Ok(_) => {}
        Err(error) => report.warnings.push(format!(
            "{error}; where others have routes by secondary interfaces in the main table, \
             packets of pods may leave by these and be lost"
        )),
    }
    let repairs = rule::ensure_rules(&mut host.socket, &rules, |rule| {
        matches!(
            rule.priority,
            TO_PODS | MARKED | EXTERNAL_SERVICES | FORWARDED | FORWARDED_OTHERWISE
        )
    })?;
    report.repairs.extend(repairs);
    Ok(())
}

/// In the order that they are made in: what a rule goes to is there before it.
fn rules(plan: &NodePlan) -> Vec<Rule> {
    let pods = families(plan);
    let mut services: Vec<Rule> = Vec::new();
    for range in &plan.external_services {
        let rule = Rule::to_external_service(range.trunc());
        let possible = rule.family == AddressFamily::Inet || settings::has_ipv6();
        if possible && !services.contains(&rule) {
            services.push(rule);
        }
    }
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut services = services
            .iter()
            .filter(|rule| rule.family == family)
            .peekable();
        if pods.contains(&family) || services.peek().is_some() {
            rules.extend(Rule::of_forwarded(family));
        }
        if pods.contains(&family) {
            rules.push(Rule::to_pods(family));
            rules.push(Rule::marked(family, plan.mark));
        }
        rules.extend(services);
    }
    rules
}

/// Loads our table when it changed, here or in the kernel.
fn load(
    wanted: Option<String>,
    loaded: &mut LoadedTable,
    mode: Mode,
    report: &mut NodeReport,
) -> Result<(), KernelError> {
    let Some(text) = wanted else {
        if mode == Mode::Compare {
            return Ok(()); // one that is not wanted any more harms nobody
        }
        return match nft::load(&nft::replace()) {
            // Without the program nothing of ours can be there.
            Err(error) if !nft::is_missing(&error) => Err(error),
            _ => {
                *loaded = LoadedTable::default();
                Ok(())
            }
        };
    };
    if loaded.text.as_ref() == Some(&text) {
        if loaded.listed.is_some() && nft::listed(nft::TABLE) == loaded.listed {
            return Ok(());
        }
        report.repairs.push(Repair::new(
            RepairKind::Nftables,
            format!("nftables table {}", nft::TABLE),
            "changed by another program",
            "what pods send out of the network keeps its address and is dropped, or leaves by \
             the wrong interface; node ports may not answer; pods may reach instance metadata \
             where that is closed to them",
        ));
    }
    if mode == Mode::Compare {
        return Ok(());
    }
    nft::load(&text)?;
    loaded.text = Some(text);
    loaded.listed = nft::listed(nft::TABLE);
    Ok(())
}

/// Likewise the table for ports of the node. Its elements are endpoints': they are neither
/// compared nor replaced, unless others have declared its maps otherwise, or have put more
/// into it than a text can take out.
fn load_host_ports(
    text: String,
    loaded: &mut LoadedTable,
    mode: Mode,
    report: &mut NodeReport,
) -> Result<(), KernelError> {
    let same = loaded.text.as_ref() == Some(&text);
    if same {
        if loaded.listed.is_some() && nft::listed(table::TABLE) == loaded.listed {
            return Ok(());
        }
        report.repairs.push(Repair::new(
            RepairKind::Nftables,
            format!("nftables table {}", table::TABLE),
            "changed by another program",
            "ports of the node (hostPort) may not lead to their pods",
        ));
    }
    if mode == Mode::Compare {
        return Ok(());
    }
    let updated = nft::load(&text);
    // Without a listing of before nobody knows that it differs, and to make it anew takes all
    // pods' ports away for a moment.
    let comparable = same && loaded.listed.is_some();
    if updated.is_err() || comparable && nft::listed(table::TABLE) != loaded.listed {
        nft::load(&table::anew(&text))?;
    }
    loaded.text = Some(text);
    loaded.listed = nft::listed(table::TABLE);
    Ok(())
}
