//! The wires against the real kernel: what is plugged in appears, what is
//! assigned passes, what is not is dropped and counted, and nothing is left.
//! Looks with `ip -j` and sockets of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "kernel/bed.rs"]
mod bed;
#[path = "kernel/internet.rs"]
mod internet;
#[path = "kernel/life.rs"]
mod life;
#[path = "kernel/metadata.rs"]
mod metadata;
#[path = "kernel/plugging.rs"]
mod plugging;
#[path = "kernel/source_check.rs"]
mod source_check;
