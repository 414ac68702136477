//! What a check can find.

use crate::program::Program;

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The link that holds the blocks is gone.
    #[error("the link {0} that holds the tc blocks is missing")]
    HolderMissing(String),
    /// A program is not the first filter where it should be.
    #[error("the program {program:?} is not the first filter of the {place}")]
    ProgramMissing {
        /// Which program.
        program: Program,
        /// In words.
        place: String,
    },
    /// A link has left the blocks: its packets are judged by nobody.
    #[error("link {0} does not join the tc blocks")]
    NotJoined(u32),
    /// No endpoint is admitted on the link: its packets are dropped.
    #[error("link {0} has no endpoint")]
    NotAdmitted(u32),
    /// Programs of others run before ours on the link and may skip them.
    #[error("link {0} has tcx programs of others ahead of ours: {1}")]
    ForeignPrograms(u32, String),
}
