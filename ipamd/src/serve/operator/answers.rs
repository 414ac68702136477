//! The daemon's state in the messages that operators get: types become text here, and an
//! absent value becomes what the protocol says of it.

use std::collections::HashMap;
use std::time::Duration;

use veni_api::v1;

use crate::attachment::AttachmentKey;
use crate::config::EffectiveSetting;
use crate::events::{Event, EventKind};
use crate::journal::endpoint::{Record, RecordState};
use crate::pool::{
    ActionReport, AddressReport, AddressState, InterfaceReport, PlanReport, PoolReport,
    PrefixReport, SubnetReport,
};
use crate::serve::{bandwidth, port_mappings, seconds_up};

/// What is told beside the pool's own report.
#[derive(Debug, Default)]
pub struct Beside {
    /// What people call the attachments that have addresses: as a rule their pods. One
    /// that is not there is told by its key.
    pub labels: HashMap<AttachmentKey, String>,
    /// Cloud calls since the daemon started.
    pub cloud_calls: u64,
    /// What on the host disturbs pods' network, a sentence each.
    pub host_warnings: Vec<String>,
    /// The node's name in its cluster; empty where the daemon was not told.
    pub node_name: String,
    /// Targets in force, each as `NAME=value`.
    pub targets: Vec<String>,
    /// The log filter in force, should it not be the configured one.
    pub log_level: Option<String>,
}

/// The pool.
pub fn pool(report: PoolReport, beside: Beside) -> v1::PoolResponse {
    let Beside {
        labels,
        cloud_calls,
        host_warnings,
        node_name,
        targets,
        log_level,
    } = beside;
    let interfaces = report.interfaces.into_iter();
    let subnets = report.subnets.into_iter();
    let counts = report.counts;
    v1::PoolResponse {
        node: report.node,
        provider: report.provider.to_owned(),
        instance_type: report.instance_type,
        max_pods: report.max_pods,
        interfaces: interfaces.map(|one| interface(one, &labels)).collect(),
        subnets: subnets.map(subnet).collect(),
        free: counts.free,
        assigned: counts.assigned,
        cooling: counts.cooling,
        total: counts.total,
        waiting: report.waiting,
        targets,
        cloud_calls,
        cloud_error: report.cloud_error.unwrap_or_default(),
        daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
        max_interfaces: report.max_interfaces,
        host_warnings: report
            .node_warnings
            .into_iter()
            .chain(host_warnings)
            .collect(),
        node_name,
        log_level: log_level.unwrap_or_default(),
    }
}

fn interface(
    report: InterfaceReport,
    labels: &HashMap<AttachmentKey, String>,
) -> v1::PoolInterface {
    let addresses = report.addresses.iter();
    let prefixes = report.prefixes.iter();
    v1::PoolInterface {
        id: report.id.to_string(),
        mac: report.mac.to_string(),
        link: report.link.unwrap_or_default(),
        device_index: report.device_index,
        primary: report.primary,
        subnet: report.subnet.to_string(),
        state: report.state.to_string(),
        primary_address: text(report.primary_address),
        slots: report.slots,
        slots_used: report.slots_used,
        addresses: addresses.map(|one| address(one, labels)).collect(),
        prefixes: prefixes.map(|one| prefix(one, labels)).collect(),
        network_card: report.network_card,
    }
}

fn address(report: &AddressReport, labels: &HashMap<AttachmentKey, String>) -> v1::PoolAddress {
    let (owner, left) = match &report.state {
        AddressState::Assigned(key) => {
            let label = labels.get(key).cloned();
            (label.unwrap_or_else(|| key.to_string()), Duration::ZERO)
        }
        AddressState::Cooling { left } => (String::new(), *left),
        _ => Default::default(),
    };
    v1::PoolAddress {
        address: report.address.to_string(),
        state: report.state.to_string(),
        owner,
        cooling_seconds: seconds_up(left),
    }
}

fn prefix(report: &PrefixReport, labels: &HashMap<AttachmentKey, String>) -> v1::PoolPrefix {
    let used = report.used.iter();
    v1::PoolPrefix {
        prefix: report.prefix.to_string(),
        free: report.free,
        assigned: report.assigned,
        cooling: report.cooling,
        used: used.map(|one| address(one, labels)).collect(),
    }
}

fn subnet(report: SubnetReport) -> v1::PoolSubnet {
    let (exhausted, left) = match report.exhausted {
        Some(exhausted) => (exhausted.reason, exhausted.left),
        None => Default::default(),
    };
    v1::PoolSubnet {
        id: report.id.to_string(),
        cidr: text(report.cidr),
        free_addresses: report.free_addresses,
        exhausted,
        retry_seconds: seconds_up(left),
        age_seconds: report
            .age
            .map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
    }
}

/// The plan.
pub fn plan(report: PlanReport) -> v1::PlanResponse {
    let actions = report.actions.iter().map(|ActionReport { action, why }| {
        v1::PlanAction {
            action: action.to_string(),
            reason: why.to_string(),
            // What the planner wants it begins at once.
            in_flight: true,
        }
    });
    let notes = report.notes.iter();
    let held_back = report.held_back.iter();
    v1::PlanResponse {
        actions: actions.collect(),
        notes: notes.map(ToString::to_string).collect(),
        held_back: held_back.map(ToString::to_string).collect(),
    }
}

/// One endpoint.
pub(super) fn endpoint(record: &Record) -> v1::Endpoint {
    let addresses = record.cidrs().into_iter();
    v1::Endpoint {
        attachment: Some((&record.key).into()),
        pod: Some((&record.pod).into()),
        addresses: addresses.map(|cidr| cidr.to_string()).collect(),
        host_interface: record.plan.host_link.clone(),
        cloud_interface: record.cloud_interface.clone(),
        state: match record.state {
            RecordState::Adding => "adding",
            RecordState::Ready => "ready",
            RecordState::Dying => "dying",
        }
        .to_owned(),
        created_ms: record.created_ms,
        add_micros: record.add_micros,
        waited_micros: record.waited_micros,
        egress_address: text(record.plan.egress),
        bandwidth: bandwidth::told(record.plan.bandwidth),
        port_mappings: record
            .plan
            .port_mappings
            .iter()
            .map(port_mappings::told)
            .collect(),
    }
}

/// One setting.
pub(super) fn setting(setting: &EffectiveSetting) -> v1::Setting {
    let variable = setting.variable;
    v1::Setting {
        name: variable.name.to_owned(),
        value: setting.value.clone(),
        source: setting.source.to_string(),
        default: variable.default.to_string(),
        effect: variable.effect.to_owned(),
        disposition: variable.disposition.label().to_owned(),
        why: variable.disposition.why().to_owned(),
        note: setting.note.to_owned(),
    }
}

/// One event.
pub(super) fn event(event: Event) -> v1::Event {
    let levels = event.levels;
    v1::Event {
        time_ms: event.time_ms,
        kind: match event.kind {
            EventKind::Add => "add",
            EventKind::Del => "del",
            EventKind::Cloud => "cloud",
            EventKind::Repair => "repair",
            EventKind::Pool => "pool",
            EventKind::Host => "host",
        }
        .to_owned(),
        message: event.message,
        free: levels.free,
        assigned: levels.assigned,
        cooling: levels.cooling,
        waiting: levels.waiting,
        cloud_calls: event.cloud_calls,
    }
}

/// The text of a value; the protocol has empty text for none.
fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests;
