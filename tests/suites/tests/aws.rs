//! The aws lane: a whole daemon in this process on the AWS provider, against
//! LocalStack's EC2 with the fidelity hook and the in-memory kernel, in real time.
//!
//! Tests look at EC2's own Describe, the hook's state and counts, and the kernel's
//! tables, never at the daemon's state. Settings shorten the daemon's waits. A test waits
//! for a state and never for a time to pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "aws/audit.rs"]
mod audit;
#[path = "aws/audit_sees.rs"]
mod audit_sees;
#[path = "aws/consistency.rs"]
mod consistency;
#[expect(dead_code, reason = "the component lane uses all of it")]
#[path = "component/daemon.rs"]
mod daemon;
#[path = "aws/families.rs"]
mod families;
#[path = "aws/faults.rs"]
mod faults;
#[path = "aws/floating.rs"]
mod floating;
#[path = "aws/frugality.rs"]
mod frugality;
#[path = "aws/growth.rs"]
mod growth;
#[path = "aws/hands_off.rs"]
mod hands_off;
#[path = "aws/leftovers.rs"]
mod leftovers;
#[path = "aws/lives.rs"]
mod lives;
#[path = "aws/metadata.rs"]
mod metadata;
#[path = "aws/modes.rs"]
mod modes;
#[path = "aws/others.rs"]
mod others;
#[expect(dead_code, reason = "the component lane uses all of it")]
#[path = "component/recorder.rs"]
mod recorder;
#[path = "aws/refusals.rs"]
mod refusals;
#[path = "aws/storms.rs"]
mod storms;
#[path = "aws/subnets.rs"]
mod subnets;
#[path = "aws/waiting.rs"]
mod waiting;
#[path = "aws/wires.rs"]
mod wires;
#[path = "aws/wires_credentials.rs"]
mod wires_credentials;
#[path = "aws/wires_custom.rs"]
mod wires_custom;
#[path = "aws/wires_leftovers.rs"]
mod wires_leftovers;
#[path = "aws/wires_machine.rs"]
mod wires_machine;
#[path = "aws/wires_modes.rs"]
mod wires_modes;
#[path = "aws/wires_outside.rs"]
mod wires_outside;
#[path = "aws/world.rs"]
mod world;
