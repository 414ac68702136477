//! What one write does: a pure function of the NIC as it is and of all changes that wait.

use ipnet::IpNet;
use veni_provider::{ErrorClass, Limit};

use crate::configurations::{ChangeId, NewConfiguration, Nic};

/// Private addresses and blocks of a NIC, its primary address included. That a block takes
/// one of them is documented for a virtual network's limit alone.
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits>
pub(crate) const SLOTS: u32 = 256;

/// A change that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Configurations that are to come.
    Assign {
        id: ChangeId,
        block: bool,
        count: u32,
    },
    /// Ranges that are to go.
    Release { ranges: Vec<IpNet> },
}

/// What becomes of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is part of the write.
    Written,
    /// There is nothing to do.
    Done,
    /// It cannot be, and changes nothing.
    Refused(ErrorClass, String),
}

/// One write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One for each change, in their order.
    pub(crate) verdicts: Vec<Verdict>,
    /// Names that go.
    pub(crate) gone: Vec<String>,
    /// What comes.
    pub(crate) new: Vec<NewConfiguration>,
}

impl Plan {
    /// Whether there is anything to write.
    pub(crate) fn writes(&self) -> bool {
        self.verdicts.contains(&Verdict::Written)
    }
}

/// Plans one write. What goes makes room for what comes; what a failed write left goes in
/// any case, as it would fail the next one.
pub(crate) fn plan(nic: &Nic, changes: &[Wanted]) -> Plan {
    let mut plan = Plan {
        verdicts: vec![Verdict::Done; changes.len()],
        ..Plan::default()
    };
    let leftovers = nic
        .configurations
        .iter()
        .filter(|one| one.is_failed_leftover());
    plan.gone.extend(leftovers.map(|one| one.name.clone()));
    for (place, change) in changes.iter().enumerate() {
        if let Wanted::Release { ranges } = change {
            plan.verdicts[place] = release(nic, ranges, &mut plan.gone);
        }
    }
    for (place, change) in changes.iter().enumerate() {
        if let Wanted::Assign { id, block, count } = change {
            plan.verdicts[place] = assign(nic, *id, *block, *count, &mut plan);
        }
    }
    plan
}

fn release(nic: &Nic, ranges: &[IpNet], gone: &mut Vec<String>) -> Verdict {
    let held = nic.by_range();
    let found: Vec<_> = ranges.iter().filter_map(|range| held.get(range)).collect();
    if let Some(other) = found.iter().find(|one| one.ours.is_none()) {
        let range = other
            .range
            .map(|range| range.addr().to_string())
            .unwrap_or_default();
        let reason = format!(
            "{range} is of the configuration {}, which is not ours",
            other.name
        );
        return Verdict::Refused(ErrorClass::Invalid, reason);
    }
    if found.is_empty() {
        return Verdict::Done;
    }
    for one in found {
        if !gone.contains(&one.name) {
            gone.push(one.name.clone());
        }
    }
    Verdict::Written
}

fn assign(nic: &Nic, id: ChangeId, block: bool, count: u32, plan: &mut Plan) -> Verdict {
    let used = nic.configurations.len() - plan.gone.len() + plan.new.len();
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    let left = SLOTS.saturating_sub(used);
    if count == 0 {
        return Verdict::Done;
    }
    if count > left {
        let reason = format!(
            "{} has {used} of {SLOTS} configurations, {count} more do not fit",
            nic.id
        );
        let limit = Limit::Slots;
        return Verdict::Refused(ErrorClass::LimitReached { limit }, reason);
    }
    plan.new.extend((0..count).map(|number| NewConfiguration {
        name: id.name(number),
        block,
    }));
    Verdict::Written
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn configuration(name: &str, state: &str, address: Option<&str>) -> Value {
        let mut properties = json!({
            "primary": name == "ipconfig1",
            "provisioningState": state,
            "subnet": {"id": "subnet"},
        });
        if let Some(address) = address {
            properties["privateIPAddress"] = json!(address);
        }
        json!({"name": name, "properties": properties})
    }

    fn nic(more: &[Value]) -> Nic {
        let mut all = vec![configuration("ipconfig1", "Succeeded", Some("10.0.0.4"))];
        all.extend_from_slice(more);
        let value = json!({"id": "nic", "properties": {
            "provisioningState": "Succeeded", "ipConfigurations": all,
        }});
        Nic::of(&value).expect("a NIC")
    }

    fn id(text: &str) -> ChangeId {
        text.parse().expect("an id")
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts
            .iter()
            .map(|text| text.parse().expect("a range"))
            .collect()
    }

    fn ours(number: u32, address: &str) -> Value {
        configuration(
            &format!("veni-0000000a-{number}"),
            "Succeeded",
            Some(address),
        )
    }

    #[test]
    fn all_changes_that_wait_are_one_write() {
        let nic = nic(&[ours(0, "10.0.0.5"), ours(1, "10.0.0.6")]);
        let changes = [
            Wanted::Assign {
                id: id("0000000b"),
                block: false,
                count: 2,
            },
            Wanted::Release {
                ranges: ranges(&["10.0.0.5/32"]),
            },
            Wanted::Assign {
                id: id("0000000c"),
                block: true,
                count: 1,
            },
        ];
        let plan = plan(&nic, &changes);
        assert_eq!(
            plan.verdicts,
            [Verdict::Written, Verdict::Written, Verdict::Written]
        );
        assert_eq!(plan.gone, ["veni-0000000a-0"]);
        let names: Vec<(&str, bool)> = plan
            .new
            .iter()
            .map(|one| (one.name.as_str(), one.block))
            .collect();
        let expected = [
            ("veni-0000000b-0", false),
            ("veni-0000000b-1", false),
            ("veni-0000000c-0", true),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_others_and_the_node_have_is_never_released() {
        let rival = configuration("their-agent-1", "Succeeded", Some("10.0.0.9"));
        let nic = nic(&[rival, ours(0, "10.0.0.5")]);
        for range in ["10.0.0.4/32", "10.0.0.9/32"] {
            let change = Wanted::Release {
                ranges: ranges(&[range, "10.0.0.5/32"]),
            };
            let plan = plan(&nic, &[change]);
            assert!(!plan.writes() && plan.gone.is_empty(), "{range}: {plan:?}");
            assert!(matches!(
                plan.verdicts[0],
                Verdict::Refused(ErrorClass::Invalid, _)
            ));
        }
    }

    #[test]
    fn what_is_gone_already_needs_no_write() {
        let nic = nic(&[]);
        let change = Wanted::Release {
            ranges: ranges(&["10.0.0.77/32"]),
        };
        let plan = plan(&nic, &[change]);
        assert_eq!(
            (plan.verdicts.as_slice(), plan.writes()),
            (&[Verdict::Done][..], false)
        );
    }

    #[test]
    fn a_nic_takes_256_configurations_and_what_goes_makes_room() {
        let held: Vec<Value> = (0..255).map(|n| ours(n, &format!("10.0.1.{n}"))).collect();
        let nic = nic(&held);
        let one = Wanted::Assign {
            id: id("0000000b"),
            block: false,
            count: 1,
        };
        let full = plan(&nic, std::slice::from_ref(&one));
        let limit = ErrorClass::LimitReached {
            limit: Limit::Slots,
        };
        assert!(matches!(&full.verdicts[0], Verdict::Refused(class, _) if *class == limit));
        let change = Wanted::Release {
            ranges: ranges(&["10.0.1.7/32"]),
        };
        let both = plan(&nic, &[one, change]);
        assert_eq!(both.verdicts, [Verdict::Written, Verdict::Written]);
    }

    #[test]
    fn what_a_failed_write_left_goes_with_the_next_one() {
        let left = configuration("veni-0000000a-0", "Failed", None);
        let theirs = configuration("their-agent-1", "Failed", None);
        let nic = nic(&[left, theirs]);
        let one = Wanted::Assign {
            id: id("0000000b"),
            block: false,
            count: 1,
        };
        assert_eq!(plan(&nic, &[one]).gone, ["veni-0000000a-0"]);
    }
}
