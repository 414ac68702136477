//! What is sent to EC2, built apart from sending it.

use aws_sdk_ec2::operation::assign_ipv6_addresses::AssignIpv6AddressesInput;
use aws_sdk_ec2::operation::assign_ipv6_addresses::builders::AssignIpv6AddressesInputBuilder;
use aws_sdk_ec2::operation::assign_private_ip_addresses::AssignPrivateIpAddressesInput;
use aws_sdk_ec2::operation::assign_private_ip_addresses::builders::AssignPrivateIpAddressesInputBuilder;
use aws_sdk_ec2::operation::create_network_interface::CreateNetworkInterfaceInput;
use aws_sdk_ec2::operation::create_network_interface::builders::CreateNetworkInterfaceInputBuilder;
use aws_sdk_ec2::types::{Filter, ResourceType, TagSpecification};
use veni_provider::{AddressSlots, Family, InterfaceId, SubnetId};

use crate::settings::AwsSettings;
use crate::tags;

/// Everything that makes a new interface what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation<'a> {
    pub(crate) instance: &'a str,
    pub(crate) subnet: &'a SubnetId,
    pub(crate) groups: &'a [String],
    pub(crate) slots: Option<AddressSlots>,
    /// The caller's token, and the time that the first request of it told: a
    /// repeated request must be the same to the letter.
    pub(crate) token: &'a str,
    pub(crate) created: &'a str,
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// CreateNetworkInterface, with all that it shall hold from the start.
pub(crate) fn create(
    settings: &AwsSettings,
    creation: Creation<'_>,
) -> CreateNetworkInterfaceInputBuilder {
    let tags = tags::of_interface(settings, creation.instance, creation.created);
    let specification = TagSpecification::builder()
        .resource_type(ResourceType::NetworkInterface)
        .set_tags(Some(tags));
    let input = CreateNetworkInterfaceInput::builder()
        .subnet_id(creation.subnet.as_str())
        .description(tags::description(creation.instance))
        .set_groups((!creation.groups.is_empty()).then(|| creation.groups.to_vec()))
        .tag_specifications(specification.build())
        .client_token(client_token(
            creation.instance,
            creation.subnet,
            creation.token,
        ));
    match creation.slots {
        None => input,
        Some(AddressSlots::Addresses { family, count }) => match family {
            Family::V4 => input.secondary_private_ip_address_count(number(count)),
            Family::V6 => input.ipv6_address_count(number(count)),
        },
        Some(AddressSlots::Prefixes { family, count }) => match family {
            Family::V4 => input.ipv4_prefix_count(number(count)),
            Family::V6 => input.ipv6_prefix_count(number(count)),
        },
    }
}

/// A token that no other node and no other subnet shares: EC2 compares tokens
/// over the whole account, and refuses one that comes with another request. At
/// most 64 characters.
fn client_token(instance: &str, subnet: &SubnetId, token: &str) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let text = format!("{instance}\n{subnet}\n{token}");
    // FNV-1a: the same in every release, which the standard library's is not.
    let hash = text.bytes().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    format!("veni-{hash:032x}")
}

/// AssignPrivateIpAddresses.
pub(crate) fn assign_ipv4(
    interface: &InterfaceId,
    prefixes: bool,
    count: u32,
) -> AssignPrivateIpAddressesInputBuilder {
    let input = AssignPrivateIpAddressesInput::builder().network_interface_id(interface.as_str());
    if prefixes {
        input.ipv4_prefix_count(number(count))
    } else {
        input.secondary_private_ip_address_count(number(count))
    }
}

/// AssignIpv6Addresses.
pub(crate) fn assign_ipv6(
    interface: &InterfaceId,
    prefixes: bool,
    count: u32,
) -> AssignIpv6AddressesInputBuilder {
    let input = AssignIpv6AddressesInput::builder().network_interface_id(interface.as_str());
    if prefixes {
        input.ipv6_prefix_count(number(count))
    } else {
        input.ipv6_address_count(number(count))
    }
}

/// A filter by one value.
pub(crate) fn filter(name: &str, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(slots: Option<AddressSlots>, groups: &[String]) -> CreateNetworkInterfaceInput {
        let creation = Creation {
            instance: "i-1",
            subnet: &SubnetId::new("subnet-a"),
            groups,
            slots,
            token: "one",
            created: "2026-01-02T03:04:05Z",
        };
        create(&AwsSettings::default(), creation)
            .build()
            .expect("nothing is missing")
    }

    #[test]
    fn a_new_interface_is_recognisable_and_has_the_groups_asked_for() {
        let request = built(None, &["sg-1".to_owned()]);
        assert_eq!(request.description(), Some("aws-K8S-i-1"));
        assert_eq!(request.subnet_id(), Some("subnet-a"));
        assert_eq!(request.groups(), ["sg-1"]);
        let tags = request.tag_specifications()[0].tags();
        assert_eq!(tags::value(tags, tags::INSTANCE), Some("i-1"));
        assert_eq!(
            tags::value(tags, tags::CREATED),
            Some("2026-01-02T03:04:05Z")
        );
    }

    #[test]
    fn every_kind_of_slots_has_its_own_number_and_no_other() {
        let kinds = [Family::V4, Family::V6].into_iter().flat_map(|family| {
            [
                AddressSlots::Addresses { family, count: 3 },
                AddressSlots::Prefixes { family, count: 3 },
            ]
        });
        let mut seen = Vec::new();
        for slots in kinds {
            let request = built(Some(slots), &[]);
            let counts = [
                request.secondary_private_ip_address_count(),
                request.ipv4_prefix_count(),
                request.ipv6_address_count(),
                request.ipv6_prefix_count(),
            ];
            let set: Vec<usize> = (0..4).filter(|n| counts[*n] == Some(3)).collect();
            assert_eq!(counts.iter().flatten().count(), 1, "{slots:?}");
            seen.extend(set);
        }
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn no_groups_leave_the_choice_to_the_vpc() {
        assert!(built(None, &[]).groups.is_none());
    }

    #[test]
    fn a_client_token_is_the_same_for_the_same_request_only() {
        let (a, b) = (SubnetId::new("subnet-a"), SubnetId::new("subnet-b"));
        let token = client_token("i-1", &a, "one");
        assert_eq!(token, client_token("i-1", &a, "one"));
        for other in [
            client_token("i-2", &a, "one"),
            client_token("i-1", &b, "one"),
            client_token("i-1", &a, "two"),
        ] {
            assert_ne!(token, other);
        }
        assert!(token.len() <= 64 && token.is_ascii());
    }

    #[test]
    fn assigning_asks_for_addresses_or_prefixes() {
        let interface = InterfaceId::new("eni-1");
        let input = assign_ipv4(&interface, true, 2);
        assert_eq!(
            (
                *input.get_ipv4_prefix_count(),
                *input.get_secondary_private_ip_address_count()
            ),
            (Some(2), None)
        );
        let input = assign_ipv6(&interface, false, 2);
        assert_eq!(
            (
                *input.get_ipv6_prefix_count(),
                *input.get_ipv6_address_count()
            ),
            (None, Some(2))
        );
    }
}
