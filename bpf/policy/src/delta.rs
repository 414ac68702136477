//! What differs between two rule sets, for a kernel that holds the older one.

use std::cmp::Ordering;

use ipnet::IpNet;

use crate::RuleSet;

/// Changes that make one set's peers those of another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Prefixes to write, new ones and ones of another class, each with its class.
    pub put: Vec<(IpNet, u32)>,
    /// Prefixes to take away.
    pub removed: Vec<IpNet>,
}

/// What turns `old` into `new`; `None` where their classes or origins differ, so that the numbers
/// of the one mean nothing in the other.
pub fn delta(old: &RuleSet, new: &RuleSet) -> Option<Delta> {
    if old.classes != new.classes || old.origins != new.origins {
        return None;
    }
    let mut delta = Delta::default();
    let (mut before, mut after) = (old.peers.iter().peekable(), new.peers.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return Some(delta),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        match (old, new) {
            (Some((range, _)), None) => delta.removed.push(*range),
            (old, Some((range, &class))) if old != new => delta.put.push((*range, class)),
            _ => {}
        }
    }
}
