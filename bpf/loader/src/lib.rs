//! The eBPF programs that judge pods' traffic: loaded, attached, and their maps kept.
//!
//! [`Enforcer`] is all of it. What it puts in place stays in force when the process ends;
//! the next one takes it over. The programs are C, in `bpf/programs`.

mod counters;
mod endpoint;
mod endpoints;
mod enforcer;
mod error;
mod fault;
mod filesystem;
mod flows;
mod layout;
mod maps;
mod netlink;
mod node;
mod program;
mod records;
mod remove;
mod rules;
mod sets;
mod sys;
mod tc;

pub use counters::{Counters, EndpointCounters};
pub use endpoint::Endpoint;
pub use enforcer::{Enforcer, Settings};
pub use error::Error;
pub use fault::Fault;
pub use flows::Sweep;
pub use layout::{LAYOUT, Reason};
pub use node::{MetadataAddress, NodeRules, REPLY_MARK};
pub use program::{Program, TestPacket, TestVerdict};
pub use records::{Record, RecordKind, Records};
pub use remove::{is_in_force, remove};
