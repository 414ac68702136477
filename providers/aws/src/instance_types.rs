//! What the instance type allows: from a table if there is one that knows it,
//! else asked of EC2 once.

use std::sync::Arc;

use aws_sdk_ec2::types::{InstanceType, InstanceTypeHypervisor, InstanceTypeInfo};
use veni_provider::{ErrorClass, Limits, ProviderError};

use crate::actions::Action;
use crate::ec2::Ec2;

/// What the provider has to know of an instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeFacts {
    /// Limits of the default network card.
    pub limits: Limits,
    /// Whether prefixes can be delegated: Nitro and bare metal can, Xen cannot.
    pub prefixes: bool,
}

/// Looks an instance type up in a table; `None` when the table lacks it.
pub type TypeLookup = Arc<dyn Fn(&str) -> Option<TypeFacts> + Send + Sync>;

/// The facts of a type.
pub(crate) async fn facts(
    ec2: &Ec2,
    table: Option<&TypeLookup>,
    name: &str,
) -> Result<TypeFacts, ProviderError> {
    if let Some(known) = table.and_then(|lookup| lookup(name)) {
        return Ok(known);
    }
    let call = ec2
        .client
        .describe_instance_types()
        .instance_types(InstanceType::from(name))
        .send();
    let action = Action::DescribeInstanceTypes;
    let answer = ec2.call(action, call).await;
    let answer = answer.map_err(crate::failure::Refusal::error)?;
    let facts = answer.instance_types().first().and_then(facts_of);
    facts.ok_or_else(|| {
        let reason = format!("EC2 told no network limits of instance type {name}");
        ProviderError::new(ErrorClass::Fatal, action.label(), reason)
    })
}

/// The facts of a type by the table alone.
pub(crate) fn in_table(table: Option<&TypeLookup>, name: &str) -> Result<TypeFacts, ProviderError> {
    table.and_then(|lookup| lookup(name)).ok_or_else(|| {
        let reason = format!(
            "instance type {name} is not in the table, and EC2 is not to be asked: \
             let the node ask EC2, or update"
        );
        ProviderError::new(ErrorClass::Fatal, "connect", reason)
    })
}

fn facts_of(described: &InstanceTypeInfo) -> Option<TypeFacts> {
    let number = |count: Option<i32>| u32::try_from(count?).ok();
    let network = described.network_info()?;
    let default_card = network.default_network_card_index().unwrap_or(0);
    let of_card = network
        .network_cards()
        .iter()
        .find(|card| card.network_card_index() == Some(default_card))
        .and_then(|card| card.maximum_network_interfaces());
    let interfaces = number(of_card.or(network.maximum_network_interfaces()))?;
    let ipv6 = number(network.ipv6_addresses_per_interface()).unwrap_or(0);
    let nitro = described.hypervisor() == Some(&InstanceTypeHypervisor::Nitro);
    Some(TypeFacts {
        limits: Limits {
            interfaces,
            ipv4_per_interface: number(network.ipv4_addresses_per_interface())?,
            ipv6_per_interface: if network.ipv6_supported() == Some(true) {
                ipv6
            } else {
                0
            },
            vcpus: number(described.v_cpu_info().and_then(|v| v.default_v_cpus())).unwrap_or(0),
        },
        prefixes: nitro || described.bare_metal() == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::builders::InstanceTypeInfoBuilder;
    use aws_sdk_ec2::types::{NetworkCardInfo, NetworkInfo, VCpuInfo};

    use super::*;

    fn described(cards: &[i32], ipv6: bool) -> InstanceTypeInfoBuilder {
        let card = |(index, most): (usize, &i32)| {
            NetworkCardInfo::builder()
                .network_card_index(i32::try_from(index).expect("few cards"))
                .maximum_network_interfaces(*most)
                .build()
        };
        let network = NetworkInfo::builder()
            .maximum_network_interfaces(cards.iter().sum())
            .default_network_card_index(0)
            .set_network_cards(Some(cards.iter().enumerate().map(card).collect()))
            .ipv4_addresses_per_interface(30)
            .ipv6_addresses_per_interface(30)
            .ipv6_supported(ipv6);
        InstanceTypeInfo::builder()
            .network_info(network.build())
            .v_cpu_info(VCpuInfo::builder().default_v_cpus(8).build())
    }

    #[test]
    fn the_default_card_counts_and_the_others_do_not() {
        let facts = facts_of(&described(&[7, 9], true).build()).expect("told");
        assert_eq!(facts.limits.interfaces, 7);
        assert_eq!(facts.limits.ipv6_per_interface, 30);
        assert_eq!(facts.limits.vcpus, 8);
    }

    #[test]
    fn a_type_without_ipv6_has_no_ipv6_slots() {
        let facts = facts_of(&described(&[4], false).build()).expect("told");
        assert_eq!(facts.limits.ipv6_per_interface, 0);
    }

    #[test]
    fn nitro_and_bare_metal_take_prefixes_and_xen_does_not() {
        let of = |made: InstanceTypeInfoBuilder| facts_of(&made.build()).expect("told").prefixes;
        assert!(of(
            described(&[4], true).hypervisor(InstanceTypeHypervisor::Nitro)
        ));
        assert!(of(described(&[4], true).bare_metal(true)));
        assert!(!of(
            described(&[4], true).hypervisor(InstanceTypeHypervisor::Xen)
        ));
    }

    #[test]
    fn a_type_without_network_limits_is_not_known() {
        assert_eq!(facts_of(&InstanceTypeInfo::builder().build()), None);
    }
}
