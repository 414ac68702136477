//! Committed inputs of a target, for the tests that run it over them.

use std::path::Path;

/// Runs a target over each of its inputs, and prints which it is.
pub(crate) fn each_input(of: &str, target: fn(&[u8])) {
    // This file is a module of crates at several depths of the tree.
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut corpora = above.map(|folder| folder.join("fuzz/corpus").join(of));
    let corpus = corpora.find(|folder| folder.is_dir());
    let entries = std::fs::read_dir(corpus.expect("a corpus")).expect("it is read");
    let inputs: Vec<_> = entries
        .map(|entry| entry.expect("an input").path())
        .collect();
    assert!(!inputs.is_empty());
    for path in inputs {
        println!("{}", path.display());
        target(&std::fs::read(path).expect("it is read"));
    }
}
