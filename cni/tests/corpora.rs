//! The targets of `fuzz` over their committed inputs.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and tells which input it was"
)]

#[path = "../../fuzz/src/arguments.rs"]
mod arguments;
#[path = "../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../fuzz/src/plugin.rs"]
mod plugin;

use proptest::prelude::*;

#[test]
fn inputs_of_plugin_are_survived() {
    corpus::each_input("plugin", plugin::survives);
}

#[test]
fn inputs_of_arguments_are_survived() {
    corpus::each_input("arguments", arguments::survives);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_arguments_are_survived(pairs in proptest::collection::vec(".{0,20}=.{0,20}", 0..6)) {
        let usual = "CNI_COMMAND=ADD\nCNI_CONTAINERID=a\nCNI_IFNAME=eth0\nCNI_NETNS=/n";
        let text = format!("{usual}\nCNI_ARGS={}", pairs.join(";"));
        arguments::survives(text.as_bytes());
    }
}
