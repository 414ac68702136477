//! What keeps the pool from what it should be, for operators and for pods that wait in
//! vain. Whoever needs a sentence gets it from `Display`; nobody reads one back.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::plan::slot_name;
use veni_provider::{InterfaceId, Mac};

use super::call_kind::CallKind;
use super::holdings::Holdings;
use super::presence::Presence;

/// One thing that stands in the pool's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeldBack {
    /// Calls of this kind were refused or have failed, and none is made for a while.
    BackingOff {
        calls: CallKind,
        /// How long ago the first of the failures in a row was.
        since: Duration,
        /// Until the next call.
        left: Duration,
        /// The cloud's answer.
        reason: String,
        /// The call of the cloud that the node has no permission for, where it is that.
        #[cfg_attr(
            not(feature = "kube"),
            allow(dead_code, reason = "for the cluster's API")
        )]
        denied: Option<String>,
    },
    /// The node cannot use an interface.
    OutOfService {
        interface: InterfaceId,
        mac: Mac,
        /// Addresses and prefixes that it holds.
        slots: usize,
        since: Duration,
        /// What the kernel said; nothing when the link is missing.
        reason: Option<String>,
    },
    /// The cloud does not list an interface that is the node's.
    UnlistedInterface {
        interface: InterfaceId,
        since: Duration,
        verdict: Verdict,
    },
    /// The cloud does not list an address or a prefix that an interface holds.
    UnlistedSlot {
        interface: InterfaceId,
        slot: IpNet,
        since: Duration,
        verdict: Verdict,
        /// Pods that have addresses of it.
        pods: Vec<String>,
    },
    /// A pod's address leaves by an interface that the cloud does not list.
    UnlistedRoute {
        interface: InterfaceId,
        address: IpAddr,
    },
    /// The daemon has restarted, and has seen no inventory of the cloud since.
    NoInventoryYet,
    /// The scheduler binds no pods to the node, and `AWS_MANAGE_ENIS_NON_SCHEDULABLE` is false.
    Cordoned,
}

/// What inventories say together of something that they lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One lacks it.
    InDoubt,
    /// Two that are far enough apart lack it.
    Gone,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InDoubt => "in doubt, and not given to pods, until a second inventory tells",
            Self::Gone => "two inventories lack it",
        })
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackingOff {
                calls,
                since,
                left,
                reason,
                denied: _,
            } => {
                let what = calls.in_words();
                let (since, left) = (since.as_secs(), left.as_secs_f64().ceil());
                write!(
                    f,
                    "{what}: refused or failing since {since} s, asked again in {left} s (pauses are jittered): {reason}"
                )
            }
            Self::OutOfService {
                interface,
                mac,
                slots,
                since,
                reason,
            } => {
                let since = since.as_secs();
                let reason = reason.as_deref().unwrap_or("its link is missing");
                write!(
                    f,
                    "interface {interface} (MAC {mac}) with {slots} slots filled is not in service since {since} s: \
                     {reason}; it serves again as soon as the node can use its link"
                )
            }
            Self::UnlistedInterface {
                interface,
                since,
                verdict,
            } => {
                let since = since.as_secs();
                write!(
                    f,
                    "the cloud does not list interface {interface}, since {since} s: {verdict}"
                )
            }
            Self::UnlistedSlot {
                interface,
                slot,
                since,
                verdict,
                pods,
            } => {
                let (slot, since) = (slot_name(slot), since.as_secs());
                write!(
                    f,
                    "the cloud does not list {slot} on {interface}, since {since} s: {verdict}"
                )?;
                match pods.as_slice() {
                    [] => Ok(()),
                    pods => write!(f, "; in use by {}", pods.join(", ")),
                }
            }
            Self::UnlistedRoute { interface, address } => write!(
                f,
                "the cloud does not list interface {interface}, by which {address} of a pod leaves"
            ),
            Self::NoInventoryYet => {
                f.write_str("no change before the cloud has been looked at after the restart")
            }
            Self::Cordoned => f.write_str(
                "the node is unschedulable: interfaces stay, and another comes only for a pod that \
                 waits (AWS_MANAGE_ENIS_NON_SCHEDULABLE=false)",
            ),
        }
    }
}

/// What the cloud does not list although the node holds it.
pub(super) fn unlisted(holdings: &Holdings, now: Instant) -> Vec<HeldBack> {
    let mut all = Vec::new();
    let verdict = |presence: &Presence| match presence.is_gone() {
        true => Verdict::Gone,
        false => Verdict::InDoubt,
    };
    for (id, interface) in &holdings.interfaces {
        if let Some(since) = interface.presence.lacking_since() {
            all.push(HeldBack::UnlistedInterface {
                interface: id.clone(),
                since: now.saturating_duration_since(since),
                verdict: verdict(&interface.presence),
            });
            continue;
        }
        for (range, held) in &interface.held {
            let Some(since) = held.presence.lacking_since() else {
                continue;
            };
            let pods = holdings.leases.holders_in(range);
            all.push(HeldBack::UnlistedSlot {
                interface: id.clone(),
                slot: *range,
                since: now.saturating_duration_since(since),
                verdict: verdict(&held.presence),
                pods: pods.map(|(_, pod)| pod.pod.clone()).collect(),
            });
        }
    }
    let unlisted = holdings.unlisted.iter();
    all.extend(unlisted.map(|(address, id)| HeldBack::UnlistedRoute {
        interface: id.clone(),
        address: *address,
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_read_as_sentences_with_seconds_since_and_left() {
        let interface = || InterfaceId::new("eni-1");
        let since = Duration::from_millis(7_900);
        let shown = [
            HeldBack::BackingOff {
                calls: CallKind::Attach,
                since,
                left: Duration::from_millis(1_200),
                reason: "throttled".to_owned(),
                denied: None,
            },
            HeldBack::OutOfService {
                interface: interface(),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                slots: 3,
                since,
                reason: None,
            },
            HeldBack::UnlistedSlot {
                interface: interface(),
                slot: "10.0.0.5/32".parse().expect("a range"),
                since,
                verdict: Verdict::Gone,
                pods: vec!["shop/web-0".to_owned(), "shop/web-1".to_owned()],
            },
            HeldBack::UnlistedInterface {
                interface: interface(),
                since,
                verdict: Verdict::InDoubt,
            },
        ];
        let shown = shown.map(|one| one.to_string());
        assert_eq!(
            shown,
            [
                "the cloud is not asked for another interface: refused or failing since 7 s, \
                 asked again in 2 s (pauses are jittered): throttled",
                "interface eni-1 (MAC 02:00:00:00:00:01) with 3 slots filled is not in service \
                 since 7 s: its link is missing; it serves again as soon as the node can use its \
                 link",
                "the cloud does not list 10.0.0.5 on eni-1, since 7 s: two inventories lack it; \
                 in use by shop/web-0, shop/web-1",
                "the cloud does not list interface eni-1, since 7 s: in doubt, and not given to \
                 pods, until a second inventory tells",
            ]
        );
    }
}
