//! The node itself: settings, the rules for all pods, marks and source NAT.

use netlink_packet_route::AddressFamily;

use super::link::{self, Link};
use super::main_table::{self, Primary};
use super::rule::{self, EXTERNAL_SERVICES, FORWARDED, FORWARDED_OTHERWISE, MARKED, Rule, TO_PODS};
use super::settings::{self, Setting};
use super::worker::Host;
use super::{interface, nft, others};
use crate::KernelError;
use crate::plan::{NodePlan, NodeReport, Repair, RepairKind};

/// What was loaded into nftables last, and how the kernel lists it.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    text: Option<String>,
    listed: Option<String>,
}

/// Makes the node ready.
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
    forward(plan, &primary, &mut report)?;
    settled(
        interface::loose_reverse_path(&primary),
        "answers to node ports and to pods on other interfaces may be dropped",
        &mut report,
    );
    if plan.no_tcp_early_demux {
        settled(
            Setting::ipv4("tcp_early_demux").ensure("0"),
            "the kubelet may not reach pods whose traffic enters by another interface than it leaves",
            &mut report,
        );
    }
    set_mtu(host, plan, &link, &mut report);
    make_rules(host, plan, &link, &mut report)?;
    load(nft::table(plan, &primary), loaded, &mut report)?;
    let others = others::warnings(&mut host.socket, plan, &link, &families(plan));
    // Pods need no warnings: the node is ready without, and what was repaired is told.
    report.warnings.extend(others.unwrap_or_else(|error| {
        vec![format!(
            "{error}; what others have set up against pods' packets could not be looked for, \
             and is with the next comparison"
        )]
    }));
    Ok(report)
}

/// A setting that pods can do without: warned of, with its consequence, where it could
/// not be made.
fn settled(
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
fn forward(plan: &NodePlan, primary: &str, report: &mut NodeReport) -> Result<(), KernelError> {
    let [wants_v4, wants_v6] = wanted(plan);
    if wants_v4 {
        let forwarding = Setting::ipv4("ip_forward").ensure("1");
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
        let outcome = accept.ensure("2");
        settled(outcome, "the node may lose its IPv6 default route", report);
    }
    match Setting::ipv6("conf/all/forwarding").ensure("1") {
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
    let what = format!("MTU of {} was {present} instead of {mtu}", primary.name);
    report.repairs.push(Repair::new(RepairKind::Link, what));
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
    if let Err(error) = main_table::settle(&mut host.socket, &families, &way_out) {
        report.warnings.push(format!(
            "{error}; where others have routes by secondary interfaces in the main table, \
             packets of pods may leave by these and be lost"
        ));
    }
    let settled = rule::settle(&mut host.socket, &rules, |rule| {
        matches!(
            rule.priority,
            TO_PODS | MARKED | EXTERNAL_SERVICES | FORWARDED | FORWARDED_OTHERWISE
        )
    })?;
    report.repairs.extend(settled);
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
            if plan.source_nat || plan.node_ports {
                rules.push(Rule::marked(family, plan.mark));
            }
        }
        rules.extend(services);
    }
    rules
}

/// Loads our table when it changed, here or in the kernel.
fn load(
    wanted: Option<String>,
    loaded: &mut Loaded,
    report: &mut NodeReport,
) -> Result<(), KernelError> {
    let Some(text) = wanted else {
        return match nft::load(&nft::replace()) {
            // Without the program nothing of ours can be there.
            Err(error) if !nft::is_missing(&error) => Err(error),
            _ => {
                loaded.text = None;
                loaded.listed = None;
                Ok(())
            }
        };
    };
    if loaded.text.as_ref() == Some(&text) {
        if loaded.listed.is_some() && nft::listed() == loaded.listed {
            return Ok(());
        }
        let what = format!(
            "nftables table {} had been changed by another program",
            nft::TABLE
        );
        report.repairs.push(Repair::new(RepairKind::Nftables, what));
    }
    nft::load(&text)?;
    loaded.text = Some(text);
    loaded.listed = nft::listed();
    Ok(())
}
