//! Ports of the node: whose each is.
//!
//! Nothing is kept but the endpoints' own records. A port is an endpoint's from before its
//! ADD is journalled until the kernel leads nothing to it any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use veni_api::failure::{CniFailure, code};
use veni_dataplane::{PortMapping, PortProtocol};

use crate::attachment::AttachmentKey;
use crate::journal::endpoint::Record;

#[derive(Debug)]
struct Claim {
    mapping: PortMapping,
    /// Id of the record that has it.
    record: String,
    key: AttachmentKey,
    /// Its pod, or its attachment.
    owner: String,
}

type Claims = HashMap<(PortProtocol, u16), Vec<Claim>>;

/// The ports of the node that lead to endpoints.
#[derive(Debug, Default)]
pub(super) struct HostPorts(Mutex<Claims>);

impl HostPorts {
    /// Takes the ports that a record has already.
    pub(super) fn restore(&self, record: &Record) {
        keep(&mut self.lock(), record);
    }

    /// Takes a record's ports, all or none.
    ///
    /// # Errors
    /// One leads to another pod already.
    pub(super) fn take(&self, record: &Record) -> Result<(), CniFailure> {
        let mut claims = self.lock();
        let of_another = |claim: &Claim| claim.record != record.id;
        if let Some((wanted, claim)) = in_the_way(&claims, &record.plan.port_mappings, of_another) {
            return Err(taken(&record.label(), &wanted, claim));
        }
        keep(&mut claims, record);
        Ok(())
    }

    /// Looks for another attachment that has one of these ports, which a pod asks for.
    ///
    /// # Errors
    /// There is one.
    pub(super) fn find_free(
        &self,
        (key, pod): (&AttachmentKey, &str),
        mappings: &[PortMapping],
    ) -> Result<(), CniFailure> {
        let claims = self.lock();
        match in_the_way(&claims, mappings, |claim| claim.key != *key) {
            Some((wanted, claim)) => Err(taken(pod, &wanted, claim)),
            None => Ok(()),
        }
    }

    /// The kernel leads none of a record's ports to it any more.
    pub(super) fn free(&self, record: &Record) {
        let mut claims = self.lock();
        for mapping in &record.plan.port_mappings {
            let port = port_of(mapping);
            if let Some(of_port) = claims.get_mut(&port) {
                of_port.retain(|claim| claim.record != record.id);
                if of_port.is_empty() {
                    claims.remove(&port);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn port_of(mapping: &PortMapping) -> (PortProtocol, u16) {
    (mapping.protocol, mapping.host_port)
}

fn keep(claims: &mut Claims, record: &Record) {
    for mapping in &record.plan.port_mappings {
        claims.entry(port_of(mapping)).or_default().push(Claim {
            mapping: *mapping,
            record: record.id.clone(),
            key: record.key.clone(),
            owner: record.label(),
        });
    }
}

/// The first of these mappings that overlaps one of another, with that one.
fn in_the_way<'a>(
    claims: &'a Claims,
    mappings: &[PortMapping],
    of_another: impl Fn(&Claim) -> bool,
) -> Option<(PortMapping, &'a Claim)> {
    mappings.iter().find_map(|wanted| {
        let of_port = claims.get(&port_of(wanted))?;
        let mut others = of_port.iter().filter(|claim| of_another(claim));
        let claim = others.find(|claim| claim.mapping.overlaps(wanted))?;
        Some((*wanted, claim))
    })
}

fn taken(pod: &str, wanted: &PortMapping, claim: &Claim) -> CniFailure {
    let Claim { owner, mapping, .. } = claim;
    CniFailure::new(
        code::HOST_PORT_TAKEN,
        format!("host port {wanted} cannot lead to {pod}: {owner} has {mapping}"),
        "one port of a node leads to one pod: delete that pod, give one of the two another \
         hostPort or hostIP, or run them on different nodes",
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn mapping(host_port: u16, host: &str) -> PortMapping {
        PortMapping {
            protocol: PortProtocol::Tcp,
            host_port,
            pod_port: 80,
            host_address: host.parse().ok(),
        }
    }

    fn record(name: &str, mappings: &[PortMapping]) -> Record {
        let mut record = fixtures::record(name);
        record.plan.port_mappings = mappings.to_vec();
        record
    }

    #[test]
    fn a_port_is_taken_once_and_its_owner_is_named() {
        let ports = HostPorts::default();
        let (any, one) = (mapping(80, ""), mapping(80, "10.0.0.5"));
        ports.take(&record("web", &[one])).expect("it is free");
        let failure = ports.take(&record("other", &[mapping(81, ""), any]));
        let failure = failure.expect_err("it is taken");
        assert_eq!(failure.code, code::HOST_PORT_TAKEN);
        assert_eq!(
            failure.message,
            "host port tcp 80 cannot lead to default/other: default/web has tcp 80 of 10.0.0.5"
        );
        let beside = [mapping(81, ""), mapping(80, "10.0.0.6")];
        let all_or_none = ports.take(&record("third", &beside));
        all_or_none.expect("neither was taken");
    }

    #[test]
    fn a_port_is_free_when_its_own_record_has_freed_it() {
        let ports = HostPorts::default();
        let any = [mapping(80, "")];
        let (web, other) = (record("web", &any), record("other", &any));
        ports.restore(&web);
        ports.free(&other);
        ports.take(&other).expect_err("it is taken");
        let find = |record: &Record| ports.find_free((&record.key, "a pod"), &any);
        find(&other).expect_err("it is taken");
        find(&web).expect("it is its own");
        ports.free(&web);
        find(&other).expect("it is free");
        ports.take(&other).expect("it is free");
        ports.free(&other);
        assert!(ports.lock().is_empty());
    }

    #[test]
    fn mappings_of_one_endpoint_are_not_in_each_others_way() {
        let ports = HostPorts::default();
        let web = record("web", &[mapping(80, ""), mapping(80, "10.0.0.5")]);
        ports.take(&web).expect("it is free");
        ports.take(&web).expect("once more");
    }
}
