//! Reads the kernel's state of a node or a pod with `ip -j` and `nft -j`. Also has the
//! numbers by which one recognises what Veni has made; they are written here a second
//! time on purpose.

mod bandwidth;
mod host_ports;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use veni_cloudlab::command_in;

pub use bandwidth::{Limits, limits};
pub use host_ports::{HostPorts, host_ports, ports_and_pods, words as host_port_in_words};

/// `rtm_protocol` and FRA_PROTOCOL of everything Veni makes.
pub const PROTOCOL: &str = "86";
/// Table of all pod routes.
pub const POD_TABLE: &str = "22016";
/// First table of the secondary interfaces; the device index is added.
pub const INTERFACE_TABLES: u32 = 22032;
/// Group of the pods' links.
pub const POD_GROUP: &str = "22096";
/// Group of links that are about to be deleted.
pub const DYING_GROUP: &str = "22085";
/// Priority of the rule that leads to the pods.
pub const TO_PODS: u32 = 512;
/// Priority of the rules for pods' addresses on secondary interfaces.
pub const FROM_PODS: u32 = 1536;
/// Priority of the rules for interfaces' own addresses.
pub const FROM_INTERFACES: u32 = 32765;

/// Ranges of the addresses by which pods open flows of the family that they lack.
pub const NODE_LOCAL: [&str; 2] = ["169.254.172.0/22", "fd00::ac:0/118"];

/// Whether an address is one of those.
///
/// # Panics
/// Never, because the ranges are constant.
pub fn is_node_local(address: IpAddr) -> bool {
    let mut ranges = NODE_LOCAL.iter();
    ranges.any(|range| {
        let range: IpNet = range.parse().expect("a range");
        range.contains(&address)
    })
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// Its index.
    #[serde(rename = "ifindex")]
    pub index: u32,
    /// Its name, as `eth0`.
    #[serde(rename = "ifname")]
    pub name: String,
    /// Group, a number or `default`.
    #[serde(default)]
    pub group: String,
    /// Its MAC, lower case with colons; empty for a link without one.
    #[serde(default)]
    pub address: String,
    /// `UP` and others.
    pub flags: Vec<String>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Route {
    /// Destination: `default`, an address or a range.
    pub dst: String,
    /// Name of the link that it leads to; empty for a route without one.
    #[serde(default)]
    pub dev: String,
    /// Next hop.
    #[serde(default)]
    pub gateway: Option<String>,
    /// Its routing table, a name or a number; empty is `main`.
    #[serde(default)]
    pub table: String,
    /// Its protocol, which says who made it: a name, or Veni's number.
    #[serde(default)]
    pub protocol: String,
}

impl Route {
    /// The single address it leads to.
    pub fn address(&self) -> Option<IpAddr> {
        self.dst.parse().ok()
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its priority: the kernel tries the smallest first.
    pub priority: u32,
    /// Source; `None` is all.
    pub source: Option<IpNet>,
    /// The routing table that it leads to, a name or a number.
    pub table: String,
    /// Its protocol, which says who made it: a name, or Veni's number.
    pub protocol: String,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self
            .source
            .map_or_else(|| "all".to_owned(), |source| source.to_string());
        write!(f, "{}: from {source} lookup {}", self.priority, self.table)
    }
}

/// Runs a program inside a namespace and returns what it printed.
///
/// # Errors
/// What it complained about.
///
/// # Panics
/// When it cannot be executed.
pub async fn run(namespace: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = command_in(namespace, program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("failed to execute {program}: {error}"));
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}: {}",
        arguments.join(" "),
        said.trim()
    ))
}

/// Runs `ip` inside a namespace to change something.
///
/// # Panics
/// When it fails.
pub async fn ip(namespace: &Path, arguments: &str) -> String {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    run(namespace, "ip", &arguments)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// What `ip -j` prints, as a list.
///
/// # Panics
/// When it fails or prints something else.
pub async fn ip_json(namespace: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["-j"];
    all.extend(arguments);
    let text = match run(namespace, "ip", &all).await {
        Ok(text) => text,
        // `ip` fails for a table that has never had a route.
        Err(error) if error.contains("FIB table does not exist") => return Vec::new(),
        Err(error) => panic!("{error}"),
    };
    if text.trim().is_empty() {
        return Vec::new();
    }
    let list: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("'{text}': {error}"));
    // A route that was deleted while `ip` printed the list leaves an empty object.
    list.into_iter()
        .filter(|one| one.as_object().is_some_and(|object| !object.is_empty()))
        .collect()
}

async fn read<T: serde::de::DeserializeOwned>(namespace: &Path, arguments: &[&str]) -> Vec<T> {
    let parse = |value: Value| {
        let text = value.to_string();
        serde_json::from_value(value).unwrap_or_else(|error| panic!("'{text}': {error}"))
    };
    ip_json(namespace, arguments)
        .await
        .into_iter()
        .map(parse)
        .collect()
}

/// All links.
pub async fn links(namespace: &Path) -> Vec<Link> {
    read(namespace, &["link", "show"]).await
}

/// The routes of a table (`all` for every one), of both families.
pub async fn routes(namespace: &Path, table: &str) -> Vec<Route> {
    let mut routes: Vec<Route> = read(namespace, &["-4", "route", "show", "table", table]).await;
    routes.extend(read::<Route>(namespace, &["-6", "route", "show", "table", table]).await);
    routes
}

/// All rules of both families.
pub async fn rules(namespace: &Path) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in ["-4", "-6"] {
        let all = ip_json(namespace, &["-d", family, "rule", "show"]).await;
        rules.extend(all.iter().map(rule));
    }
    rules
}

fn rule(value: &Value) -> Rule {
    let text = |name: &str| match &value[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let source = text("src").parse::<IpAddr>().ok().map(|address| {
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = value["srclen"]
            .as_u64()
            .and_then(|length| u8::try_from(length).ok());
        IpNet::new(address, length.unwrap_or(full)).expect("a rule's source is a range")
    });
    let priority = value["priority"].as_u64().unwrap_or_default();
    Rule {
        priority: u32::try_from(priority).expect("priorities have 32 bits"),
        source,
        table: text("table"),
        protocol: text("protocol"),
    }
}

/// Global addresses of a namespace's links except loopback, each with the link's name.
pub async fn addresses(namespace: &Path) -> Vec<(String, IpAddr)> {
    let mut found = Vec::new();
    for link in ip_json(namespace, &["address", "show", "scope", "global"]).await {
        let name = link["ifname"].as_str().unwrap_or_default().to_owned();
        let all = link["addr_info"].as_array().cloned().unwrap_or_default();
        let all = all
            .iter()
            .filter_map(|one| one["local"].as_str()?.parse().ok());
        found.extend(
            all.filter(|_| name != "lo")
                .map(|address| (name.clone(), address)),
        );
    }
    found
}

/// Tables of nftables, as `family name`.
///
/// # Panics
/// When `nft` fails.
pub async fn nft_tables(namespace: &Path) -> Vec<String> {
    let text = run(namespace, "nft", &["-j", "list", "tables"]).await;
    let text = text.unwrap_or_else(|error| panic!("{error}"));
    let all: Value = serde_json::from_str(&text).expect("nft -j prints JSON");
    let objects = all["nftables"].as_array().cloned().unwrap_or_default();
    let tables = objects.iter().filter_map(|object| object.get("table"));
    let part = |table: &Value, name: &str| table[name].as_str().unwrap_or_default().to_owned();
    tables
        .map(|table| format!("{} {}", part(table, "family"), part(table, "name")))
        .collect()
}

/// Everything on a node that belongs to pods: links in Veni's groups, routes to pods, ports
/// of the node. A node without pods must have none of it.
pub async fn of_pods(namespace: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for link in links(namespace).await {
        if link.group == POD_GROUP || link.group == DYING_GROUP {
            found.push(format!("link {}", link.name));
        }
    }
    for route in routes(namespace, POD_TABLE).await {
        found.push(format!("route {} dev {}", route.dst, route.dev));
    }
    let ports = host_ports(namespace).await.into_iter();
    found.extend(ports.map(|port| format!("host port {port}")));
    found
}

/// Rules for pods' addresses on secondary interfaces.
pub async fn source_rules(namespace: &Path) -> Vec<Rule> {
    let all = rules(namespace).await.into_iter();
    all.filter(|rule| rule.priority == FROM_PODS && rule.protocol == PROTOCOL)
        .collect()
}
