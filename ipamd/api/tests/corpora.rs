//! The targets of `fuzz` over their committed inputs.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and tells which input it was"
)]

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/preamble.rs"]
mod preamble;

#[test]
fn inputs_of_preamble_are_survived() {
    corpus::each_input("preamble", preamble::survives);
}
