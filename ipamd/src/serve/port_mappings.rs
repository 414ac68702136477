//! Ports of the node as a request asks for them: read once, here, with a sentence for each
//! that cannot be made.

use std::net::IpAddr;

use veni_api::failure::{CniFailure, code};
use veni_api::v1;
use veni_dataplane::{PortMapping, PortProtocol};

/// Reads mappings; one that is given twice is one.
///
/// # Errors
/// What cannot be made, each in a sentence.
pub(super) fn read(given: Vec<v1::PortMapping>) -> Result<Vec<PortMapping>, CniFailure> {
    let mut mappings: Vec<PortMapping> = Vec::with_capacity(given.len());
    let mut problems = Vec::new();
    for given in given {
        match read_one(&given) {
            Err(problem) => problems.push(problem),
            Ok(mapping) if mappings.contains(&mapping) => {}
            Ok(mapping) => {
                problems.extend(
                    mappings
                        .iter()
                        .filter_map(|other| contradicts(other, &mapping)),
                );
                mappings.push(mapping);
            }
        }
    }
    match problems.is_empty() {
        true => Ok(mappings),
        false => Err(CniFailure::new(
            code::INVALID_CONFIG,
            format!("host ports cannot be made: {}", problems.join("; ")),
            "correct hostPort and hostIP in the pod's containers, or portMappings in what the \
             runtime passes",
        )),
    }
}

fn read_one(given: &v1::PortMapping) -> Result<PortMapping, String> {
    let v1::PortMapping {
        host_port,
        pod_port,
        protocol,
        host_address,
    } = given;
    let port = |number: u32, whose: &str| {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        port.ok_or_else(|| format!("{number} is no port of {whose} (1 to 65535)"))
    };
    let name = protocol.as_str();
    let mut known = PortProtocol::ALL.into_iter();
    let protocol = known
        .find(|protocol| protocol.to_string() == name)
        .ok_or_else(|| format!("{name} {host_port}: the protocol is not tcp, udp or sctp"))?;
    let mapping = PortMapping {
        protocol,
        host_port: port(*host_port, "the node")?,
        pod_port: port(*pod_port, "the pod")?,
        host_address: address(host_address)?,
    };
    match mapping.host_address {
        Some(IpAddr::V6(address)) if address.is_loopback() => Err(format!(
            "{mapping}: the kernel lets nothing that was sent to ::1 leave the node, to a pod \
             neither; use 127.0.0.1, or an address of the node's interfaces"
        )),
        _ => Ok(mapping),
    }
}

fn address(text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("hostIP {text:?} is no address"))?;
    Ok(Some(address.to_canonical()))
}

/// As it is told to operators.
pub(super) fn told(mapping: &PortMapping) -> v1::PortMapping {
    v1::PortMapping {
        host_port: mapping.host_port.into(),
        pod_port: mapping.pod_port.into(),
        protocol: mapping.protocol.to_string(),
        host_address: mapping
            .host_address
            .map_or_else(String::new, |one| one.to_string()),
    }
}

/// One port of one address leads to one place.
fn contradicts(one: &PortMapping, other: &PortMapping) -> Option<String> {
    // One address beside all of them is no contradiction: each has a map of its own.
    let address = |mapping: &PortMapping| mapping.host_address.filter(|one| !one.is_unspecified());
    let same = one.overlaps(other) && address(one) == address(other);
    (same && one.pod_port != other.pod_port).then(|| {
        format!(
            "{one} is to lead to the pod's ports {} and {}",
            one.pod_port, other.pod_port
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(host_port: u32, pod_port: u32, protocol: &str, host: &str) -> v1::PortMapping {
        v1::PortMapping {
            host_port,
            pod_port,
            protocol: protocol.to_owned(),
            host_address: host.to_owned(),
        }
    }

    #[test]
    fn what_can_be_made_is_read_once() {
        let sound = || given(8080, 80, "udp", "::ffff:10.0.0.5");
        let all = read(vec![sound(), sound(), given(1, 65535, "sctp", "")]).expect("sound");
        let again = all.iter().map(told).collect();
        assert_eq!(read(again).expect("what is told is sound"), all);
        let words: Vec<String> = all.iter().map(PortMapping::to_string).collect();
        assert_eq!(words, ["udp 8080 of 10.0.0.5", "sctp 1"]);
    }

    #[test]
    fn each_that_cannot_be_made_is_told_with_its_reason() {
        for (wrong, expected) in [
            (given(0, 80, "tcp", ""), "0 is no port of the node"),
            (given(80, 65536, "tcp", ""), "65536 is no port of the pod"),
            (given(80, 80, "icmp", ""), "icmp 80: the protocol is not"),
            (
                given(80, 80, "tcp", "node"),
                "hostIP \"node\" is no address",
            ),
            (
                given(80, 80, "tcp", "::1"),
                "tcp 80 of ::1: the kernel lets",
            ),
            (
                given(443, 81, "tcp", ""),
                "tcp 443 is to lead to the pod's ports 80 and 81",
            ),
            (
                given(443, 81, "tcp", "0.0.0.0"),
                "tcp 443 is to lead to the pod's ports 80 and 81",
            ),
        ] {
            let failure = read(vec![given(443, 80, "tcp", ""), wrong]).expect_err(expected);
            assert_eq!(failure.code, code::INVALID_CONFIG);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
    }
}
