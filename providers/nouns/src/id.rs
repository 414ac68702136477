//! The cloud's ids: opaque texts, parsed by nobody.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the cloud's own text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Returns the cloud's own text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

identifier! {
    /// The cloud's id of an interface (`eni-…` on AWS, a resource id on Azure).
    InterfaceId
}

identifier! {
    /// The cloud's id of a change that it carries out on its own. It outlives the
    /// daemon that began the change.
    OperationId
}

identifier! {
    /// The cloud's id of a subnet (`subnet-…` on AWS, a resource id on Azure).
    SubnetId
}
