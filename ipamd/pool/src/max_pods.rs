//! How many pods a node can have addresses for, and how many are recommended.
//!
//! AWS: each interface keeps one address for itself, and two pods of every node
//! (the CNI's own and kube-proxy) use the host's network. Recommended are at
//! most 110 pods on up to 30 vCPUs and 250 above. Azure: 256 addresses per
//! interface and machine, 250 pods recommended at most.

use std::fmt;
use veni_nouns::{Family, SlotKind};

/// Pods of every node that use the host's network and need no address.
const HOST_NETWORK_PODS: u32 = 2;
/// Addresses that Azure gives one machine, its own included.
const AZURE_SLOTS: u32 = 256;
/// Pods that Azure recommends at most.
const AZURE_RECOMMENDED: u32 = 250;

/// What an instance type allows; from the cloud's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Interfaces of the default network card.
    pub interfaces: u32,
    /// IPv4 addresses per interface, its own included.
    pub addresses_per_interface: u32,
    /// Virtual CPUs; `None` when not known: then the lower cap is recommended.
    pub vcpus: Option<u32>,
}

/// The settings that change the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What slots are filled with.
    pub mode: SlotKind,
    /// Pods have addresses of other subnets: the primary interface gives none.
    pub custom_networking: bool,
    /// `MAX_ENI` (`--cni-max-eni`): counts when at least 1 and below the type's own.
    pub max_interfaces: Option<u32>,
    /// Ignore the recommended cap (`--show-max-allowed`).
    pub uncapped: bool,
}

impl Settings {
    /// Nothing special: the given mode, and the recommended cap.
    #[must_use]
    pub fn new(mode: SlotKind) -> Self {
        Self {
            mode,
            custom_networking: false,
            max_interfaces: None,
            uncapped: false,
        }
    }
}

/// A number of pods and how it came about; `Display` shows the formula with its
/// numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPods {
    /// How many pods the node can run.
    pub pods: u32,
    /// What the addresses allow.
    pub by_addresses: u32,
    /// The recommended cap; `None` when it is ignored.
    pub recommended: Option<u32>,
    /// The formula with its numbers, and what lowered it, in words.
    pub explanation: String,
}

impl fmt::Display for MaxPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explanation)
    }
}

/// The number of pods for an AWS instance type.
#[must_use]
pub fn aws(machine: &Machine, settings: &Settings) -> MaxPods {
    let mut remarks = Vec::new();
    let mut interfaces = machine.interfaces;
    if let Some(limit) = settings
        .max_interfaces
        .filter(|limit| (1..interfaces).contains(limit))
    {
        remarks.push(format!(
            "MAX_ENI lowers {} to {limit}",
            counted(machine.interfaces, "interface")
        ));
        interfaces = limit;
    }
    if settings.max_interfaces == Some(0) {
        remarks.push("MAX_ENI 0 means no limit, as in the AWS plugin".to_owned());
    }
    if settings.custom_networking {
        remarks.push("custom networking leaves the primary interface out".to_owned());
        interfaces = interfaces.saturating_sub(1);
    }
    let slots = machine.addresses_per_interface.saturating_sub(1);
    let prefix = SlotKind::Prefix.capacity(Family::V4);
    let (each, shown) = match settings.mode {
        SlotKind::Address => (slots, format!("({} − 1)", machine.addresses_per_interface)),
        SlotKind::Prefix => (
            slots.saturating_mul(prefix),
            format!("({} − 1) × {prefix}", machine.addresses_per_interface),
        ),
    };
    let by_addresses = interfaces
        .saturating_mul(each)
        .saturating_add(HOST_NETWORK_PODS);
    let mut explanation = format!(
        "{} × {shown} addresses + {HOST_NETWORK_PODS} = {by_addresses}",
        counted(interfaces, "interface")
    );
    for remark in &remarks {
        explanation.push_str("; ");
        explanation.push_str(remark);
    }
    let recommended = (!settings.uncapped).then(|| recommended(machine.vcpus));
    let because = match machine.vcpus {
        Some(vcpus) => counted(vcpus, "vCPU"),
        None => "unknown number of vCPUs".to_owned(),
    };
    finish(by_addresses, recommended, &because, explanation)
}

/// The number of pods for an Azure machine with one interface for pods.
#[must_use]
pub fn azure(mode: SlotKind, uncapped: bool) -> MaxPods {
    let slots = AZURE_SLOTS - 1;
    let prefix = SlotKind::Prefix.capacity(Family::V4);
    let (by_addresses, explanation) = match mode {
        SlotKind::Address => (slots, format!("{AZURE_SLOTS} − 1 addresses = {slots}")),
        SlotKind::Prefix => {
            let addresses = slots * prefix;
            (
                addresses,
                format!("({AZURE_SLOTS} − 1) × {prefix} addresses = {addresses}"),
            )
        }
    };
    let recommended = (!uncapped).then_some(AZURE_RECOMMENDED);
    finish(by_addresses, recommended, "Azure's own", explanation)
}

/// AWS's recommendation: 110 pods on up to 30 vCPUs, 250 above.
#[must_use]
pub fn recommended(vcpus: Option<u32>) -> u32 {
    if vcpus.is_some_and(|vcpus| vcpus > 30) {
        250
    } else {
        110
    }
}

fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn finish(
    by_addresses: u32,
    recommended: Option<u32>,
    because: &str,
    mut explanation: String,
) -> MaxPods {
    let pods = by_addresses.min(recommended.unwrap_or(u32::MAX));
    if let Some(cap) = recommended {
        explanation.push_str(&format!(
            "; recommended at most {cap} ({because}); so {pods} pods"
        ));
    } else {
        explanation.push_str(&format!("; so {pods} pods"));
    }
    MaxPods {
        pods,
        by_addresses,
        recommended,
        explanation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M5_LARGE: Machine = Machine {
        interfaces: 3,
        addresses_per_interface: 10,
        vcpus: Some(2),
    };
    const M5_16XLARGE: Machine = Machine {
        interfaces: 15,
        addresses_per_interface: 50,
        vcpus: Some(64),
    };

    fn pods(machine: Machine, change: impl FnOnce(&mut Settings)) -> u32 {
        let mut settings = Settings::new(SlotKind::Address);
        change(&mut settings);
        aws(&machine, &settings).pods
    }

    #[test]
    fn single_addresses_give_the_published_numbers() {
        assert_eq!(pods(M5_LARGE, |_| {}), 29);
        let nano = Machine {
            interfaces: 2,
            addresses_per_interface: 2,
            vcpus: Some(2),
        };
        assert_eq!(pods(nano, |_| {}), 4);
        let m5_4xlarge = Machine {
            interfaces: 8,
            addresses_per_interface: 30,
            vcpus: Some(16),
        };
        assert_eq!(pods(m5_4xlarge, |settings| settings.uncapped = true), 234);
        assert_eq!(pods(m5_4xlarge, |_| {}), 110);
    }

    #[test]
    fn prefixes_count_sixteen_addresses_up_to_the_recommended_cap() {
        let prefixes = |settings: &mut Settings| settings.mode = SlotKind::Prefix;
        assert_eq!(pods(M5_LARGE, prefixes), 110);
        assert_eq!(pods(M5_16XLARGE, prefixes), 250);
        let uncapped = |settings: &mut Settings| {
            settings.mode = SlotKind::Prefix;
            settings.uncapped = true;
        };
        assert_eq!(pods(M5_LARGE, uncapped), 3 * 9 * 16 + 2);
        assert_eq!(pods(M5_16XLARGE, uncapped), 15 * 49 * 16 + 2);
    }

    #[test]
    fn thirty_vcpus_are_still_capped_at_110() {
        assert_eq!((recommended(Some(30)), recommended(Some(31))), (110, 250));
        assert_eq!(recommended(None), 110);
    }

    #[test]
    fn custom_networking_and_max_eni_take_interfaces_away() {
        assert_eq!(
            pods(M5_LARGE, |settings| settings.custom_networking = true),
            20
        );
        assert_eq!(
            pods(M5_LARGE, |settings| settings.max_interfaces = Some(2)),
            20
        );
        assert_eq!(
            pods(M5_LARGE, |settings| settings.max_interfaces = Some(7)),
            29
        );
        assert_eq!(
            pods(M5_LARGE, |settings| settings.max_interfaces = Some(0)),
            29
        );
        let both = |settings: &mut Settings| {
            settings.max_interfaces = Some(2);
            settings.custom_networking = true;
        };
        assert_eq!(pods(M5_LARGE, both), 11);
    }

    #[test]
    fn azure_recommends_250_of_its_255_addresses() {
        assert_eq!(azure(SlotKind::Address, false).pods, 250);
        assert_eq!(azure(SlotKind::Address, true).pods, 255);
        assert_eq!(azure(SlotKind::Prefix, true).pods, 4080);
        assert_eq!(
            azure(SlotKind::Address, false).to_string(),
            "256 − 1 addresses = 255; recommended at most 250 (Azure's own); so 250 pods"
        );
    }

    #[test]
    fn the_explanation_shows_the_formula_with_its_numbers() {
        let mut settings = Settings::new(SlotKind::Prefix);
        settings.custom_networking = true;
        assert_eq!(
            aws(&M5_LARGE, &settings).to_string(),
            "2 interfaces × (10 − 1) × 16 addresses + 2 = 290; custom networking leaves the \
             primary interface out; recommended at most 110 (2 vCPUs); so 110 pods"
        );
    }
}
