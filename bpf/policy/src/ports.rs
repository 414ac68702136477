//! Lists of allowed ports, sorted and without ranges inside of others. Ranges that touch stay apart.

use crate::{Class, PortRange, Ports};

impl Class {
    /// Sorted, and without ranges that lie in another one. Of equal ranges the first origin stays.
    pub(crate) fn new(mut ports: Vec<PortRange>) -> Self {
        ports.sort_by_key(|range| {
            let (protocol, first, last) = match range.ports {
                Ports::All => return (None, 0, 0, range.origin),
                Ports::Some {
                    protocol,
                    first,
                    last,
                } => (protocol, first, last),
            };
            // The longest of those that begin together comes first, and hides the others.
            (Some(protocol), first, u16::MAX - last, range.origin)
        });
        let mut kept: Vec<PortRange> = Vec::with_capacity(ports.len());
        for range in ports {
            if !kept
                .last()
                .is_some_and(|last| last.ports.contain(range.ports))
            {
                kept.push(range);
            }
        }
        Self { ports: kept }
    }
}

impl Ports {
    fn contain(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) => false,
            (
                Self::Some {
                    protocol,
                    first,
                    last,
                },
                Self::Some {
                    protocol: theirs,
                    first: from,
                    last: to,
                },
            ) => protocol == theirs && first <= from && to <= last,
        }
    }
}
