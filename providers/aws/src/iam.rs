//! The IAM policy that this provider needs, made of the actions that it calls. Decides
//! nothing at run time: `deploy/iam/policy.json` is what it says, and a test compares.
//!
//! Conditions keep a node away from what belongs to other clusters (Amazon EC2, "Actions,
//! resources, and condition keys" in the Service Authorization Reference).

use serde_json::{Value, json};

use crate::actions::Action;
use crate::tags;

/// Stands for the cluster's name in the policy: `CLUSTER_NAME` of the daemon.
pub(crate) const CLUSTER_PLACE: &str = "<CLUSTER_NAME>";
/// Stands for the id of the cluster's VPC in the policy.
pub(crate) const VPC_PLACE: &str = "<VPC_ID>";

/// One permission of the policy, as far as a kind of resource goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grant {
    /// Reading, which IAM cannot limit to resources.
    Look,
    /// Interfaces that are made with the cluster's tag.
    Make,
    /// The subnets and security groups of new interfaces, by their VPC.
    MakeIn,
    /// Tags of an interface while it is made.
    TagNew,
    /// Tags of an interface of the cluster.
    TagOwn,
    /// Addresses of the VPC's interfaces: a primary interface lacks the cluster's tag.
    Addresses,
    /// Changes to interfaces of the cluster.
    Change,
    /// The cluster's instances, to which interfaces are attached.
    Instance,
    /// Security groups that an interface gets, by their VPC.
    Groups,
}

/// What an action needs.
fn grants(action: Action) -> &'static [Grant] {
    match action {
        Action::DescribeInstanceTypes
        | Action::DescribeInstances
        | Action::DescribeNetworkInterfaces
        | Action::DescribeSubnets
        | Action::DescribeVpcs => &[Grant::Look],
        Action::CreateNetworkInterface => &[Grant::Make, Grant::MakeIn],
        Action::CreateTags => &[Grant::TagNew, Grant::TagOwn],
        Action::AssignIpv6Addresses
        | Action::AssignPrivateIpAddresses
        | Action::UnassignIpv6Addresses
        | Action::UnassignPrivateIpAddresses => &[Grant::Addresses],
        Action::AttachNetworkInterface | Action::DetachNetworkInterface => {
            &[Grant::Change, Grant::Instance]
        }
        Action::DeleteNetworkInterface => &[Grant::Change],
        Action::ModifyNetworkInterfaceAttribute => &[Grant::Change, Grant::Instance, Grant::Groups],
    }
}

impl Grant {
    const ALL: [Self; 9] = [
        Self::Look,
        Self::Make,
        Self::MakeIn,
        Self::TagNew,
        Self::TagOwn,
        Self::Addresses,
        Self::Change,
        Self::Instance,
        Self::Groups,
    ];

    /// The statement's id, the kinds of resources, and the condition.
    fn scope(self) -> (&'static str, &'static [&'static str], Option<Value>) {
        const INTERFACES: &[&str] = &["network-interface"];
        let vpc = || {
            let arn = format!("arn:aws:ec2:*:*:vpc/{VPC_PLACE}");
            Some(json!({ "ArnLike": { "ec2:Vpc": arn } }))
        };
        let own = || Some(tagged(&format!("aws:ResourceTag/{}", tags::CLUSTER)));
        match self {
            Self::Look => ("Look", &[], None),
            Self::Make => {
                let made = tagged(&format!("aws:RequestTag/{}", tags::CLUSTER));
                ("MakeInterfacesOfTheCluster", INTERFACES, Some(made))
            }
            Self::MakeIn => ("InItsVpc", &["security-group", "subnet"], vpc()),
            Self::TagNew => {
                let made = json!({ "ec2:CreateAction": "CreateNetworkInterface" });
                let made = Some(json!({ "StringEquals": made }));
                ("TagThemAsTheyAreMade", INTERFACES, made)
            }
            Self::TagOwn => ("TagInterfacesOfTheCluster", INTERFACES, own()),
            Self::Addresses => ("AddressesInItsVpc", INTERFACES, vpc()),
            Self::Change => ("ChangeInterfacesOfTheCluster", INTERFACES, own()),
            Self::Instance => {
                let key = format!("aws:ResourceTag/kubernetes.io/cluster/{CLUSTER_PLACE}");
                let of_cluster = json!({ "StringEquals": { key: "owned" } });
                ("OnInstancesOfTheCluster", &["instance"], Some(of_cluster))
            }
            Self::Groups => ("GroupsOfItsVpc", &["security-group"], vpc()),
        }
    }

    fn statement(self) -> Value {
        let (id, kinds, condition) = self.scope();
        let needed = Action::ALL.into_iter();
        let needed = needed.filter(|action| grants(*action).contains(&self));
        let actions: Vec<String> = needed.map(Action::permission).collect();
        let arns = kinds.iter().map(|kind| format!("arn:aws:ec2:*:*:{kind}/*"));
        let resources = match kinds {
            [] => json!("*"),
            _ => json!(arns.collect::<Vec<_>>()),
        };
        let mut statement =
            json!({ "Sid": id, "Effect": "Allow", "Action": actions, "Resource": resources });
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        statement
    }
}

fn tagged(key: &str) -> Value {
    json!({ "StringEquals": { key: CLUSTER_PLACE } })
}

/// The policy, with `<CLUSTER_NAME>` and `<VPC_ID>` to be filled in. It needs the
/// setting `CLUSTER_NAME`: only then do new interfaces carry the cluster's tag.
#[must_use]
pub fn policy() -> Value {
    let statements = Grant::ALL.map(Grant::statement);
    json!({ "Version": "2012-10-17", "Statement": statements })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn statements() -> Vec<Value> {
        let policy = policy();
        policy["Statement"].as_array().expect("a list").clone()
    }

    fn actions(statement: &Value) -> Vec<String> {
        let actions = statement["Action"].as_array().expect("a list");
        let texts = actions.iter().map(|action| action.as_str().expect("text"));
        texts.map(str::to_owned).collect()
    }

    #[test]
    fn the_policy_that_is_shipped_is_the_one_that_is_needed() {
        let shipped = include_str!("../../../deploy/iam/policy.json");
        let needed = serde_json::to_string_pretty(&policy()).expect("is text") + "\n";
        assert_eq!(
            shipped, needed,
            "deploy/iam/policy.json should be:\n{needed}"
        );
    }

    #[test]
    fn it_permits_every_action_of_the_provider_and_no_other() {
        let permitted: BTreeSet<String> = statements().iter().flat_map(actions).collect();
        let called = Action::ALL.map(Action::permission);
        assert_eq!(permitted, BTreeSet::from(called));
    }

    #[test]
    fn whatever_changes_something_is_bound_to_the_cluster_or_to_its_vpc() {
        for statement in statements() {
            let changes = Action::ALL.into_iter().filter(|action| action.mutates());
            let mut changes = changes.map(Action::permission);
            let of_it = actions(&statement);
            if !changes.any(|change| of_it.contains(&change)) {
                continue;
            }
            let condition = statement["Condition"].to_string();
            let is_bound = condition.contains(CLUSTER_PLACE)
                || condition.contains(VPC_PLACE)
                || condition.contains("CreateNetworkInterface");
            assert!(is_bound, "{statement}");
            assert_ne!(statement["Resource"], "*", "{statement}");
        }
    }
}
