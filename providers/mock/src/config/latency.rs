//! How long operations take.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use veni_provider::Operation;

use super::Profile;

/// A distribution of durations: half of all draws lie between `minimum` and
/// `median`, the rest grow towards `slowest`, which one in a hundred reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The shortest time that it takes.
    pub minimum: Duration,
    /// Half of the draws are longer.
    pub median: Duration,
    /// The longest time that it takes.
    pub slowest: Duration,
}

impl Latency {
    /// No time at all.
    pub const ZERO: Self = Self::fixed(Duration::ZERO);

    /// Always the same.
    pub const fn fixed(duration: Duration) -> Self {
        Self {
            minimum: duration,
            median: duration,
            slowest: duration,
        }
    }

    /// From milliseconds.
    pub const fn millis(minimum: u64, median: u64, slowest: u64) -> Self {
        Self {
            minimum: Duration::from_millis(minimum),
            median: Duration::from_millis(median),
            slowest: Duration::from_millis(slowest),
        }
    }

    /// The duration at a quantile of 0 to 1.
    pub fn at(&self, quantile: f64) -> Duration {
        let (from, to, share) = if quantile < 0.5 {
            (self.minimum, self.median, quantile * 2.0)
        } else {
            let share = ((quantile - 0.5) / 0.49).clamp(0.0, 1.0);
            (self.median, self.slowest, share.powi(4))
        };
        from + to.saturating_sub(from).mul_f64(share)
    }
}

/// How long each operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Reading the node.
    pub node: Latency,
    /// Reading interfaces and subnets.
    pub inventory: Latency,
    /// Attaching an interface.
    pub attach_interface: Latency,
    /// Detaching an interface.
    pub detach_interface: Latency,
    /// Assigning addresses or prefixes.
    pub assign: Latency,
    /// Releasing them.
    pub release: Latency,
}

impl Latencies {
    /// Every operation takes the same.
    pub const fn all(latency: Latency) -> Self {
        Self {
            node: latency,
            inventory: latency,
            attach_interface: latency,
            detach_interface: latency,
            assign: latency,
            release: latency,
        }
    }

    /// In the order of magnitude of a profile's real cloud.
    pub const fn of_profile(profile: Profile) -> Self {
        match profile {
            Profile::Aws => Self {
                node: Latency::millis(30, 60, 400),
                inventory: Latency::millis(40, 90, 600),
                attach_interface: Latency::millis(700, 1_500, 5_000),
                detach_interface: Latency::millis(500, 1_000, 4_000),
                assign: Latency::millis(120, 250, 1_500),
                release: Latency::millis(120, 250, 1_500),
            },
            Profile::Azure => Self {
                node: Latency::millis(40, 100, 800),
                inventory: Latency::millis(50, 120, 1_000),
                attach_interface: Latency::millis(3_000, 6_000, 20_000),
                detach_interface: Latency::millis(3_000, 6_000, 20_000),
                assign: Latency::millis(2_000, 4_000, 15_000),
                release: Latency::millis(2_000, 4_000, 15_000),
            },
        }
    }

    /// That of one operation.
    pub fn of(&self, operation: Operation) -> Latency {
        match operation {
            Operation::Node => self.node,
            Operation::Inventory => self.inventory,
            Operation::AttachInterface => self.attach_interface,
            Operation::DetachInterface => self.detach_interface,
            Operation::Assign => self.assign,
            Operation::Release => self.release,
        }
    }

    /// Sets that of one operation.
    pub fn set(&mut self, operation: Operation, latency: Latency) {
        let place = match operation {
            Operation::Node => &mut self.node,
            Operation::Inventory => &mut self.inventory,
            Operation::AttachInterface => &mut self.attach_interface,
            Operation::DetachInterface => &mut self.detach_interface,
            Operation::Assign => &mut self.assign,
            Operation::Release => &mut self.release,
        };
        *place = latency;
    }
}
