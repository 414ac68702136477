//! `prevResult`: what earlier plugins of the chain, or our own ADD, have returned.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// Tells what is wrong with one item of a list.
type Judge<'a> = &'a dyn Fn(&Map<String, Value>) -> Result<(), String>;

/// A result that was checked as far as the plugin relies on it; the rest is
/// kept as it came, because it is passed on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PreviousResult {
    /// Interfaces, each an object with a `name`.
    pub interfaces: Vec<Value>,
    /// Addresses, each an object with an `address` in CIDR form.
    pub ips: Vec<Value>,
    /// Routes of the pod, passed on as they are.
    pub routes: Vec<Value>,
    /// DNS settings.
    pub dns: Map<String, Value>,
}

impl PreviousResult {
    /// Reads a result, naming everything that is wrong with it.
    ///
    /// # Errors
    /// All problems, each as `field=value: reason`.
    pub fn try_from_json(value: &Value) -> Result<Self, Vec<String>> {
        let Some(object) = value.as_object() else {
            return Err(vec!["prevResult: not an object".to_owned()]);
        };
        let mut problems = Vec::new();
        let mut list = |key: &str, judge: Judge<'_>| {
            let items = match object.get(key) {
                None | Some(Value::Null) => return Vec::new(),
                Some(Value::Array(items)) => items.clone(),
                Some(_) => {
                    problems.push(format!("prevResult.{key}: not a list"));
                    return Vec::new();
                }
            };
            for (index, item) in items.iter().enumerate() {
                let judged = match item.as_object() {
                    Some(item) => judge(item),
                    None => Err("not an object".to_owned()),
                };
                if let Err(reason) = judged {
                    problems.push(format!("prevResult.{key}[{index}]: {reason}"));
                }
            }
            items
        };
        let interfaces = list("interfaces", &judge_interface);
        let ips = list("ips", &|ip| judge_ip(ip, interfaces.len()));
        let routes = list("routes", &|_| Ok(()));
        let dns = match object.get("dns") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(dns)) => dns.clone(),
            Some(_) => {
                problems.push("prevResult.dns: not an object".to_owned());
                Map::new()
            }
        };
        if problems.is_empty() {
            Ok(Self {
                interfaces,
                ips,
                routes,
                dns,
            })
        } else {
            Err(problems)
        }
    }

    /// The addresses, in CIDR form, of the container's interface `name`. An
    /// address that names no interface counts as its own; those of interfaces
    /// that other plugins of the chain have made do not.
    pub fn addresses_of(&self, name: &str) -> Vec<String> {
        self.ips
            .iter()
            .filter(|ip| match ip.get("interface").and_then(Value::as_u64) {
                None => true,
                Some(index) => usize::try_from(index)
                    .ok()
                    .and_then(|index| self.interfaces.get(index))
                    .is_some_and(|interface| {
                        text(interface, "name") == Some(name)
                            && text(interface, "sandbox").is_some_and(|path| !path.is_empty())
                    }),
            })
            .filter_map(|ip| text(ip, "address").map(ToOwned::to_owned))
            .collect()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn judge_interface(interface: &Map<String, Value>) -> Result<(), String> {
    match interface.get("name") {
        Some(Value::String(_)) => Ok(()),
        _ => Err("name: not a string".to_owned()),
    }
}

fn judge_ip(ip: &Map<String, Value>, interfaces: usize) -> Result<(), String> {
    match ip.get("interface") {
        None | Some(Value::Null) => {}
        Some(index) => {
            let known = index
                .as_u64()
                .is_some_and(|index| index < interfaces as u64);
            if !known {
                return Err(format!(
                    "interface={index}: not the position of one of {interfaces} interfaces"
                ));
            }
        }
    }
    match ip.get("address") {
        Some(Value::String(address)) if is_cidr(address) => Ok(()),
        Some(address) => Err(format!("address={address}: not an address in cidr form")),
        None => Err("address: missing".to_owned()),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}
