//! EC2's actions that this provider uses, by EC2's own names.

use std::fmt;
use std::time::Duration;

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

/// Told of every call to EC2 that came to an end: one call of the provider
/// trait may need several.
pub trait ActionObserver: Send + Sync + 'static {
    /// A call ended; the outcome is `ok`, EC2's error code, or what happened to
    /// the connection.
    fn action(&self, action: Action, outcome: &str, took: Duration);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoActionObserver;

impl ActionObserver for NoActionObserver {
    fn action(&self, _: Action, _: &str, _: Duration) {}
}
