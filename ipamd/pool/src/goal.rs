//! How many addresses the pool should have: the formulas of both clouds'
//! plugins, stated once. See docs/pool.md for the same in words.

use crate::ledger::Holdings;
use crate::{Family, Scheme, SlotKind, Snapshot};

/// Addresses of a /28.
const PREFIX: u64 = 16;

/// The size to reach and what may go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    /// Usable addresses (in use or free) that there should be.
    pub(crate) usable: u64,
    /// Fewer usable addresses than this: get all that is missing. Cooling addresses
    /// are free again soon, so half of the spare may be made of them; pods that
    /// come and go then cost no call.
    pub(crate) get_below: u64,
    /// Nothing goes back that would leave fewer usable addresses than this.
    pub(crate) keep: u64,
    /// Nothing goes back while fewer addresses are free.
    pub(crate) release_at: u64,
    /// Unused prefixes that stay whatever else is free (`WARM_PREFIX_TARGET`).
    pub(crate) prefixes: u64,
    /// `WARM_ENI_TARGET`: interfaces are held full and go back whole. The total
    /// that whole interfaces come to, cooling addresses included.
    pub(crate) whole: Option<u64>,
    /// The target that asks for more than the pods, as operators know it.
    pub(crate) label: String,
}

impl Goal {
    /// The goal for the pods that run, wait and are expected.
    pub(crate) fn new(
        snapshot: &Snapshot,
        scheme: Scheme,
        kind: SlotKind,
        held: &Holdings,
    ) -> Self {
        let demand = u64::from(snapshot.demand.waiting) + u64::from(snapshot.demand.expected);
        let pods = held.assigned + demand;
        let mut goal = if (snapshot.family, kind) == (Family::V6, SlotKind::Prefix) {
            Self::simple(pods + 1, "one /80 for the node".to_owned())
        } else {
            match scheme {
                Scheme::Azure {
                    batch,
                    request_percent,
                    release_percent,
                } => Self::azure(pods, batch, request_percent, release_percent),
                Scheme::Aws {
                    warm_eni,
                    warm_ip,
                    minimum_ip,
                    warm_prefix,
                } => {
                    let warm_ip = u64::from(warm_ip.unwrap_or(0));
                    let minimum_ip = u64::from(minimum_ip.unwrap_or(0));
                    if warm_ip > 0 || minimum_ip > 0 {
                        Self::addresses(pods, warm_ip, minimum_ip)
                    } else if kind == SlotKind::Prefix {
                        Self::prefixes(pods, u64::from(warm_prefix.unwrap_or(0)))
                    } else {
                        let slots = u64::from(snapshot.limits.slots_per_interface);
                        Self::interfaces(pods, u64::from(warm_eni), slots)
                    }
                }
            }
        };
        let limit = u64::from(snapshot.limits.max_pods).max(held.assigned);
        goal.usable = goal.usable.min(limit);
        goal.keep = goal.keep.min(limit);
        let spare = match scheme {
            Scheme::Aws { .. } => goal.usable.saturating_sub(pods),
            // Its share of a batch is such a margin already.
            Scheme::Azure { .. } => 0,
        };
        goal.get_below = goal.usable - held.cooling.min(spare / 2);
        goal
    }

    fn simple(usable: u64, label: String) -> Self {
        Self {
            usable,
            get_below: usable,
            keep: usable,
            release_at: 0,
            prefixes: 0,
            whole: None,
            label,
        }
    }

    /// `WARM_IP_TARGET` and `MINIMUM_IP_TARGET`, in either mode.
    fn addresses(pods: u64, warm: u64, minimum: u64) -> Self {
        let (usable, label) = if minimum > pods + warm {
            (minimum, format!("MINIMUM_IP_TARGET={minimum}"))
        } else if warm > 0 {
            (pods + warm, format!("WARM_IP_TARGET={warm}"))
        } else {
            (pods, format!("MINIMUM_IP_TARGET={minimum}"))
        };
        Self::simple(usable, label)
    }

    /// `WARM_PREFIX_TARGET`; 0 still keeps an address free, so that the next pod
    /// does not wait.
    fn prefixes(pods: u64, warm: u64) -> Self {
        let usable = pods + (warm * PREFIX).max(1);
        Self {
            prefixes: warm,
            ..Self::simple(usable, format!("WARM_PREFIX_TARGET={warm}"))
        }
    }

    /// `WARM_ENI_TARGET`; 0 still keeps an address free.
    fn interfaces(pods: u64, warm: u64, slots: u64) -> Self {
        let usable = pods + (warm * slots).max(1);
        let whole = usable.checked_next_multiple_of(slots.max(1));
        Self {
            whole,
            ..Self::simple(usable, format!("WARM_ENI_TARGET={warm}"))
        }
    }

    /// Whole batches with a share of one free. It shrinks later than it grows:
    /// only to what a few more pods would not grow again.
    fn azure(pods: u64, batch: u32, request: u32, release: u32) -> Self {
        let (batch, request) = (u64::from(batch.max(1)), u64::from(request));
        let size = |pods: u64| batch * (batch * request + 100 * pods).div_ceil(batch * 100);
        let rounding = (batch * 100 * request.div_ceil(100) - batch * request) / 100;
        let margin = rounding.min(batch / 2).max(1);
        Self {
            keep: size(pods + margin),
            release_at: (batch * u64::from(release) + 50) / 100,
            ..Self::simple(
                size(pods),
                format!("batches of {batch} with {request} % of one free"),
            )
        }
    }
}
