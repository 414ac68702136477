//! Which interfaces of the node Veni may use, and which belong to an operator
//! or to another program.

use aws_sdk_ec2::types::{NetworkInterface, NetworkInterfaceType};

use crate::tags;

/// What the rule looks at besides the interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) instance: &'a str,
    /// Interfaces that nobody claims are ours.
    pub(crate) untagged: bool,
    /// The primary interface gives pods addresses.
    pub(crate) primary: bool,
}

/// Whether pods may have addresses of it.
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
        return claims.primary;
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
        Some(value) => value != "true",
        None if ours(claims.instance, interface) => true,
        None => claims.untagged,
    }
}

/// Whether it was made for this instance, by us or by a plugin before us.
pub(crate) fn ours(instance: &str, interface: &NetworkInterface) -> bool {
    tags::value(interface.tag_set(), tags::INSTANCE) == Some(instance)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::NetworkInterfaceAttachment;

    use super::*;

    const CLAIMS: Claims<'_> = Claims {
        instance: "i-1",
        untagged: true,
        primary: true,
    };
    const STRICT: Claims<'_> = Claims {
        untagged: false,
        ..CLAIMS
    };

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
        assert!(managed(STRICT, &primary));
    }

    #[test]
    fn the_primary_interface_is_not_used_when_pods_have_subnets_of_their_own() {
        let custom = Claims {
            primary: false,
            ..CLAIMS
        };
        assert!(!managed(custom, &interface(0, &[])));
        assert!(managed(custom, &interface(1, &[])));
    }

    #[test]
    fn the_no_manage_tag_decides_before_anything_else() {
        let ours = (tags::INSTANCE, "i-1");
        let off = interface(1, &[(tags::NO_MANAGE, "true"), ours]);
        assert!(!managed(CLAIMS, &off));
        let on = interface(1, &[(tags::NO_MANAGE, "false")]);
        assert!(managed(STRICT, &on));
    }

    #[test]
    fn our_tag_makes_it_ours_and_another_instances_does_not() {
        assert!(managed(STRICT, &interface(1, &[(tags::INSTANCE, "i-1")])));
        assert!(!managed(STRICT, &interface(1, &[(tags::INSTANCE, "i-2")])));
    }

    #[test]
    fn what_nobody_claims_is_ours_if_the_setting_says_so() {
        assert!(managed(CLAIMS, &interface(1, &[])));
        assert!(!managed(STRICT, &interface(1, &[])));
    }

    #[test]
    fn other_network_cards_and_special_interfaces_are_left_alone() {
        let attachment = NetworkInterfaceAttachment::builder()
            .device_index(1)
            .network_card_index(1);
        let other_card = NetworkInterface::builder().attachment(attachment.build());
        assert!(!managed(CLAIMS, &other_card.build()));
        for kind in [
            NetworkInterfaceType::Efa,
            NetworkInterfaceType::Trunk,
            NetworkInterfaceType::Branch,
        ] {
            let attachment = NetworkInterfaceAttachment::builder().device_index(1);
            let special = NetworkInterface::builder()
                .attachment(attachment.build())
                .interface_type(kind);
            assert!(!managed(CLAIMS, &special.build()));
        }
    }
}
