//! Limits of the pod's bandwidth, as a runtime passes them to a plugin whose configuration
//! has the capability `bandwidth`: bits a second and bits; ingress is towards the pod.
//!
//! Which rates there can be, the daemon says. What is no number is refused here: a pod that
//! is to be limited must not start without its limit.

use serde_json::Value;
use veni_api::v1::Bandwidth;

use crate::any_case::field;

/// The limits of a network configuration; `None` where there are none. Whatever is wrong
/// with one is told to `wrong`: the field's name, its value, and the reason.
pub fn of_config(config: &Value, mut wrong: impl FnMut(&str, &Value, &str)) -> Option<Bandwidth> {
    let given = &config["runtimeConfig"]["bandwidth"];
    if given.is_null() {
        return None;
    }
    if !given.is_object() {
        wrong("runtimeConfig.bandwidth", given, "expected an object");
        return None;
    }
    let mut number = |name: &str, unit: &str| {
        let value = field(given, name).filter(|value| !value.is_null())?;
        let number = value.as_u64();
        if number.is_none() {
            let name = format!("runtimeConfig.bandwidth.{name}");
            let reason = format!("expected a whole number of {unit}, 0 for none, not as text");
            wrong(&name, value, &reason);
        }
        number
    };
    let bandwidth = Bandwidth {
        ingress_rate: number("ingressRate", "bits a second").unwrap_or_default(),
        ingress_burst: number("ingressBurst", "bits").unwrap_or_default(),
        egress_rate: number("egressRate", "bits a second").unwrap_or_default(),
        egress_burst: number("egressBurst", "bits").unwrap_or_default(),
    };
    (bandwidth.ingress_rate > 0 || bandwidth.egress_rate > 0).then_some(bandwidth)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(bandwidth: Value) -> (Option<Bandwidth>, Vec<String>) {
        let config = json!({"runtimeConfig": {"bandwidth": bandwidth}});
        let mut problems = Vec::new();
        let read = of_config(&config, |name, value, reason| {
            problems.push(format!("{name}={value}: {reason}"));
        });
        (read, problems)
    }

    #[test]
    fn limits_are_read_as_runtimes_write_them() {
        let expected = Bandwidth {
            ingress_rate: 10_000_000,
            ingress_burst: u64::from(u32::MAX),
            egress_rate: 5_000_000,
            egress_burst: 0,
        };
        // CRI-O's letters, and containerd's.
        for given in [
            json!({"ingressRate": 10_000_000, "ingressBurst": u32::MAX, "egressRate": 5_000_000}),
            json!({
                "IngressRate": 10_000_000, "IngressBurst": u32::MAX,
                "EgressRate": 5_000_000, "EgressBurst": 0,
            }),
        ] {
            assert_eq!(read(given), (Some(expected), Vec::new()));
        }
    }

    #[test]
    fn a_rate_of_zero_or_none_is_no_limit() {
        let none = (None, Vec::new());
        assert_eq!(
            of_config(&json!({}), |_, _, _| panic!("nothing is wrong")),
            None
        );
        for given in [
            Value::Null,
            json!({}),
            json!({"ingressRate": null}),
            json!({"ingressRate": 0, "egressRate": 0, "ingressBurst": 80_000}),
        ] {
            assert_eq!(read(given), none);
        }
    }

    #[test]
    fn what_is_no_number_is_wrong_and_named() {
        let beyond: Value = serde_json::from_str("18446744073709551616").expect("json");
        for value in [json!(-1), json!(1.5), json!("10M"), json!(true), beyond] {
            for name in ["ingressRate", "ingressBurst", "egressRate", "egressBurst"] {
                let (_, problems) = read(json!({ name: value.clone() }));
                let begins = format!("runtimeConfig.bandwidth.{name}={value}: expected a whole");
                assert_eq!(problems.len(), 1, "{problems:?}");
                assert!(problems[0].starts_with(&begins), "{problems:?}");
            }
        }
        let (_, problems) = read(json!("10M"));
        assert_eq!(
            problems,
            ["runtimeConfig.bandwidth=\"10M\": expected an object"]
        );
    }
}
