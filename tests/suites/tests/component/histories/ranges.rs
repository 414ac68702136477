//! Arithmetic of addresses, for the model alone.

use std::net::IpAddr;

/// A range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    width: u32,
    first: u128,
    length: u32,
}

impl Range {
    /// `10.0.0.16/28`, or one address.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (width, number) = match address.parse().ok()? {
            IpAddr::V4(v4) => (32, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (128, u128::from(v6)),
        };
        let length = length.unwrap_or(width);
        let size = 1_u128.checked_shl(width.checked_sub(length)?)?;
        Some(Self {
            width,
            first: number - number % size,
            length,
        })
    }

    /// How many addresses it has.
    pub(super) fn size(self) -> u128 {
        1 << (self.width - self.length)
    }

    /// Whether all of another range lies in it.
    pub(super) fn contains(self, other: Self) -> bool {
        self.width == other.width
            && self.first <= other.first
            && other.first + (other.size() - 1) <= self.first + (self.size() - 1)
    }
}

/// Whether an address, or a range, lies in one of these.
pub(super) fn lies_in<'a>(one: &str, ranges: impl IntoIterator<Item = &'a String>) -> bool {
    let Some(one) = Range::read(one) else {
        return false;
    };
    let mut ranges = ranges.into_iter().filter_map(|range| Range::read(range));
    ranges.any(|range| range.contains(one))
}

#[test]
fn a_prefix_holds_its_sixteen_addresses_and_no_other() {
    let prefix = Range::read("10.0.0.16/28").expect("is read");
    let inside = |text: &str| prefix.contains(Range::read(text).expect("is read"));
    assert_eq!(prefix.size(), 16);
    assert!(inside("10.0.0.16") && inside("10.0.0.31"));
    assert!(!inside("10.0.0.15") && !inside("10.0.0.32") && !inside("fd00::10"));
    assert_eq!(Range::read("10.0.0.0/33"), None);
}
