//! Figures of a real cluster, for docs/performance.md: how soon pods have their network beside the
//! reference plugin bridge, what bursts cost, and what it helps that demand leads. `make figures` prints
//! them; no lane runs it, because it takes minutes.

#![allow(
    clippy::expect_used,
    reason = "a measurement may stop at the first surprise"
)]
#![expect(clippy::print_stdout, reason = "the figures are its output")]

#[expect(dead_code, reason = "the kubernetes lane uses the rest")]
#[path = "kubernetes/objects.rs"]
mod objects;
#[expect(dead_code, reason = "the kubernetes lane uses the rest")]
#[path = "kubernetes/veni.rs"]
mod veni;

mod figures {
    mod demand;
    mod nodes;
    mod watch;
}
