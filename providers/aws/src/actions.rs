//! EC2's actions that this provider uses, by EC2's own names.

use std::fmt;
use std::time::Duration;

use veni_provider::ErrorClass;

/// One action of EC2's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are EC2's")]
pub enum Action {
    AssignIpv6Addresses,
    AssignPrivateIpAddresses,
    AttachNetworkInterface,
    CreateNetworkInterface,
    CreateTags,
    DeleteNetworkInterface,
    DescribeInstanceTypes,
    DescribeInstances,
    DescribeNetworkInterfaces,
    DescribeSubnets,
    DescribeVpcs,
    DetachNetworkInterface,
    ModifyNetworkInterfaceAttribute,
    UnassignIpv6Addresses,
    UnassignPrivateIpAddresses,
}

impl Action {
    /// All of them, in order.
    pub const ALL: [Self; 15] = [
        Self::AssignIpv6Addresses,
        Self::AssignPrivateIpAddresses,
        Self::AttachNetworkInterface,
        Self::CreateNetworkInterface,
        Self::CreateTags,
        Self::DeleteNetworkInterface,
        Self::DescribeInstanceTypes,
        Self::DescribeInstances,
        Self::DescribeNetworkInterfaces,
        Self::DescribeSubnets,
        Self::DescribeVpcs,
        Self::DetachNetworkInterface,
        Self::ModifyNetworkInterfaceAttribute,
        Self::UnassignIpv6Addresses,
        Self::UnassignPrivateIpAddresses,
    ];

    /// EC2's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::AssignIpv6Addresses => "AssignIpv6Addresses",
            Self::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Self::AttachNetworkInterface => "AttachNetworkInterface",
            Self::CreateNetworkInterface => "CreateNetworkInterface",
            Self::CreateTags => "CreateTags",
            Self::DeleteNetworkInterface => "DeleteNetworkInterface",
            Self::DescribeInstanceTypes => "DescribeInstanceTypes",
            Self::DescribeInstances => "DescribeInstances",
            Self::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
            Self::DescribeSubnets => "DescribeSubnets",
            Self::DescribeVpcs => "DescribeVpcs",
            Self::DetachNetworkInterface => "DetachNetworkInterface",
            Self::ModifyNetworkInterfaceAttribute => "ModifyNetworkInterfaceAttribute",
            Self::UnassignIpv6Addresses => "UnassignIpv6Addresses",
            Self::UnassignPrivateIpAddresses => "UnassignPrivateIpAddresses",
        }
    }

    /// The permission that IAM has to grant for it.
    pub fn permission(self) -> String {
        format!("ec2:{}", self.label())
    }

    /// Whether it changes anything, so that a missing answer leaves doubt.
    pub fn mutates(self) -> bool {
        !matches!(
            self,
            Self::DescribeInstanceTypes
                | Self::DescribeInstances
                | Self::DescribeNetworkInterfaces
                | Self::DescribeSubnets
                | Self::DescribeVpcs
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A call to EC2 that came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionCall<'a> {
    /// What was called.
    pub action: Action,
    /// EC2's error code, or what happened to the connection.
    pub outcome: Result<(), &'a str>,
    /// HTTP's status; `None` where there was no answer.
    pub status: Option<u16>,
    /// How long it waited for its budget.
    pub waited: Duration,
    /// How long EC2 took then.
    pub took: Duration,
}

/// Whose an interface was that EC2 did not delete. It stays in the account until it is
/// deleted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeleted {
    /// One that this node made and could not attach.
    Unattached,
    /// One that this node has detached.
    Detached,
    /// One that an earlier daemon of this node, or another node, left behind.
    LeftBehind,
}

/// Told of every call to EC2 that came to an end: one call of the provider
/// trait may need several, and clean-up makes some of its own. A call whose
/// future is dropped is not told of.
pub trait ActionObserver: Send + Sync + 'static {
    /// A call ended.
    fn action(&self, call: &ActionCall<'_>);

    /// So many calls per second of an action are let pass now.
    fn budget(&self, action: Action, per_second: f64);

    /// EC2 did not delete an interface.
    fn not_deleted(&self, which: Undeleted, class: &ErrorClass);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoActionObserver;

impl ActionObserver for NoActionObserver {
    fn action(&self, _: &ActionCall<'_>) {}

    fn budget(&self, _: Action, _: f64) {}

    fn not_deleted(&self, _: Undeleted, _: &ErrorClass) {}
}
