//! What can go wrong, with what to do about it.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;

/// Why enforcement could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system for pins is missing and cannot be mounted.
    #[error("failed to mount a bpf file system on {}: mount one there, and let the daemon see it", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A folder or file for pins.
    #[error("failed to {operation} {}", path.display())]
    Pin {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not take the programs or their maps.
    #[error(
        "failed to load the programs: they need Linux 5.10 or later, and CAP_BPF with CAP_NET_ADMIN"
    )]
    Load(#[source] Box<aya::EbpfError>),
    /// One program.
    #[error("failed to load the program {program}")]
    Program {
        /// Its name in bpf/programs.
        program: &'static str,
        /// What the verifier says.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks something: it and the loader are of different sources.
    #[error("the programs' object has no {0}: build it and the daemon from the same sources")]
    Lacking(&'static str),
    /// An element of a map.
    #[error("failed to {operation} the map {map}")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// Which map.
        map: &'static str,
        /// What the kernel says.
        source: MapError,
    },
    /// A map is full.
    #[error(
        "the map {map} is full: {needed} more elements do not go in, fewer or shorter policies do"
    )]
    Full {
        /// Which map.
        map: &'static str,
        /// How many were to be added.
        needed: usize,
    },
    /// A request to rtnetlink.
    #[error("failed to {operation}")]
    Netlink {
        /// What was tried, with its object.
        operation: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Somebody else uses a block.
    #[error("the tc block {block} holds {found}: give Veni another block number, or remove that")]
    ForeignBlock {
        /// Its number.
        block: u32,
        /// What is on it.
        found: String,
    },
    /// A link has a qdisc of somebody else where the blocks are joined.
    #[error(
        "the link {index} has a qdisc {kind} that joins no block of Veni: remove it (tc qdisc del dev LINK {kind})"
    )]
    ForeignQdisc {
        /// The link.
        index: u32,
        /// Kind of the qdisc.
        kind: String,
    },
    /// Policy for an endpoint that is not admitted.
    #[error("link {0} has no endpoint: admit it first")]
    NotAdmitted(u32),
    /// More addresses than a pod has.
    #[error("link {0} has two addresses of one family: name the second among the further sources")]
    TwoAddresses(u32),
}

impl Error {
    pub(crate) fn map(operation: &'static str, map: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map {
            operation,
            map,
            source,
        }
    }
}
