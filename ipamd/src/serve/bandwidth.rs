//! Limits of pods' bandwidth in the protocol's words, and back.

use veni_api::failure::{CniFailure, code};
use veni_api::v1;
use veni_dataplane::{Bandwidth, Limit};

/// The limits that an ADD asks for.
///
/// # Errors
/// A rate that no limit can have.
pub(super) fn asked_for(given: Option<v1::Bandwidth>) -> Result<Bandwidth, CniFailure> {
    let given = given.unwrap_or_default();
    let limit = |direction: &str, annotation: &str, rate, burst| {
        Limit::try_new(rate, burst).map_err(|error| {
            CniFailure::new(
                code::INVALID_CONFIG,
                format!("no limit of bandwidth {direction} the pod: {error}"),
                format!("correct the pod's annotation kubernetes.io/{annotation}-bandwidth"),
            )
        })
    };
    Ok(Bandwidth {
        to_pod: limit(
            "towards",
            "ingress",
            given.ingress_rate,
            given.ingress_burst,
        )?,
        from_pod: limit("from", "egress", given.egress_rate, given.egress_burst)?,
    })
}

/// An endpoint's limits; `None` where it has none.
pub(super) fn told(bandwidth: Bandwidth) -> Option<v1::Bandwidth> {
    let rate = |limit: Option<Limit>| limit.map_or(0, |limit| limit.rate);
    let burst = |limit: Option<Limit>| limit.map_or(0, |limit| limit.burst);
    (!bandwidth.is_unlimited()).then(|| v1::Bandwidth {
        ingress_rate: rate(bandwidth.to_pod),
        ingress_burst: burst(bandwidth.to_pod),
        egress_rate: rate(bandwidth.from_pod),
        egress_burst: burst(bandwidth.from_pod),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_same_in_the_protocol() {
        let given = v1::Bandwidth {
            ingress_rate: 10_000_000,
            ingress_burst: 80_000,
            egress_rate: 0,
            egress_burst: 0,
        };
        let bandwidth = asked_for(Some(given)).expect("limits");
        assert_eq!(bandwidth.from_pod, None);
        assert_eq!(told(bandwidth), Some(given));
        assert_eq!(told(asked_for(None).expect("none")), None);
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_a_cni_error_that_names_the_annotation() {
        let given = v1::Bandwidth {
            egress_rate: 999,
            ..v1::Bandwidth::default()
        };
        let failure = asked_for(Some(given)).expect_err("too slow");
        assert_eq!(failure.code, code::INVALID_CONFIG);
        assert!(
            failure.message.contains("from the pod: a rate of 999"),
            "{failure:?}"
        );
        assert!(
            failure.details.contains("kubernetes.io/egress-bandwidth"),
            "{failure:?}"
        );
    }
}
