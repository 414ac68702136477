//! The programs in the kernel: made-up packets run through them, and real traffic of pods
//! in namespaces. Needs root: a user namespace may not load programs.

mod lifecycle;
mod sys;
mod traffic;
mod world;
