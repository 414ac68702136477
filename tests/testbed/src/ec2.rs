//! One LocalStack for all tests of a process, and what an administrator of its
//! EC2 makes, breaks and sees: VPCs, subnets, instances, other people's changes.
//!
//! Each test takes a [`Site`] of its own: a VPC, a subnet, an instance and an
//! access key, so that faults and counts are its own too. Knobs and clock are the
//! server's: tests that turn one run alone ([`knobs`]), all others hold [`calm`].

mod holdings;
mod server;
mod site;

pub use aws_sdk_ec2 as sdk;

pub use holdings::{Attached, Holding, described, in_truth, of_state};
pub use server::{Knobs, Server, calm, knobs, running, server};
pub use site::{Site, ZONE, admin, fill, make_subnet, mend, sdk_config, site, site_in, tag};
