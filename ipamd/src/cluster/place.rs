//! Where a node is, and the labels that follow from that without Kubernetes.

use std::collections::BTreeMap;

/// Where a node is, as its cloud tells; what is empty is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Availability zone: `eu-west-1a`.
    pub zone: String,
    /// Region: `eu-west-1`.
    pub region: String,
    /// Instance type.
    pub instance_type: String,
    /// Name of the node.
    pub node_name: String,
}

impl Place {
    /// The labels that every cluster puts on its nodes.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = [
            ("topology.kubernetes.io/zone", &self.zone),
            ("failure-domain.beta.kubernetes.io/zone", &self.zone),
            ("topology.kubernetes.io/region", &self.region),
            ("failure-domain.beta.kubernetes.io/region", &self.region),
            ("node.kubernetes.io/instance-type", &self.instance_type),
            ("beta.kubernetes.io/instance-type", &self.instance_type),
            ("kubernetes.io/hostname", &self.node_name),
        ];
        labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }
}

/// The region of a zone: local zones have more behind the region's number
/// (`us-west-2-lax-1a`), others a letter (`us-gov-west-1a`).
#[must_use]
pub fn region_of(zone: &str) -> String {
    let mut parts = Vec::new();
    for part in zone.split('-') {
        let number: String = part.chars().take_while(char::is_ascii_digit).collect();
        if number.is_empty() {
            parts.push(part.to_owned());
        } else {
            parts.push(number);
            return parts.join("-");
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_found_in_the_names_of_all_kinds_of_zones() {
        for (zone, region) in [
            ("eu-west-1a", "eu-west-1"),
            ("us-gov-west-1b", "us-gov-west-1"),
            ("us-west-2-lax-1a", "us-west-2"),
            ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
            ("", ""),
            ("nowhere", ""),
        ] {
            assert_eq!(region_of(zone), region);
        }
    }
}
