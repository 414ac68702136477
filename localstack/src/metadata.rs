//! Instance metadata (EC2's IMDS, version 2): what a program on an instance is
//! told of itself at 169.254.169.254.
//!
//! [`View`] is what EC2 says of all instances, [`answer`] the pure function from
//! it to the service's tree, and [`Service`] the HTTP service on a listener that
//! the caller has bound: session tokens, hop limit, refusals as EC2 documents
//! them. The service shows a new view a configurable time after it was published,
//! because the real one lags behind EC2, and can be made to fail.
//!
//! Every version of the tree (`/latest/…`, `/2021-07-15/…`) has the same
//! content. Signatures of the identity document, public addresses and user data
//! do not exist here.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html>

mod connection;
#[cfg(feature = "aws")]
mod describe;
mod documents;
mod exchange;
mod service;
mod time;
mod timeline;
mod tokens;
mod tree;
mod view;

#[cfg(test)]
mod tests;

#[cfg(feature = "aws")]
pub use describe::{DescribeError, describe};
pub use documents::{Validity, access_key_id};
pub use service::{Service, Settings};
pub use tree::answer;
pub use view::{Group, Instance, Interface, Options, Role, View};
