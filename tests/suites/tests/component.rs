//! The component lane: a whole daemon in this process, against the mock cloud
//! and the in-memory kernel, on a paused clock. Nothing here has a socket, because a
//! paused clock runs ahead of one.
//!
//! Tests look at the cloud's own dump, the kernel's own tables, and the daemon's answers
//! to callers and operators, never at the daemon's state.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "component/adds.rs"]
mod adds;
#[path = "component/audit.rs"]
mod audit;
#[path = "component/audit_sees.rs"]
mod audit_sees;
#[path = "component/bandwidth.rs"]
mod bandwidth;
#[path = "component/churn.rs"]
mod churn;
#[path = "component/clocks.rs"]
mod clocks;
#[path = "component/cloud_faults.rs"]
mod cloud_faults;
#[path = "component/cut_calls.rs"]
mod cut_calls;
#[path = "component/daemon.rs"]
mod daemon;
#[path = "component/dels.rs"]
mod dels;
#[path = "component/doubt.rs"]
mod doubt;
#[path = "component/expected.rs"]
mod expected;
#[path = "component/families.rs"]
mod families;
#[path = "component/full_subnets.rs"]
mod full_subnets;
#[path = "component/further_interfaces.rs"]
mod further_interfaces;
#[path = "component/histories/mod.rs"]
mod histories;
#[path = "component/host_ports.rs"]
mod host_ports;
#[path = "component/interleavings.rs"]
mod interleavings;
#[path = "component/kernel_faults.rs"]
mod kernel_faults;
#[path = "component/kills.rs"]
mod kills;
#[path = "component/kinds_of_calls.rs"]
mod kinds_of_calls;
#[path = "component/late_inventories.rs"]
mod late_inventories;
#[path = "component/levels.rs"]
mod levels;
#[path = "component/limits.rs"]
mod limits;
#[path = "component/local_views.rs"]
mod local_views;
#[path = "component/long_changes.rs"]
mod long_changes;
#[path = "component/lost_links.rs"]
mod lost_links;
#[path = "component/network_cards.rs"]
mod network_cards;
#[path = "component/node_addresses.rs"]
mod node_addresses;
#[path = "component/origins.rs"]
mod origins;
#[path = "component/parallel.rs"]
mod parallel;
#[path = "component/recorder.rs"]
mod recorder;
#[path = "component/refused_writes.rs"]
mod refused_writes;
#[path = "component/repairs.rs"]
mod repairs;
#[path = "component/restart.rs"]
mod restart;
#[path = "component/routing_tables.rs"]
mod routing_tables;
#[path = "component/subnets.rs"]
mod subnets;
#[path = "component/tombstones.rs"]
mod tombstones;
#[path = "component/warm_targets.rs"]
mod warm_targets;
#[path = "component/world.rs"]
mod world;
