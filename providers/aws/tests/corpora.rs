//! The target of `fuzz` over its committed inputs, and over what is one change away from them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and tells which input it was"
)]

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/metadata.rs"]
mod metadata;

#[test]
fn inputs_of_metadata_are_survived_whole_cut_and_changed() {
    corpus::each_input("metadata", |bytes| {
        metadata::survives(bytes);
        for at in 0..bytes.len() {
            metadata::survives(&bytes[..at]);
            for byte in *b"\0 /:9\xff" {
                let mut changed = bytes.to_vec();
                changed[at] = byte;
                metadata::survives(&changed);
            }
        }
    });
}

#[test]
fn what_ec2_tells_is_an_interface() {
    let texts = [
        "10.0.0.5\n10.0.0.9",
        "",
        "10.0.0.32/28",
        "",
        "10.0.0.0/24",
        "",
        "0",
        "0",
    ];
    let texts = texts.into_iter().chain(["eni-1", "subnet-1"]);
    let read = veni_provider_aws::read_interface("0e:00:00:00:00:01", texts);
    let interface = read.expect("it is whole").expect("it is there");
    assert!(interface.primary);
    assert_eq!(interface.addresses.len(), 1);
    assert_eq!(interface.prefixes.len(), 1);
}
