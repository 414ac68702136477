//! The provider against LocalStack's EC2 with the fidelity hook: the suite of
//! behaviours on a Nitro and on a Xen type, and what is EC2's own.
//!
//! One server serves all tests of this binary; each test has a VPC, a subnet,
//! an instance and an access key of its own, so faults and counts are its own
//! too. Knobs are the server's: tests that turn one run alone.

mod attaching;
mod by_metadata;
mod bystanders;
mod cloud;
mod conformance;
mod doubts;
mod frugality;
mod groups;
mod halfway;
mod hands_off;
mod identity;
mod leftovers;
mod many_interfaces;
mod unknown_parameters;

use veni_testbed::ec2 as server;
