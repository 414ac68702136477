//! The report as JSON: everything that the daemon has answered, under camel-case names.

use serde_json::{Value, json};
use veni_api::v1::{Endpoint, PoolAddress, PoolInterface, PoolResponse};

use super::Report;
use super::levels::{Counts, Levels, PoolLevels};
use super::limits;

impl Report {
    pub(super) fn as_json(&self) -> Value {
        let endpoints: Vec<Value> = self.endpoints.endpoints.iter().map(endpoint_json).collect();
        json!({
            "pool": pool_json(&self.pool),
            "endpoints": endpoints,
            "plan": {
                "actions": self.plan.actions.iter().map(|one| json!({
                    "action": one.action,
                    "reason": one.reason,
                    "inFlight": one.in_flight,
                })).collect::<Vec<_>>(),
                "notes": self.plan.notes,
                "heldBack": self.plan.held_back,
            },
        })
    }
}

fn address_json(address: &PoolAddress) -> Value {
    json!({
        "address": address.address,
        "state": address.state,
        "owner": address.owner,
        "coolingSeconds": address.cooling_seconds,
    })
}

/// Numbers of each family. A daemon counts a /80 as 65,536 addresses.
fn levels_json(levels: &Levels) -> Value {
    let counts = |counts: Counts| json!({ "free": counts.free, "assigned": counts.assigned, "cooling": counts.cooling });
    json!({ "ipv4": counts(levels.ipv4), "ipv6": counts(levels.ipv6) })
}

fn pool_json(pool: &PoolResponse) -> Value {
    json!({
        "node": pool.node,
        "nodeName": pool.node_name,
        "provider": pool.provider,
        "instanceType": pool.instance_type,
        "maxPods": pool.max_pods,
        "maxInterfaces": pool.max_interfaces,
        "free": pool.free,
        "assigned": pool.assigned,
        "cooling": pool.cooling,
        "total": pool.total,
        "levels": levels_json(&PoolLevels::of(pool).levels),
        "waiting": pool.waiting,
        "targets": pool.targets,
        "cloudCalls": pool.cloud_calls,
        "cloudError": pool.cloud_error,
        "daemonVersion": pool.daemon_version,
        "logLevel": pool.log_level,
        "hostWarnings": pool.host_warnings,
        "interfaces": pool.interfaces.iter().map(interface_json).collect::<Vec<_>>(),
        "subnets": pool.subnets.iter().map(|one| json!({
            "id": one.id,
            "cidr": one.cidr,
            "freeAddresses": one.free_addresses,
            "ageSeconds": one.age_seconds,
            "exhausted": one.exhausted,
            "retrySeconds": one.retry_seconds,
        })).collect::<Vec<_>>(),
    })
}

fn interface_json(one: &PoolInterface) -> Value {
    json!({
        "id": one.id,
        "mac": one.mac,
        "link": one.link,
        "deviceIndex": one.device_index,
        "networkCard": one.network_card,
        "primary": one.primary,
        "subnet": one.subnet,
        "state": one.state,
        "primaryAddress": one.primary_address,
        "slots": one.slots,
        "slotsUsed": one.slots_used,
        "levels": levels_json(&Levels::of(one)),
        "addresses": one.addresses.iter().map(address_json).collect::<Vec<_>>(),
        "prefixes": one.prefixes.iter().map(|prefix| json!({
            "prefix": prefix.prefix,
            "free": prefix.free,
            "assigned": prefix.assigned,
            "cooling": prefix.cooling,
            "used": prefix.used.iter().map(address_json).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

pub(crate) fn endpoint_json(one: &Endpoint) -> Value {
    let attachment = one.attachment.clone().unwrap_or_default();
    let pod = one.pod.clone().unwrap_or_default();
    json!({
        "attachment": {
            "network": attachment.network,
            "containerId": attachment.container_id,
            "interfaceName": attachment.interface_name,
        },
        "pod": { "namespace": pod.namespace, "name": pod.name, "uid": pod.uid },
        "addresses": one.addresses,
        "egressAddress": one.egress_address,
        "bandwidth": one.bandwidth.map(limits::json),
        "hostPorts": one.port_mappings.iter().map(|mapping| json!({
            "hostPort": mapping.host_port,
            "podPort": mapping.pod_port,
            "protocol": mapping.protocol,
            "hostAddress": mapping.host_address,
        })).collect::<Vec<_>>(),
        "hostInterface": one.host_interface,
        "cloudInterface": one.cloud_interface,
        "state": one.state,
        "createdMs": one.created_ms,
        "addMicros": one.add_micros,
        "waitedMicros": one.waited_micros,
    })
}
