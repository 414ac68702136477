//! A release to the cloud that the cloud has not agreed with.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use veni_nouns::InterfaceId;

/// A release as the journal keeps it, until the cloud agrees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct PendingRelease {
    /// Addresses and prefixes.
    pub(crate) ranges: BTreeSet<IpNet>,
    /// The interface, if it goes with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interface: Option<InterfaceId>,
}

impl PendingRelease {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.interface.is_none()
    }
}

/// What may stand in the journal.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    /// Of a daemon that did not write interfaces down.
    Ranges(BTreeSet<IpNet>),
    PendingRelease {
        ranges: BTreeSet<IpNet>,
        interface: Option<InterfaceId>,
    },
}

impl From<Written> for PendingRelease {
    fn from(written: Written) -> Self {
        match written {
            Written::Ranges(ranges) => Self {
                ranges,
                interface: None,
            },
            Written::PendingRelease { ranges, interface } => Self { ranges, interface },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_of_a_daemon_that_wrote_ranges_only_is_understood() {
        let range: IpNet = "10.0.0.9/32".parse().expect("a range");
        let before = r#"["10.0.0.9/32"]"#;
        let read: PendingRelease = serde_json::from_str(before).expect("reads");
        assert_eq!(read.ranges, BTreeSet::from([range]));
        let whole = PendingRelease {
            interface: Some(InterfaceId::new("eni-1")),
            ..read
        };
        let text = serde_json::to_string(&whole).expect("writes");
        assert_eq!(
            serde_json::from_str::<PendingRelease>(&text).expect("reads"),
            whole
        );
    }
}
