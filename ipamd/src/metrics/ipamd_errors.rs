//! What the AWS plugin counts as errors of its daemon, by the names of its functions:
//! calls to the cloud that failed, and interfaces that could not be set up. Calls and the
//! pool count into the same.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{AWS, PlainCounter};

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Finding out which node this is.
    Node,
    /// Reading the inventory.
    Inventory,
    /// Making and attaching an interface.
    Attach,
    /// Detaching an interface.
    Detach,
    /// Assigning addresses or prefixes.
    Assign,
    /// Releasing addresses or prefixes.
    Release,
    /// Bringing an interface into service in the kernel.
    SetUp,
}

impl Failure {
    const ALL: [Self; 7] = [
        Self::Node,
        Self::Inventory,
        Self::Attach,
        Self::Detach,
        Self::Assign,
        Self::Release,
        Self::SetUp,
    ];

    /// The AWS plugin's name of the place where it counts the same.
    fn label(self) -> FunctionLabel {
        let r#fn = match self {
            Self::Node => "nodeInit",
            Self::Inventory => "reconcileFailedGetENIs",
            Self::Attach => "increaseIPPoolAllocENI",
            Self::Detach => "decreaseIPPoolFreeENIFailed",
            Self::Assign => "increaseIPPoolAllocIPAddressesFailed",
            Self::Release => "decreaseIPPool",
            Self::SetUp => "increaseIPPoolsetupENIFailed",
        };
        FunctionLabel { r#fn }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabel {
    r#fn: &'static str,
}

/// The handle. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct IpamdErrors(Family<FunctionLabel, PlainCounter>);

impl Default for IpamdErrors {
    fn default() -> Self {
        let family = Family::default();
        for failure in Failure::ALL {
            drop(family.get_or_create(&failure.label()));
        }
        Self(family)
    }
}

impl IpamdErrors {
    /// Has it exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register(
            "ipamd_error_count",
            "Calls to the cloud that failed, and interfaces that the kernel could not be set up for",
            self.0.clone(),
        );
    }

    /// Something failed.
    pub(crate) fn count(&self, failure: Failure) {
        self.0.get_or_create(&failure.label()).inc();
    }
}
