//! Limits of pods' bandwidth, for people and for scripts.

use serde_json::{Value, json};
use veni_api::v1::Bandwidth;

/// Units of rates, largest first.
const UNITS: [(u64, &str); 3] = [
    (1_000_000_000, "Gbit/s"),
    (1_000_000, "Mbit/s"),
    (1_000, "kbit/s"),
];

/// In words: `10 Mbit/s in, 1 Gbit/s out`; empty where there is none.
pub(super) fn text(bandwidth: Option<&Bandwidth>) -> String {
    let bandwidth = bandwidth.copied().unwrap_or_default();
    let directions = [
        (bandwidth.ingress_rate, "in"),
        (bandwidth.egress_rate, "out"),
    ];
    let limited = directions.into_iter().filter(|(rate, _)| *rate > 0);
    let texts = limited.map(|(rate, way)| format!("{} {way}", with_unit(rate)));
    texts.collect::<Vec<_>>().join(", ")
}

/// With the largest unit that leaves a whole number.
fn with_unit(rate: u64) -> String {
    let whole = UNITS
        .into_iter()
        .find(|(size, _)| rate.is_multiple_of(*size));
    let (size, unit) = whole.unwrap_or((1, "bit/s"));
    format!("{} {unit}", rate / size)
}

/// As a runtime asks for them: bits a second and bits; 0 is none.
pub(super) fn json(bandwidth: Bandwidth) -> Value {
    json!({
        "ingressRate": bandwidth.ingress_rate,
        "ingressBurst": bandwidth.ingress_burst,
        "egressRate": bandwidth.egress_rate,
        "egressBurst": bandwidth.egress_burst,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_with_their_direction_and_the_largest_whole_unit() {
        for (ingress_rate, egress_rate, expected) in [
            (0, 0, ""),
            (10_000_000, 0, "10 Mbit/s in"),
            (0, 1_000_000_000, "1 Gbit/s out"),
            (1_500_000, 1_001, "1500 kbit/s in, 1001 bit/s out"),
        ] {
            let bandwidth = Bandwidth {
                ingress_rate,
                egress_rate,
                ..Bandwidth::default()
            };
            assert_eq!(text(Some(&bandwidth)), expected);
        }
        assert_eq!(text(None), "");
    }
}
