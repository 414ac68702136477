//! Ports of the node that lead to the pod, as a runtime passes them to a plugin whose
//! configuration has the capability `portMappings`.
//!
//! Only their form is looked at here. What can be made of them, the daemon knows.

use std::net::IpAddr;

use serde_json::Value;
use veni_api::v1::PortMapping;

use crate::any_case::field;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The mappings of a network configuration, in their order, and what is wrong with the
/// others: where it is, its value, and why. One for no port of the node (0) asks for
/// nothing.
pub fn of_config(config: &Value) -> (Vec<PortMapping>, Vec<Problem>) {
    let (mut mappings, mut problems) = (Vec::new(), Vec::new());
    let given = &config["runtimeConfig"]["portMappings"];
    let all = match given {
        Value::Null => return (mappings, problems),
        Value::Array(all) => all,
        other => {
            problems.push(Problem {
                place: "runtimeConfig.portMappings".to_owned(),
                value: other.clone(),
                reason: "expected a list",
            });
            return (mappings, problems);
        }
    };
    for (position, mapping) in all.iter().enumerate() {
        match read(mapping) {
            Ok(read) => mappings.extend(read),
            Err((name, reason)) => problems.push(Problem {
                place: format!("runtimeConfig.portMappings[{position}].{name}"),
                value: field(mapping, name).cloned().unwrap_or_default(),
                reason,
            }),
        }
    }
    (mappings, problems)
}

/// What is wrong with a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The field.
    pub place: String,
    /// What it holds.
    pub value: Value,
    /// What it should.
    pub reason: &'static str,
}

type Wrong = (&'static str, &'static str);

fn read(mapping: &Value) -> Result<Option<PortMapping>, Wrong> {
    let given = |name| field(mapping, name).unwrap_or(&Value::Null);
    let port = |name: &'static str| {
        let number = given(name)
            .as_u64()
            .and_then(|number| u16::try_from(number).ok());
        number
            .map(u32::from)
            .ok_or((name, "expected a port (1 to 65535)"))
    };
    let host_port = match given("hostPort") {
        Value::Null if mapping.is_object() => 0,
        _ => port("hostPort")?,
    };
    if host_port == 0 {
        return Ok(None);
    }
    let pod_port = port("containerPort")?;
    if pod_port == 0 {
        return Err(("containerPort", "expected a port (1 to 65535)"));
    }
    let protocol = match given("protocol") {
        // As the plugin `portmap` has it.
        Value::Null => "tcp".to_owned(),
        text => text.as_str().unwrap_or_default().to_lowercase(),
    };
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return Err(("protocol", "expected tcp, udp or sctp"));
    }
    let wrong_address = (
        "hostIP",
        "expected an address, or nothing for all of the node's",
    );
    let host_address = match given("hostIP") {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        other => {
            let text = other.as_str().ok_or(wrong_address)?;
            let address: IpAddr = text.parse().map_err(|_| wrong_address)?;
            address.to_string()
        }
    };
    Ok(Some(PortMapping {
        host_port,
        pod_port,
        protocol,
        host_address,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containerd_s_letters_are_understood() {
        let config = json!({"runtimeConfig": {"portMappings": [
            {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "10.0.0.5"},
        ]}});
        let (mappings, problems) = of_config(&config);
        assert_eq!(problems, []);
        let expected = PortMapping {
            host_port: 8080,
            pod_port: 80,
            protocol: "tcp".to_owned(),
            host_address: "10.0.0.5".to_owned(),
        };
        assert_eq!(mappings, [expected]);
    }

    #[test]
    fn mappings_are_read_as_runtimes_write_them() {
        let config = json!({"runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": ""},
            {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "10.0.0.5"},
            {"hostPort": 81, "containerPort": 81},
            {"hostPort": 82, "containerPort": 82, "protocol": "sctp", "hostIP": "FD00::5"},
        ]}});
        let (mappings, problems) = of_config(&config);
        assert_eq!(problems, []);
        let read: Vec<String> = mappings.iter().map(in_words).collect();
        let expected = [
            "tcp 8080 80 ",
            "udp 53 5353 10.0.0.5",
            "tcp 81 81 ",
            "sctp 82 82 fd00::5",
        ];
        assert_eq!(read, expected);
    }

    fn in_words(mapping: &PortMapping) -> String {
        let PortMapping {
            host_port,
            pod_port,
            protocol,
            host_address,
        } = mapping;
        format!("{protocol} {host_port} {pod_port} {host_address}")
    }

    #[test]
    fn no_port_of_the_node_asks_for_nothing() {
        for config in [
            json!({}),
            json!({"runtimeConfig": null}),
            json!({"runtimeConfig": {"portMappings": null}}),
            json!({"runtimeConfig": {"portMappings": []}}),
            json!({"runtimeConfig": {"portMappings": [{"hostPort": 0, "containerPort": 80}]}}),
            json!({"runtimeConfig": {"portMappings": [{"containerPort": 80}]}}),
        ] {
            assert_eq!(of_config(&config), (vec![], vec![]), "{config}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_beside_what_can() {
        for (mapping, field) in [
            (json!(80), "hostPort"),
            (json!({"hostPort": 80, "containerPort": 0}), "containerPort"),
            (json!({"hostPort": 80}), "containerPort"),
            (json!({"hostPort": 65536, "containerPort": 80}), "hostPort"),
            (json!({"hostPort": -1, "containerPort": 80}), "hostPort"),
            (json!({"hostPort": "80", "containerPort": 80}), "hostPort"),
            (
                json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}),
                "protocol",
            ),
            (
                json!({"hostPort": 80, "containerPort": 80, "protocol": 6}),
                "protocol",
            ),
            (
                json!({"hostPort": 80, "containerPort": 80, "hostIP": "localhost"}),
                "hostIP",
            ),
            (
                json!({"hostPort": 80, "containerPort": 80, "hostIP": 5}),
                "hostIP",
            ),
        ] {
            let sound = json!({"hostPort": 443, "containerPort": 443});
            let config = json!({"runtimeConfig": {"portMappings": [sound, mapping]}});
            let (mappings, problems) = of_config(&config);
            assert_eq!(mappings.len(), 1, "{config}");
            let place = format!("runtimeConfig.portMappings[1].{field}");
            assert_eq!(problems[0].place, place, "{config}");
        }
        let (_, problems) = of_config(&json!({"runtimeConfig": {"portMappings": "80"}}));
        assert_eq!(problems[0].reason, "expected a list");
    }
}
