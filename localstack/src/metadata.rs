//! Instance metadata (EC2's IMDS, version 2): what an instance's programs learn about
//! their instance at 169.254.169.254.
//!
//! [`View`] is what EC2 says about all instances. [`answer`] is the pure function from
//! it to the service's tree. [`Service`] serves that over HTTP on a listener that the
//! caller has bound, with session tokens, hop limit and refusals as EC2 documents them.
//! It shows a new view a configurable time after its publication, because the real
//! service lags behind EC2, and it can be made to fail.
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
