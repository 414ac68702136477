//! Runs the programs that build and show the node: `ip`, `nsenter`, `mount`.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, bail};
use serde_json::Value;

/// Runs a program to its end. An error quotes its standard error.
pub(crate) fn run(line: &[&str]) -> anyhow::Result<Output> {
    let [program, arguments @ ..] = line else {
        bail!("no program to run");
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to run {program}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("failed to run `{}`: {reason}", line.join(" "));
    }
    Ok(output)
}

/// Runs `ip` in the node with arguments that are separated by spaces.
pub(crate) fn ip(words: &str) -> anyhow::Result<()> {
    let mut line = vec!["ip"];
    line.extend(words.split_whitespace());
    run(&line).map(drop)
}

/// Runs `ip` in another namespace.
pub(crate) fn ip_in(namespace: &Path, words: &str) -> anyhow::Result<()> {
    in_namespace(namespace, words).map(drop)
}

/// What `ip -j` shows in the node.
pub(crate) fn ip_json(words: &str) -> anyhow::Result<Vec<Value>> {
    let mut line = vec!["ip", "-j"];
    line.extend(words.split_whitespace());
    parse(&run(&line)?)
}

/// What `ip -j` shows in another namespace.
pub(crate) fn ip_json_in(namespace: &Path, words: &str) -> anyhow::Result<Vec<Value>> {
    parse(&in_namespace(namespace, &format!("-j {words}"))?)
}

fn in_namespace(namespace: &Path, words: &str) -> anyhow::Result<Output> {
    let network = format!("--net={}", namespace.display());
    let mut line = vec!["nsenter", network.as_str(), "ip"];
    line.extend(words.split_whitespace());
    run(&line)
}

/// Parses the output of `ip -j`, which is empty when there is nothing to show.
fn parse(output: &Output) -> anyhow::Result<Vec<Value>> {
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let list = serde_json::from_slice::<Vec<Value>>(&output.stdout)?;
    // An entry without content stands for a link that a filter has left out.
    Ok(list
        .into_iter()
        .filter(|entry| entry.as_object().is_some_and(|fields| !fields.is_empty()))
        .collect())
}
