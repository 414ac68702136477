//! CNI errors inside gRPC errors: code, message and details survive the trip.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Metadata key of the CNI error code.
const CODE_KEY: &str = "veni-cni-code";
/// Metadata key of the details.
const DETAILS_KEY: &str = "veni-cni-details-bin";

/// Error codes of the CNI specification (1.1.0, section "Error") and Veni's own.
pub mod code {
    /// Incompatible CNI version.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// Unsupported field in the network configuration.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or does not exist; no clean-up is needed.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// Invalid necessary environment variables.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// I/O failure.
    pub const IO_FAILURE: u32 = 5;
    /// Failed to decode content.
    pub const DECODING_FAILURE: u32 = 6;
    /// Invalid network configuration.
    pub const INVALID_CONFIG: u32 = 7;
    /// Try again later.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// The plugin is not available: it cannot serve ADD.
    pub const NOT_AVAILABLE: u32 = 50;
    /// Veni: no address can be had; waiting does not help.
    pub const NO_ADDRESS: u32 = 100;
    /// Veni: the kernel refused a step of the pod's network.
    pub const KERNEL_REFUSED: u32 = 101;
    /// Veni: CHECK found differences.
    pub const DIFFERS: u32 = 102;
    /// Veni: a port of the node leads to another pod.
    pub const HOST_PORT_TAKEN: u32 = 103;
}

/// A CNI error as the runtime will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniFailure {
    /// Error code, see [`code`].
    pub code: u32,
    /// One line: what failed.
    pub message: String,
    /// Reason and what to do; may be empty.
    pub details: String,
}

impl CniFailure {
    /// A failure with code, message and details.
    pub fn new(code: u32, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: details.into(),
        }
    }

    /// Reads a failure out of a gRPC status. A status that carries no CNI code
    /// (transport trouble, a deadline) becomes "try again later".
    pub fn from_status(status: &Status) -> Self {
        let metadata = status.metadata();
        let code = metadata
            .get(CODE_KEY)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .unwrap_or(code::TRY_AGAIN_LATER);
        let details = metadata
            .get_bin(DETAILS_KEY)
            .and_then(|value| value.to_bytes().ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        Self::new(code, status.message(), details)
    }
}

impl From<CniFailure> for Status {
    fn from(failure: CniFailure) -> Self {
        let grpc_code = match failure.code {
            code::UNKNOWN_CONTAINER => Code::NotFound,
            code::INVALID_ENVIRONMENT | code::INVALID_CONFIG | code::DECODING_FAILURE => {
                Code::InvalidArgument
            }
            code::TRY_AGAIN_LATER | code::NOT_AVAILABLE => Code::Unavailable,
            code::NO_ADDRESS => Code::ResourceExhausted,
            _ => Code::Internal,
        };
        let mut status = Self::new(grpc_code, failure.message);
        let metadata = status.metadata_mut();
        metadata.insert(CODE_KEY, MetadataValue::from(failure.code));
        if !failure.details.is_empty() {
            metadata.insert_bin(
                DETAILS_KEY,
                MetadataValue::from_bytes(failure.details.as_bytes()),
            );
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_trip_through_a_status() {
        let failure = CniFailure::new(code::NO_ADDRESS, "no address", "subnet is full: ß");
        let status = Status::from(failure.clone());
        assert_eq!(CniFailure::from_status(&status), failure);
    }

    #[test]
    fn a_status_without_a_cni_code_means_try_again() {
        let failure = CniFailure::from_status(&Status::cancelled("gone"));
        assert_eq!(failure.code, code::TRY_AGAIN_LATER);
        assert_eq!(failure.message, "gone");
    }
}
