//! Limits of a pod's bandwidth as plain data, and the arithmetic of their token buckets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Slowest and fastest rate, bits a second: what Kubernetes accepts in a pod's
/// annotations (1k and 1P).
pub const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// A burst may always have so many bytes: one segment as large as the kernel's stack
/// makes them by default.
const SEGMENT: u64 = 64 * 1024;

/// Bytes of an Ethernet header, which the MTU does not count.
const ETHERNET_HEADER: u64 = 14;

/// Limits of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Of packets towards the pod: CNI's ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_pod: Option<Limit>,
    /// Of packets from the pod: CNI's egress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_pod: Option<Limit>,
}

impl Bandwidth {
    /// Whether there is no limit at all.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Bits a second, within [`RATES`].
    pub rate: u64,
    /// Bits that may pass at once after a pause, as they were asked for; 0 where nobody
    /// asked.
    pub burst: u64,
}

/// A rate that no limit can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rate of {0} bit/s is not from 1000 (1k) to 1000000000000000 (1P) bit/s")]
pub struct NoSuchRate(pub u64);

impl Limit {
    /// The limit that a runtime asks for, in bits a second and bits; `None` for a rate
    /// of 0, which asks for none whatever the burst.
    ///
    /// # Errors
    /// A rate that is not within [`RATES`].
    pub fn try_new(rate: u64, burst: u64) -> Result<Option<Self>, NoSuchRate> {
        match rate {
            0 => Ok(None),
            rate if RATES.contains(&rate) => Ok(Some(Self { rate, burst })),
            rate => Err(NoSuchRate(rate)),
        }
    }

    /// The token bucket that keeps it, for links of an MTU in bytes.
    pub fn bucket(&self, mtu: u32) -> TokenBucket {
        let rate = self.rate / 8;
        // A longer burst would not be noticed as a limit for seconds; runtimes ask for
        // 2³² − 1 bits where nobody asked.
        let longest = (rate / 10).max(SEGMENT);
        // One packet has to fit. The kernel wakes the queue some milliseconds late on a
        // busy node, and what a full bucket cannot take meanwhile is lost to the rate.
        let shortest = (rate / 100).max(2 * (u64::from(mtu) + ETHERNET_HEADER));
        let asked = match self.burst {
            0 => longest,
            bits => bits / 8,
        };
        let burst = asked.min(longest).max(shortest);
        // Beyond the burst, packets wait for a tenth of a second at most. Less than two
        // segments would be lost where several flows meet.
        let waiting = (rate / 10).max(2 * SEGMENT);
        TokenBucket {
            rate,
            burst: bytes(burst),
            limit: bytes(burst.saturating_add(waiting)),
        }
    }
}

/// Bits a second, with the largest unit that leaves a whole number.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000, "Gbit/s"),
            (1_000_000, "Mbit/s"),
            (1_000, "kbit/s"),
        ];
        let whole = units
            .into_iter()
            .find(|(size, _)| self.rate.is_multiple_of(*size));
        let (size, unit) = whole.unwrap_or((1, "bit/s"));
        write!(f, "{} {unit}", self.rate / size)
    }
}

fn bytes(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A token bucket filter of the kernel (tc-tbf(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may pass at once.
    pub burst: u32,
    /// Bytes that may wait; more are dropped.
    pub limit: u32,
}

/// Name of the ifb device through which the packets of an endpoint pass whose host's end
/// has this index. The index is used once in a boot, so the name is, and it is 15 bytes
/// long at most, as names of links are.
#[must_use]
pub fn ifb_name(host_index: u32) -> String {
    format!("veni-{host_index}")
}

/// The index of the host's end, of an ifb device of ours.
pub(crate) fn host_index_of(ifb_name: &str) -> Option<u32> {
    let digits = ifb_name.strip_prefix("veni-")?;
    let index = digits.parse().ok()?;
    (self::ifb_name(index) == ifb_name).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;
    /// What runtimes pass where nobody asked for a burst.
    const NOT_ASKED: u64 = u32::MAX as u64;

    fn bucket(rate: u64, burst: u64, mtu: u32) -> TokenBucket {
        let limit = Limit::try_new(rate, burst).expect("a rate");
        limit.expect("a limit").bucket(mtu)
    }

    #[test]
    fn a_rate_of_zero_is_no_limit_and_a_rate_beyond_the_range_is_refused() {
        assert_eq!(Limit::try_new(0, 0), Ok(None));
        assert_eq!(Limit::try_new(0, 5), Ok(None));
        for rate in [1, 999, 1_000_000_000_000_001, u64::MAX] {
            assert_eq!(Limit::try_new(rate, 0), Err(NoSuchRate(rate)));
        }
        for rate in [1_000, 1_000_000_000_000_000] {
            assert!(matches!(Limit::try_new(rate, 0), Ok(Some(_))), "{rate}");
        }
    }

    #[test]
    fn a_burst_is_at_most_a_tenth_of_a_second_or_64_kib() {
        for asked in [0, NOT_ASKED, u64::MAX] {
            assert_eq!(bucket(1_000, asked, 1500).burst, 65_536);
            assert_eq!(bucket(MBIT, asked, 1500).burst, 65_536);
            assert_eq!(bucket(10 * MBIT, asked, 1500).burst, 125_000);
        }
        assert_eq!(bucket(1_000 * MBIT, u64::MAX, 1500).burst, 12_500_000);
        assert_eq!(
            bucket(10 * MBIT, 400_000, 1500).burst,
            50_000,
            "as asked for"
        );
    }

    #[test]
    fn a_burst_that_is_too_small_for_packets_or_for_the_rate_is_made_larger() {
        assert_eq!(bucket(MBIT, 8, 1500).burst, 3_028);
        assert_eq!(bucket(MBIT, 8, 9001).burst, 18_030);
        assert_eq!(bucket(1_000 * MBIT, 8, 1500).burst, 1_250_000);
    }

    #[test]
    fn the_fastest_rate_fits_into_the_kernels_numbers() {
        let fastest = bucket(1_000_000_000_000_000, NOT_ASKED, 65_535);
        assert_eq!(fastest.rate, 125_000_000_000_000);
        assert_eq!(
            (fastest.burst, fastest.limit),
            (
                1_250_000_000_000_u64.min(u64::from(u32::MAX)) as u32,
                u32::MAX
            )
        );
    }

    #[test]
    fn some_packets_may_wait_beyond_the_burst() {
        let slow = bucket(MBIT, 0, 1500);
        assert_eq!(slow.limit - slow.burst, 131_072);
        let fast = bucket(100 * MBIT, 0, 1500);
        assert_eq!(fast.limit - fast.burst, 1_250_000, "a tenth of a second");
    }

    #[test]
    fn a_limit_reads_as_operators_write_it() {
        for (rate, text) in [
            (10 * MBIT, "10 Mbit/s"),
            (1_000 * MBIT, "1 Gbit/s"),
            (1_500_000, "1500 kbit/s"),
            (1_001, "1001 bit/s"),
        ] {
            assert_eq!(Limit { rate, burst: 0 }.to_string(), text);
        }
    }

    #[test]
    fn names_of_ifb_devices_fit_and_lead_back_to_the_hosts_end() {
        for index in [2, 4_711, u32::MAX] {
            let name = ifb_name(index);
            assert!(name.len() <= 15, "{name}");
            assert_eq!(host_index_of(&name), Some(index));
        }
        for other in ["veni-", "veni-x", "veni-02", "ifb0", "eni5ac5088bbee"] {
            assert_eq!(host_index_of(other), None, "{other}");
        }
    }
}
