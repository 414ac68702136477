//! One LocalStack for all tests of a process, and what an administrator does to its EC2:
//! makes VPCs, subnets and instances, and changes a node's interfaces behind its back.
//!
//! Each test takes a [`Site`] of its own: a VPC, a subnet, an instance and an access key.
//! So faults, counts and what a VPC's interfaces do at their own pace are its own, too
//! ([`Site::turn`]). All other knobs and the clock belong to the server: a test that sets
//! one runs alone ([`knobs`]), and all other tests hold [`calm`].

mod holdings;
mod server;
mod site;

pub use aws_sdk_ec2 as sdk;

pub use holdings::{Attached, Holding, described, in_truth, of_state};
pub use server::{Knobs, Server, calm, knobs, running, server};
pub use site::{Site, ZONE, admin, fill, make_subnet, mend, sdk_config, site, site_in, tag};
