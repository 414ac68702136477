//! The variables of an invocation, one a line, as `CNI_ARGS=K8S_POD_NAME=web;…`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use veni_cni::environment::{Command, Environment};

/// Variables are read or refused with reasons.
pub(crate) fn survives(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let variables: BTreeMap<Vec<u8>, Vec<u8>> = lines
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            Some((line[..at].to_vec(), line[at + 1..].to_vec()))
        })
        .collect();
    let lookup = |name: &str| {
        let value = variables.get(name.as_bytes())?;
        Some(OsString::from_vec(value.clone()))
    };
    if let Ok(command) = Command::try_from_lookup(&lookup)
        && let Err(failure) = Environment::try_from_lookup(command, &lookup)
    {
        assert!(!failure.message.is_empty());
    }
}
