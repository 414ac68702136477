//! The programs in the kernel: made-up packets run through them, and real traffic of pods
//! in namespaces. Needs root: a user namespace may not load programs.

mod agreement;
mod bed;
mod flows;
mod lifecycle;
mod packets;
mod parsing;
mod policy;
mod records;
mod sets;
mod sys;
mod traffic;
mod verifier;
mod world;
