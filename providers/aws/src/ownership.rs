//! Which interfaces of the node Veni may use, and which belong to an operator
//! or to another program; and of which of its own pods may have addresses.

use aws_sdk_ec2::types::{NetworkInterface, NetworkInterfaceType};

use crate::settings::AwsSettings;
use crate::subnets::Record;
use crate::tags;

/// What the rule looks at besides the interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) instance: &'a str,
    pub(crate) settings: &'a AwsSettings,
}

impl Claims<'_> {
    /// Whether pods may have addresses of a managed interface: none of the
    /// primary one and of other subnets when they have a network of their own,
    /// and none of a subnet that is tagged to keep them out.
    pub(crate) fn for_pods(self, primary: bool, subnet: Option<&Record>) -> bool {
        if let Some(custom) = self.settings.custom_network() {
            return !primary && subnet.is_none_or(|record| record.id == custom.subnet);
        }
        let excluded = subnet.is_some_and(Record::excluded);
        !(self.settings.subnet_discovery && excluded)
    }
}

/// Whether Veni may use it.
pub(crate) fn managed(claims: Claims<'_>, interface: &NetworkInterface) -> bool {
    let attachment = interface.attachment();
    let index = attachment.and_then(|a| a.device_index()).unwrap_or(0);
    // Limits and tables count the default network card; what is on another one
    // was put there for somebody's own use.
    let card = attachment.and_then(|a| a.network_card_index()).unwrap_or(0);
    if card != 0 {
        return false;
    }
    if index == 0 {
        return true;
    }
    let plain = interface
        .interface_type()
        .is_none_or(|kind| *kind == NetworkInterfaceType::Interface);
    let of_a_service = interface.requester_managed() == Some(true)
        || interface.operator().and_then(|o| o.managed()) == Some(true);
    if !plain || of_a_service {
        return false;
    }
    match tags::value(interface.tag_set(), tags::NO_MANAGE) {
        Some(_) => !tags::hands_off(interface.tag_set()),
        None if ours(claims.instance, interface) => true,
        None => claims.settings.manage_untagged,
    }
}

/// Whether it was made for this instance, by us or by a plugin before us.
pub(crate) fn ours(instance: &str, interface: &NetworkInterface) -> bool {
    tags::value(interface.tag_set(), tags::INSTANCE) == Some(instance)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aws_sdk_ec2::types::NetworkInterfaceAttachment;
    use veni_provider::SubnetId;

    use super::*;
    use crate::settings::CustomNetwork;

    /// Uses what nobody claims.
    static LENIENT: LazyLock<AwsSettings> = LazyLock::new(AwsSettings::default);
    static STRICT: LazyLock<AwsSettings> = LazyLock::new(|| AwsSettings {
        manage_untagged: false,
        ..AwsSettings::default()
    });

    fn claims(settings: &AwsSettings) -> Claims<'_> {
        Claims {
            instance: "i-1",
            settings,
        }
    }

    fn subnet(id: &str, role: &str) -> Record {
        let described = aws_sdk_ec2::types::Subnet::builder()
            .subnet_id(id)
            .tags(tags::tag(tags::SUBNET_ROLE, role));
        Record::of(&described.build()).expect("it has an id")
    }

    fn interface(index: i32, tagged: &[(&str, &str)]) -> NetworkInterface {
        let attachment = NetworkInterfaceAttachment::builder().device_index(index);
        tagged
            .iter()
            .fold(NetworkInterface::builder(), |made, (key, value)| {
                made.tag_set(tags::tag(key, value))
            })
            .attachment(attachment.build())
            .build()
    }

    #[test]
    fn the_primary_interface_is_managed_whatever_its_tags_say() {
        let primary = interface(0, &[(tags::NO_MANAGE, "true")]);
        assert!(managed(claims(&STRICT), &primary));
    }

    #[test]
    fn pods_with_a_subnet_of_their_own_get_nothing_of_the_primary_interface() {
        let settings = AwsSettings {
            custom_network: CustomNetwork {
                subnet: SubnetId::new("pods"),
                security_groups: Vec::new(),
            }
            .always(),
            ..AwsSettings::default()
        };
        let claims = claims(&settings);
        let (pods, nodes) = (subnet("pods", "1"), subnet("nodes", "1"));
        assert!(managed(claims, &interface(0, &[])));
        assert!(!claims.for_pods(true, Some(&nodes)));
        assert!(!claims.for_pods(true, Some(&pods)));
        assert!(claims.for_pods(false, Some(&pods)));
        assert!(!claims.for_pods(false, Some(&nodes)));
    }

    #[test]
    fn a_subnet_that_is_tagged_out_gives_pods_nothing_on_any_interface() {
        let (out, other) = (subnet("a", "0"), subnet("a", "1"));
        for primary in [true, false] {
            assert!(!claims(&LENIENT).for_pods(primary, Some(&out)));
            assert!(claims(&LENIENT).for_pods(primary, Some(&other)));
        }
        let no_discovery = AwsSettings {
            subnet_discovery: false,
            ..AwsSettings::default()
        };
        assert!(claims(&no_discovery).for_pods(true, Some(&out)));
    }

    #[test]
    fn the_no_manage_tag_decides_before_anything_else() {
        let ours = (tags::INSTANCE, "i-1");
        let off = interface(1, &[(tags::NO_MANAGE, "true"), ours]);
        assert!(!managed(claims(&LENIENT), &off));
        let on = interface(1, &[(tags::NO_MANAGE, "false")]);
        assert!(managed(claims(&STRICT), &on));
    }

    #[test]
    fn our_tag_makes_it_ours_and_another_instances_does_not() {
        assert!(managed(
            claims(&STRICT),
            &interface(1, &[(tags::INSTANCE, "i-1")])
        ));
        assert!(!managed(
            claims(&STRICT),
            &interface(1, &[(tags::INSTANCE, "i-2")])
        ));
    }

    #[test]
    fn what_nobody_claims_is_ours_if_the_setting_says_so() {
        assert!(managed(claims(&LENIENT), &interface(1, &[])));
        assert!(!managed(claims(&STRICT), &interface(1, &[])));
    }

    #[test]
    fn other_network_cards_and_special_interfaces_are_left_alone() {
        let attachment = NetworkInterfaceAttachment::builder()
            .device_index(1)
            .network_card_index(1);
        let other_card = NetworkInterface::builder().attachment(attachment.build());
        assert!(!managed(claims(&LENIENT), &other_card.build()));
        for kind in [
            NetworkInterfaceType::Efa,
            NetworkInterfaceType::Trunk,
            NetworkInterfaceType::Branch,
        ] {
            let attachment = NetworkInterfaceAttachment::builder().device_index(1);
            let special = NetworkInterface::builder()
                .attachment(attachment.build())
                .interface_type(kind);
            assert!(!managed(claims(&LENIENT), &special.build()));
        }
    }
}
