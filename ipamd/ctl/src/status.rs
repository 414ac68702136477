//! `veni status`: asks the node's daemon and prints its answers.

mod json;
mod levels;
mod limits;
mod watch;

use clap::Args;
use tonic::{Response, Status};
use veni_api::v1::{
    Endpoint, EndpointsRequest, EndpointsResponse, PlanRequest, PlanResponse, PoolRequest,
    PoolResponse,
};

use crate::daemon::{DaemonArguments, connect, refused};
use crate::interrupt::until_interrupted;
use crate::table::{render, render_within, table_width};
pub(crate) use json::endpoint_json;
use levels::Levels;
pub(crate) use levels::PoolLevels;
use veni_terminal::output::write_json;
use veni_terminal::{print, printable};

/// What to ask, and whom.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Show what the planner would do now, and why
    #[arg(long)]
    explain: bool,
    /// Draw it again when something has changed, at most once a second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// A daemon's answers.
pub(crate) struct Report {
    pub(crate) pool: PoolResponse,
    pub(crate) endpoints: EndpointsResponse,
    pub(crate) plan: PlanResponse,
}

pub(crate) async fn run(arguments: StatusArguments) -> anyhow::Result<()> {
    let StatusArguments {
        daemon,
        json,
        explain,
        watch,
    } = arguments;
    if watch {
        let text_of = |report: &Report| match json {
            true => Ok(format!(
                "{}\n",
                printable::json(&report.as_json().to_string())
            )),
            false => Ok(report.within(explain, table_width())),
        };
        let watched = until_interrupted(watch::watch(&daemon, text_of)).await;
        return watched.unwrap_or(Ok(()));
    }
    let report = Report::fetch(&daemon.socket()).await?;
    if json {
        write_json(&serde_json::to_string_pretty(&report.as_json())?);
    } else {
        print!("{}", report.within(explain, table_width()));
    }
    Ok(())
}

impl Report {
    /// Asks the daemon behind a socket.
    pub(crate) async fn fetch(socket: &std::path::Path) -> anyhow::Result<Self> {
        let mut client = connect(socket).await?;
        let pool = client.pool(PoolRequest {}).await;
        let endpoints = client.endpoints(EndpointsRequest {}).await;
        let plan = client.plan(PlanRequest {}).await;
        Ok(Self {
            pool: answered(pool, "its pool")?,
            endpoints: answered(endpoints, "its endpoints")?,
            plan: answered(plan, "its plan")?,
        })
    }

    pub(crate) fn as_text(&self, explain: bool) -> String {
        self.within(explain, None)
    }

    /// The same, with tables of so many columns where a number is given.
    fn within(&self, explain: bool, width: Option<usize>) -> String {
        let width = width.map(|width| width - INDENT);
        let mut text = summary(&self.pool, &self.plan.held_back);
        text.push_str("\nInterfaces\n");
        text.push_str(&indented(&interfaces(&self.pool, width)));
        text.push_str("\nSubnets\n");
        text.push_str(&indented(&subnets(&self.pool)));
        text.push_str("\nEndpoints\n");
        if self.endpoints.endpoints.is_empty() {
            text.push_str("  none\n");
        } else {
            let table = endpoints_table(&self.endpoints.endpoints, width);
            text.push_str(&indented(&table));
        }
        if explain {
            text.push_str("\nPlan\n");
            text.push_str(&plan(&self.plan));
        }
        text
    }
}

fn answered<T>(answer: Result<Response<T>, Status>, what: &str) -> anyhow::Result<T> {
    let answer = answer.map_err(|status| refused(status, what))?;
    Ok(answer.into_inner())
}

/// Joins lines into a text. Names in a line cannot break it into two.
fn text_of(lines: impl IntoIterator<Item = String>) -> String {
    let ended = |line: String| format!("{}\n", printable::line(&line));
    lines.into_iter().map(ended).collect()
}

/// Columns in front of a table.
const INDENT: usize = 2;

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The node and its pool. Whatever holds the pool back comes first.
fn summary(pool: &PoolResponse, held_back: &[String]) -> String {
    let node = if pool.node_name.is_empty() {
        pool.node.clone()
    } else {
        format!("{}, {}", pool.node_name, pool.node)
    };
    let mut lines = vec![format!(
        "{node} ({}, {}), veni {}",
        pool.instance_type, pool.provider, pool.daemon_version
    )];
    lines.extend(held_back.iter().map(|one| format!("Held back: {one}")));
    let PoolLevels { free, total, .. } = PoolLevels::of(pool);
    lines.push(format!(
        "Pool: {free} free, {} assigned, {} cooling, {total} in all; {} waiting; at most {} pods",
        pool.assigned, pool.cooling, pool.waiting, pool.max_pods
    ));
    lines.push(format!("Targets: {}", pool.targets.join(" ")));
    let last = match pool.cloud_error.as_str() {
        "" => "the last one answered".to_owned(),
        error => format!("the last one failed: {error}"),
    };
    lines.push(format!("Cloud: {} calls, {last}", pool.cloud_calls));
    if !pool.log_level.is_empty() {
        let in_force = &pool.log_level;
        lines.push(format!(
            "Log: {in_force}, which is not the configured level; back to it: veni log-level --reset"
        ));
    }
    lines.extend(pool.host_warnings.iter().map(|one| format!("Host: {one}")));
    text_of(lines)
}

fn interfaces(pool: &PoolResponse, width: Option<usize>) -> String {
    let headings = [
        "id",
        "link",
        "state",
        "subnet",
        "own address",
        ">slots",
        ">prefixes",
        ">free",
        ">assigned",
        ">cooling",
    ];
    let ipv4 = PoolLevels::of(pool).ipv4;
    let rows = pool.interfaces.iter().map(|one| {
        let levels = Levels::of(one);
        let shown = levels.shown(ipv4);
        let link = match one.link.as_str() {
            "" if one.state == "attaching" => "not yet there",
            "" => "none",
            link => link,
        };
        let state = match one {
            one if one.primary => format!("{}, primary", one.state),
            one if one.network_card > 0 => {
                format!("{}, network card {}", one.state, one.network_card)
            }
            one => one.state.clone(),
        };
        vec![
            one.id.clone(),
            link.to_owned(),
            state,
            one.subnet.clone(),
            one.primary_address.clone(),
            format!("{}/{}", one.slots_used, one.slots),
            one.prefixes.len().to_string(),
            levels.free(ipv4),
            shown.assigned.to_string(),
            shown.cooling.to_string(),
        ]
    });
    let mut text = render_within(&headings, rows, width);
    let elsewhere = pool.interfaces.iter().filter(|one| one.network_card > 0);
    let elsewhere = elsewhere.count();
    text.push_str(&format!(
        "{} of at most {}\n",
        pool.interfaces.len() - elsewhere,
        pool.max_interfaces
    ));
    if elsewhere > 0 {
        text.push_str(&format!(
            "{elsewhere} more on other network cards, which serve no pods\n"
        ));
    }
    text
}

fn subnets(pool: &PoolResponse) -> String {
    let rows = pool.subnets.iter().map(|one| {
        let note = if one.exhausted.is_empty() {
            String::new()
        } else {
            let (why, wait) = (&one.exhausted, one.retry_seconds);
            format!("{why}; tried again in {wait} s (up to a tenth sooner than set, at random)")
        };
        vec![
            one.id.clone(),
            one.cidr.clone(),
            one.free_addresses.to_string(),
            age(one.age_seconds),
            note,
        ]
    });
    render(&["id", "range", ">free", ">as of", "set aside"], rows)
}

/// How long ago the cloud answered.
fn age(seconds: Option<u32>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(seconds @ 0..=119) => format!("{seconds} s ago"),
        Some(seconds) => format!("{} min ago", seconds / 60),
    }
}

/// `namespace/name` of the pod, or the container's id.
pub(crate) fn owner(endpoint: &Endpoint) -> String {
    match (&endpoint.pod, &endpoint.attachment) {
        (Some(pod), _) if !pod.name.is_empty() => format!("{}/{}", pod.namespace, pod.name),
        (_, Some(attachment)) => attachment.container_id.chars().take(12).collect(),
        (_, None) => "unknown".to_owned(),
    }
}

/// Name of the interface in the pod, which may have several.
fn interface(endpoint: &Endpoint) -> String {
    let attachment = endpoint.attachment.as_ref();
    attachment.map_or_else(String::new, |one| one.interface_name.clone())
}

fn milliseconds(micros: u64) -> String {
    // The ADD is still under way, or an earlier daemon did it and its time is lost.
    if micros == 0 {
        return "–".to_owned();
    }
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// The endpoints in lines of so many columns, where a number is given.
pub(crate) fn endpoints_table(all: &[Endpoint], width: Option<usize>) -> String {
    let headings = [
        "pod",
        "interface",
        "addresses",
        "host link",
        "cloud interface",
        "state",
        ">add took",
        ">of it waited",
        "limits",
    ];
    // Most nodes have no pod with limits, and lines are long enough.
    let limited = all.iter().any(|one| one.bandwidth.is_some());
    let columns = headings.len() - usize::from(!limited);
    let rows = all.iter().map(|one| {
        let mut row = vec![
            owner(one),
            interface(one),
            one.addresses.join(" "),
            one.host_interface.clone(),
            one.cloud_interface.clone(),
            one.state.clone(),
            milliseconds(one.add_micros),
            milliseconds(one.waited_micros),
            limits::text(one.bandwidth.as_ref()),
        ];
        row.truncate(columns);
        row
    });
    render_within(&headings[..columns], rows, width)
}

fn plan(plan: &PlanResponse) -> String {
    let held_back = plan.held_back.iter();
    let mut lines: Vec<String> = held_back.map(|one| format!("  held back: {one}")).collect();
    for action in &plan.actions {
        let now = if action.in_flight { " (under way)" } else { "" };
        lines.push(format!("  {}{now}", action.action));
        lines.push(format!("    because {}", action.reason));
    }
    if plan.actions.is_empty() && plan.held_back.is_empty() {
        lines.push("  nothing to do".to_owned());
    }
    lines.extend(plan.notes.iter().map(|note| format!("  {note}")));
    text_of(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::width_of;

    #[test]
    fn a_time_that_is_not_known_is_no_time_of_zero() {
        assert_eq!(milliseconds(23_940), "23.9 ms");
        assert_eq!(milliseconds(0), "–");
    }

    use veni_api::v1::{PlanAction, PoolAddress, PoolInterface, PoolPrefix};

    fn report() -> Report {
        let address = |text: &str, state: &str| PoolAddress {
            address: text.to_owned(),
            state: state.to_owned(),
            ..PoolAddress::default()
        };
        let interface = PoolInterface {
            id: "eni-1".to_owned(),
            link: "eth0".to_owned(),
            primary: true,
            state: "attached".to_owned(),
            slots: 9,
            slots_used: 3,
            addresses: vec![address("10.0.0.5", "free"), address("10.0.0.6", "assigned")],
            prefixes: vec![PoolPrefix {
                prefix: "10.0.1.0/28".to_owned(),
                free: 15,
                cooling: 1,
                ..PoolPrefix::default()
            }],
            ..PoolInterface::default()
        };
        let action = PlanAction {
            action: "assign 3 addresses to eni-1".to_owned(),
            reason: "need 3 more: 3 to restore WARM_IP_TARGET=5".to_owned(),
            in_flight: true,
        };
        Report {
            pool: PoolResponse {
                node: "i-1".to_owned(),
                interfaces: vec![interface],
                max_interfaces: 3,
                free: 16,
                ..PoolResponse::default()
            },
            endpoints: EndpointsResponse::default(),
            plan: PlanResponse {
                actions: vec![action],
                notes: Vec::new(),
                held_back: Vec::new(),
            },
        }
    }

    #[test]
    fn the_plan_is_shown_with_its_reasons_only_when_asked_for() {
        let report = report();
        assert!(!report.as_text(false).contains("because"));
        let text = report.as_text(true);
        assert!(
            text.contains("assign 3 addresses to eni-1 (under way)\n    because need 3 more"),
            "{text}"
        );
        assert!(text.contains("1 of at most 3"), "{text}");
    }

    #[test]
    fn each_interface_of_a_pod_has_a_line_of_its_own() {
        let endpoint = |interface: &str, address: &str| Endpoint {
            attachment: Some(veni_api::v1::Attachment {
                interface_name: interface.to_owned(),
                ..Default::default()
            }),
            pod: Some(veni_api::v1::Pod {
                namespace: "default".to_owned(),
                name: "web-0".to_owned(),
                ..Default::default()
            }),
            addresses: vec![address.to_owned()],
            ..Endpoint::default()
        };
        let text = endpoints_table(
            &[
                endpoint("eth0", "10.0.1.7/32"),
                endpoint("net1", "10.0.1.8/32"),
            ],
            None,
        );
        let words = |line: &str| {
            line.split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let lines: Vec<String> = text.lines().map(words).collect();
        for line in [
            "default/web-0 eth0 10.0.1.7/32",
            "default/web-0 net1 10.0.1.8/32",
        ] {
            assert!(lines.contains(&line.to_owned()), "{text}");
        }
    }

    #[test]
    fn limits_of_bandwidth_are_shown_where_a_pod_has_some() {
        let unlimited = Endpoint::default();
        let limited = Endpoint {
            bandwidth: Some(veni_api::v1::Bandwidth {
                ingress_rate: 10_000_000,
                ..Default::default()
            }),
            ..Endpoint::default()
        };
        let text = endpoints_table(&[unlimited.clone(), limited], None);
        let heading = text.lines().next().unwrap_or_default();
        assert!(heading.ends_with("LIMITS"), "{text}");
        assert!(text.trim_end().ends_with("10 Mbit/s in"), "{text}");
        assert!(!endpoints_table(&[unlimited], None).contains("LIMITS"));
    }

    #[test]
    fn interfaces_on_other_network_cards_are_shown_and_not_counted() {
        let mut report = report();
        report.pool.interfaces.push(PoolInterface {
            id: "eni-2".to_owned(),
            network_card: 2,
            device_index: 1,
            state: "unmanaged".to_owned(),
            ..PoolInterface::default()
        });
        let text = report.as_text(false);
        assert!(text.contains("unmanaged, network card 2"), "{text}");
        assert!(text.contains("1 of at most 3\n"), "{text}");
        let more = "1 more on other network cards, which serve no pods\n";
        assert!(text.contains(more), "{text}");
        let json = report.as_json();
        assert_eq!(json["pool"]["interfaces"][1]["networkCard"], 2);
    }

    #[test]
    fn tables_fit_a_hundred_columns_whatever_the_names() {
        let mut report = report();
        let long = |text: &str| text.repeat(20);
        report.pool.interfaces[0].id = long("eni-0f9681");
        report.pool.interfaces[0].subnet = long("subnet-0b560");
        report.endpoints.endpoints = vec![Endpoint {
            pod: Some(veni_api::v1::Pod {
                namespace: long("shop"),
                name: long("checkout-7d4b9c6f5-"),
                ..Default::default()
            }),
            addresses: vec!["10.0.1.7/32".to_owned(), long("fd00:")],
            ..Endpoint::default()
        }];
        let widest = |text: &str| text.lines().map(width_of).max();
        assert_eq!(widest(&report.within(false, Some(100))), Some(100));
        assert!(
            widest(&report.as_text(false)) > Some(400),
            "scripts get all"
        );
    }

    #[test]
    fn what_holds_the_pool_back_stands_first() {
        let mut report = report();
        report.plan.actions.clear();
        assert!(report.as_text(true).contains("nothing to do"));
        let why = "the cloud is not asked for another interface".to_owned();
        report.plan.held_back = vec![why.clone()];
        let text = report.as_text(true);
        let second = text.lines().nth(1);
        assert_eq!(second, Some(format!("Held back: {why}").as_str()));
        let plan = text.split("Plan\n").nth(1).unwrap_or_default();
        assert!(plan.starts_with(&format!("  held back: {why}")), "{plan}");
        assert!(!plan.contains("nothing to do"), "{plan}");
        assert_eq!(report.as_json()["plan"]["heldBack"], json!([why]));
    }

    #[test]
    fn json_has_what_the_tables_have() {
        let json = report().as_json();
        assert_eq!(json["pool"]["interfaces"][0]["prefixes"][0]["free"], 15);
        let both = &json["pool"]["interfaces"][0]["levels"];
        assert_eq!(
            both["ipv4"],
            json!({ "free": 16, "assigned": 1, "cooling": 1 })
        );
        assert_eq!(both["ipv6"]["free"], 0);
        assert_eq!(json["pool"]["levels"]["ipv4"]["free"], 16);
        assert_eq!(json["plan"]["actions"][0]["inFlight"], true);
        assert_eq!(json["endpoints"], json!([]));
    }
}
