//! How many addresses the pool should have: the formulas of both clouds'
//! plugins, stated once. See docs/pool.md for the same in words.

use crate::ledger::{Holdings, slot_size};
use crate::reasons::Target;
use crate::{Scheme, Snapshot};
use veni_nouns::{Family, SlotKind};

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
    /// The target that asks for more than the pods.
    pub(crate) target: Target,
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
            Self::simple(pods + 1, Target::OneIpv6Prefix)
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

    fn simple(usable: u64, target: Target) -> Self {
        Self {
            usable,
            get_below: usable,
            keep: usable,
            release_at: 0,
            prefixes: 0,
            whole: None,
            target,
        }
    }

    /// `WARM_IP_TARGET` and `MINIMUM_IP_TARGET`, in either mode.
    fn addresses(pods: u64, warm: u64, minimum: u64) -> Self {
        let (usable, target) = if minimum > pods + warm {
            (minimum, Target::MinimumIp(minimum))
        } else if warm > 0 {
            (pods + warm, Target::WarmIp(warm))
        } else {
            (pods, Target::MinimumIp(minimum))
        };
        Self::simple(usable, target)
    }

    /// `WARM_PREFIX_TARGET`; 0 still keeps an address free, so that the next pod
    /// does not wait.
    fn prefixes(pods: u64, warm: u64) -> Self {
        let usable = pods + (warm * slot_size(Family::V4, SlotKind::Prefix)).max(1);
        Self {
            prefixes: warm,
            ..Self::simple(usable, Target::WarmPrefix(warm))
        }
    }

    /// `WARM_ENI_TARGET`; 0 still keeps an address free.
    fn interfaces(pods: u64, warm: u64, slots: u64) -> Self {
        let usable = pods + (warm * slots).max(1);
        let whole = usable.checked_next_multiple_of(slots.max(1));
        Self {
            whole,
            ..Self::simple(usable, Target::WarmEni(warm))
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
                Target::Batches {
                    batch,
                    request_percent: request,
                },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Usable addresses, the number below which nothing goes back, and the free
    /// ones from which on something does.
    fn azure(pods: u64, batch: u32, request: u32, release: u32) -> (u64, u64, u64) {
        let goal = Goal::azure(pods, batch, request, release);
        assert_eq!(goal.get_below, goal.usable, "no part of it may cool");
        (goal.usable, goal.keep, goal.release_at)
    }

    #[test]
    fn without_warm_addresses_the_minimum_is_the_target_that_is_named() {
        for (warm, minimum, usable, target) in [
            (0, 5, 10, Target::MinimumIp(5)),
            (2, 12, 12, Target::WarmIp(2)),
            (2, 13, 13, Target::MinimumIp(13)),
        ] {
            let goal = Goal::addresses(10, warm, minimum);
            assert_eq!((goal.usable, goal.target), (usable, target));
        }
    }

    /// The rows were counted by hand: whole batches until the free share is
    /// reached, the same for a few pods more, the share that is too much.
    #[test]
    fn azure_pools_are_whole_batches_with_a_share_free_and_a_margin() {
        for (pods, settings, expected) in [
            // batch of 16, half of it free: 8 pods more are the margin
            (0, (16, 50, 150), (16, 16, 24)),
            (1, (16, 50, 150), (16, 32, 24)),
            (8, (16, 50, 150), (16, 32, 24)),
            (9, (16, 50, 150), (32, 32, 24)),
            (17, (16, 50, 150), (32, 48, 24)),
            // 3 of 10 free: the margin is half a batch at most, though 7 fit
            (2, (10, 30, 150), (10, 10, 15)),
            (3, (10, 30, 150), (10, 20, 15)),
            (7, (10, 30, 150), (10, 20, 15)),
            (8, (10, 30, 150), (20, 20, 15)),
            // 9 of 10 free: one pod more is the margin
            (0, (10, 90, 200), (10, 10, 20)),
            (1, (10, 90, 200), (10, 20, 20)),
            (2, (10, 90, 200), (20, 20, 20)),
            // a whole batch free: a margin of one all the same
            (0, (10, 100, 200), (10, 20, 20)),
            (1, (10, 100, 200), (20, 20, 20)),
            (10, (10, 100, 200), (20, 30, 20)),
            // one and a half batches free: half a batch more is the margin
            (0, (10, 150, 300), (20, 20, 30)),
            (5, (10, 150, 300), (20, 30, 30)),
            (6, (10, 150, 300), (30, 30, 30)),
            // shares that are no whole number of addresses are rounded
            (0, (10, 50, 33), (10, 10, 3)),
            (0, (10, 50, 35), (10, 10, 4)),
            (0, (7, 50, 150), (7, 7, 11)),
            (3, (7, 50, 150), (7, 14, 11)),
            (4, (7, 50, 150), (14, 14, 11)),
            // a batch of one is the smallest there is
            (0, (0, 50, 150), (1, 2, 2)),
            (3, (1, 50, 150), (4, 5, 2)),
        ] {
            let (batch, request, release) = settings;
            let found = azure(pods, batch, request, release);
            assert_eq!(found, expected, "{pods} pods, {settings:?}");
        }
    }
}
