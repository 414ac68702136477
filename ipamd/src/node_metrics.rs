//! Metrics that are read when somebody asks for them: how pods' addresses are spread, and
//! what starves pods though addresses are left, which is connection tracking of the node
//! and the allowances of an EC2 instance. Reads only.
//!
//! The last reading is kept as plain data, and each answer is made of it. So a series goes
//! with its interface, and what a node does not have is not there.

pub(crate) mod allowances;
pub(crate) mod conntrack;
mod sampler;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::metrics::{AWS, OWN};
use crate::pool::{AddressState, PoolReport};
use allowances::Allowances;
use conntrack::Conntrack;
pub(crate) use sampler::{CountDrops, Sampler, Sources};

/// For addresses of an interface whose subnet the cloud has not told of.
const UNKNOWN_RANGE: &str = "unknown";

/// What was read last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeMetrics {
    spread: Arc<Mutex<Spread>>,
    kernel: Arc<Mutex<KernelReading>>,
}

/// How many addresses pods have, by where they are from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Spread {
    by_interface: BTreeMap<String, u64>,
    by_range: BTreeMap<String, u64>,
}

/// What the kernel and its drivers tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KernelReading {
    /// None where the kernel tracks no connections.
    pub(crate) conntrack: Option<Conntrack>,
    /// By link; none where a driver tells of no allowances.
    pub(crate) allowances: Vec<(String, Allowances)>,
    /// None where nothing judges pods' packets.
    pub(crate) drops: Vec<Drops>,
}

/// Packets of pods that were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drops {
    /// `ingress` of what goes to pods, `egress` of what they send.
    pub(crate) direction: &'static str,
    /// As docs/enforcement.md lists them.
    pub(crate) reason: &'static str,
    /// Since the programs were put into force.
    pub(crate) packets: u64,
}

impl NodeMetrics {
    /// Has them exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register_collector(Box::new(OfPods(self.clone())));
        let own = registry.sub_registry_with_prefix(OWN);
        own.register_collector(Box::new(OfKernel(self.clone())));
    }

    /// Takes in how pods' addresses are spread.
    pub(crate) fn set_spread(&self, report: &PoolReport) {
        *self.spread.lock().unwrap_or_else(PoisonError::into_inner) = Spread::of(report);
    }

    /// Takes in what the kernel tells.
    pub(crate) fn set_kernel(&self, reading: KernelReading) {
        *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }
}

impl Spread {
    /// Counts a prefix's addresses by the prefix, and single ones by their subnet: an address
    /// is no label.
    fn of(report: &PoolReport) -> Self {
        let mut spread = Self::default();
        let is_used = |state: &AddressState| matches!(state, AddressState::Assigned(_));
        for interface in &report.interfaces {
            let mut of_interface = 0;
            for prefix in &interface.prefixes {
                let used = u64::from(prefix.assigned);
                spread.by_range.insert(prefix.prefix.to_string(), used);
                of_interface += used;
            }
            let singles = interface.addresses.iter();
            let singles = singles.filter(|one| is_used(&one.state)).count() as u64;
            if !interface.addresses.is_empty() {
                let mut subnets = report.subnets.iter();
                let subnet = subnets.find(|subnet| subnet.id == interface.subnet);
                let range = subnet.and_then(|subnet| subnet.cidr);
                let range = range.map_or(UNKNOWN_RANGE.to_owned(), |range| range.to_string());
                *spread.by_range.entry(range).or_default() += singles;
            }
            let id = interface.id.to_string();
            spread.by_interface.insert(id, of_interface + singles);
        }
        spread
    }
}

/// One family of metrics, and its samples.
struct Family<'a, L> {
    name: &'a str,
    help: &'a str,
    kind: MetricType,
    samples: Vec<(L, u64)>,
}

impl<L: EncodeLabelSet> Family<'_, L> {
    /// Writes it down, should it have samples.
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.samples.is_empty() {
            return Ok(());
        }
        // As the registry ends those of other metrics.
        let help = format!("{}.", self.help);
        let mut family = encoder.encode_descriptor(self.name, &help, None, self.kind)?;
        for (labels, value) in &self.samples {
            let sample = family.encode_family(labels)?;
            match self.kind {
                MetricType::Counter => ConstCounter::new(*value).encode(sample)?,
                _ => ConstGauge::new(*value).encode(sample)?,
            }
        }
        Ok(())
    }
}

/// How pods' addresses are spread, by the AWS plugin's names.
#[derive(Debug)]
struct OfPods(NodeMetrics);

impl Collector for OfPods {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let spread = self.0.spread.lock();
        let spread = spread.unwrap_or_else(PoisonError::into_inner).clone();
        let labelled = |name: &'static str, counts: BTreeMap<String, u64>| {
            let counts = counts.into_iter();
            counts.map(|(of, count)| ([(name, of)], count)).collect()
        };
        let by_interface = Family {
            name: "assigned_ip_per_eni",
            help: "Addresses in use by pods, by interface",
            kind: MetricType::Gauge,
            samples: labelled("eni", spread.by_interface),
        };
        by_interface.encode(&mut encoder)?;
        let by_range = Family {
            name: "assigned_ip_per_cidr",
            help: "Addresses in use by pods, by delegated prefix, and for single addresses by subnet",
            kind: MetricType::Gauge,
            samples: labelled("cidr", spread.by_range),
        };
        by_range.encode(&mut encoder)
    }
}

/// What the kernel and its drivers tell.
#[derive(Debug)]
struct OfKernel(NodeMetrics);

impl Collector for OfKernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reading = self.0.kernel.lock();
        let reading = reading.unwrap_or_else(PoisonError::into_inner).clone();
        reading.conntrack.iter().try_for_each(|conntrack| {
            for (name, help, value) in [
                (
                    "conntrack_entries",
                    "Connections that the node's kernel tracks.",
                    conntrack.entries,
                ),
                (
                    "conntrack_limit",
                    "Connections that it tracks at most; beyond, it drops packets of new ones. \
                     0 is no limit.",
                    conntrack.limit,
                ),
            ] {
                let gauge = ConstGauge::new(value);
                let kind = MetricType::Gauge;
                gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
            }
            Ok(())
        })?;
        let exceeded = reading.allowances.iter().flat_map(|(device, allowances)| {
            let counts = allowances.exceeded.iter();
            counts.map(|(allowance, count)| {
                let labels = [("device", device.as_str()), ("allowance", allowance)];
                (labels, *count)
            })
        });
        let exceeded = Family {
            name: "ena_allowance_exceeded",
            help: "Packets that EC2 queued or dropped because the instance exceeded an allowance",
            kind: MetricType::Counter,
            samples: exceeded.collect(),
        };
        exceeded.encode(&mut encoder)?;
        let available = reading
            .allowances
            .iter()
            .filter_map(|(device, allowances)| {
                let available = allowances.conntrack_available?;
                Some(([("device", device.as_str())], available))
            });
        let available = Family {
            name: "ena_conntrack_allowance_available",
            help: "Connections that EC2 may still track for the instance",
            kind: MetricType::Gauge,
            samples: available.collect(),
        };
        available.encode(&mut encoder)?;
        let drops = reading.drops.iter().map(|drops| {
            let labels = [("direction", drops.direction), ("reason", drops.reason)];
            (labels, drops.packets)
        });
        let drops = Family {
            name: "enforcement_dropped_packets",
            help: "Packets of pods that the programs of VENI_ENFORCEMENT dropped, by reason",
            kind: MetricType::Counter,
            samples: drops.collect(),
        };
        drops.encode(&mut encoder)
    }
}

#[cfg(test)]
mod tests;
