//! The AWS VPC CNI: what its daemon shows of itself on a node, and the page about moving
//! from it.

use super::other_plugin::{HealthService, OtherPlugin};

/// The page that tells how to move a node, by its place in the project.
pub const MIGRATION_PAGE: &str = "docs/migration-aws.md";

/// The section of it for a daemon that was refused.
pub const MIGRATION_SECTION: &str = "Moving a cluster";

/// The AWS VPC CNI. `/var/run` may be a link that leads out of a mount, so both of its
/// names are tried. Versions without this socket serve plugins at a TCP address, where health
/// has a service of their name (`pkg/ipamd/rpc_handler.go`). Their file of addresses in use
/// outlives them, so it is no sign.
pub const AWS_PLUGIN: OtherPlugin = OtherPlugin {
    name: "the AWS VPC CNI",
    sockets: &["/var/run/aws-node/ipamd.sock", "/run/aws-node/ipamd.sock"],
    program: "aws-k8s-agent",
    health: Some(HealthService {
        address: "127.0.0.1:50051",
        name: "grpc.health.v1.aws-node",
    }),
    conflist: "10-aws.conflist",
    page: MIGRATION_PAGE,
    section: MIGRATION_SECTION,
};

#[cfg(test)]
mod tests;
