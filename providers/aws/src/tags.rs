//! The tags and the description by which interfaces and subnets are recognised.
//! They are those of Amazon's own plugin, so that EKS's tooling and a node that
//! changes plugins know them.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Tag;

use crate::settings::AwsSettings;

/// The instance that an interface was made for.
pub(crate) const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
/// When it was made, as RFC 3339 writes it.
pub(crate) const CREATED: &str = "node.k8s.amazonaws.com/createdAt";
/// `true`: hands off.
pub(crate) const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";
/// The cluster that an interface belongs to.
pub(crate) const CLUSTER: &str = "cluster.k8s.amazonaws.com/name";
const OWNER: &str = "eks:eni:owner";
const OWNER_VALUE: &str = "amazon-vpc-cni";
/// On a subnet: `0` keeps us out, anything else lets us in.
pub(crate) const SUBNET_ROLE: &str = "kubernetes.io/role/cni";
/// On a subnet, followed by a cluster's name: only for these clusters.
pub(crate) const SUBNET_CLUSTER: &str = "cni.networking.k8s.aws/cluster/";

/// What all descriptions begin with.
pub(crate) const DESCRIPTION: &str = "aws-K8S-";

const RESERVED: &str = "k8s.amazonaws.com";

/// The description of an instance's interfaces.
pub(crate) fn description(instance: &str) -> String {
    format!("{DESCRIPTION}{instance}")
}

/// Tags of a new interface.
pub(crate) fn of_interface(settings: &AwsSettings, instance: &str, created: &str) -> Vec<Tag> {
    let mut tags: BTreeMap<&str, &str> = settings
        .additional_tags
        .iter()
        .filter(|(key, _)| !key.contains(RESERVED))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    if let Some(cluster) = &settings.cluster_name {
        tags.insert(CLUSTER, cluster);
        tags.insert(OWNER, OWNER_VALUE);
    }
    tags.insert(INSTANCE, instance);
    tags.insert(CREATED, created);
    tags.into_iter()
        .map(|(key, value)| tag(key, value))
        .collect()
}

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// The value of a tag.
pub(crate) fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    let found = tags.iter().find(|tag| tag.key() == Some(key))?;
    Some(found.value().unwrap_or_default())
}

/// Whether somebody wants an interface with these tags left alone: nothing of it is
/// changed then, whoever made it.
pub(crate) fn hands_off(tags: &[Tag]) -> bool {
    value(tags, NO_MANAGE) == Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(settings: &AwsSettings) -> Vec<String> {
        of_interface(settings, "i-1", "2026-01-02T03:04:05Z")
            .iter()
            .filter_map(|tag| tag.key().map(str::to_owned))
            .collect()
    }

    #[test]
    fn without_a_cluster_the_instance_and_the_time_are_tagged() {
        assert_eq!(keys(&AwsSettings::default()), [CREATED, INSTANCE]);
    }

    #[test]
    fn a_cluster_adds_its_name_and_the_owner_that_eks_looks_for() {
        let settings = AwsSettings {
            cluster_name: Some("blue".to_owned()),
            ..AwsSettings::default()
        };
        assert_eq!(keys(&settings), [CLUSTER, OWNER, CREATED, INSTANCE]);
    }

    #[test]
    fn additional_tags_cannot_take_kubernetes_own_keys() {
        let tags = [("team", "a"), ("node.k8s.amazonaws.com/instance_id", "i-2")];
        let settings = AwsSettings {
            additional_tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..AwsSettings::default()
        };
        let made = of_interface(&settings, "i-1", "now");
        assert_eq!(value(&made, INSTANCE), Some("i-1"));
        assert_eq!(value(&made, "team"), Some("a"));
        assert_eq!(made.len(), 3);
    }
}
