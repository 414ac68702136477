//! What a range of addresses is worth to pods: how many it serves, and which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::Family;

/// How many addresses of one IPv6 prefix pods use at most. A /80 has 2⁴⁸, more than
/// a node could ever count or use.
pub const IPV6_CAPACITY: u32 = 1 << 16;

/// Returns how many pods a range can serve. All 16 addresses of a /28 are good, the
/// first and the last as well: nothing is broadcast in it. An IPv6 range serves
/// [`IPV6_CAPACITY`] pods at most.
#[must_use]
pub fn capacity(range: &IpNet) -> u32 {
    let bits = range.max_prefix_len() - range.prefix_len();
    of_bits(Family::of_range(range), bits)
}

/// Returns the same for a range with so many bits of its own.
pub(crate) fn of_bits(family: Family, bits: u8) -> u32 {
    let all = 1_u32.checked_shl(bits.into()).unwrap_or(u32::MAX);
    match family {
        Family::V4 => all,
        Family::V6 => all.min(IPV6_CAPACITY),
    }
}

/// Returns the addresses of a range that pods can have, [`capacity`] of them, lowest
/// first.
pub fn addresses(range: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let network = range.network();
    (0..capacity(range)).map(move |offset| match network {
        IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits().wrapping_add(offset)).into(),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits() + u128::from(offset)).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlotKind;

    fn range(text: &str) -> IpNet {
        text.parse().expect("a range")
    }

    #[test]
    fn an_address_serves_one_pod_a_slash_28_sixteen_and_a_slash_80_as_many_as_are_counted() {
        for (text, pods) in [
            ("10.0.0.7/32", 1),
            ("10.0.0.16/28", 16),
            ("0.0.0.0/0", u32::MAX),
            ("2001:db8::7/128", 1),
            ("2001:db8::/120", 256),
            ("2001:db8::/80", IPV6_CAPACITY),
            ("::/0", IPV6_CAPACITY),
        ] {
            assert_eq!(capacity(&range(text)), pods, "{text}");
        }
    }

    #[test]
    fn a_slot_is_worth_what_the_range_in_it_is_worth() {
        for (text, kind, family) in [
            ("10.0.0.7/32", SlotKind::Address, Family::V4),
            ("10.0.0.16/28", SlotKind::Prefix, Family::V4),
            ("2001:db8::7/128", SlotKind::Address, Family::V6),
            ("2001:db8::/80", SlotKind::Prefix, Family::V6),
        ] {
            let range = range(text);
            assert_eq!(SlotKind::of(&range), kind);
            assert_eq!(Family::of_range(&range), family);
            assert_eq!(kind.capacity(family), capacity(&range), "{text}");
        }
    }

    #[test]
    fn pods_can_have_every_address_that_is_counted_lowest_first() {
        let all: Vec<IpAddr> = addresses(&range("10.0.0.16/28")).collect();
        assert_eq!(all.len(), 16);
        assert_eq!(all.first(), Some(&IpAddr::from([10, 0, 0, 16])));
        assert_eq!(all.last(), Some(&IpAddr::from([10, 0, 0, 31])));
        let many = range("2001:db8::/80");
        assert_eq!(addresses(&many).count(), IPV6_CAPACITY as usize);
    }
}
