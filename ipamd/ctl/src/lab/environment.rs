//! Shows what `ipamd` says about the variables that a lab was given: names that are nearly
//! settings, and settings without effect. The daemon starts in spite of them and warns
//! only in its log, where somebody who tries a lab does not look.

use std::process::Stdio;

use tokio::process::Command;

use super::{CloudKind, UpArguments, binaries};

/// A line for each variable of `--env` that somebody should look at.
pub(super) async fn remarks(options: &UpArguments) -> Vec<String> {
    if options.environment.is_empty() {
        return Vec::new();
    }
    if options.without_daemons {
        return vec!["warning: --env is for ipamd, which this lab is without".to_owned()];
    }
    // If the binary cannot be asked, the nodes run all the same.
    let said = ask(options).await.unwrap_or_default();
    let names = options.environment.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.collect();
    let concerns = |line: &&str| {
        let mut parts = line.splitn(3, ": ");
        let kind = parts.next().unwrap_or_default();
        let name = parts.next().unwrap_or_default();
        ["warning", "note"].contains(&kind) && names.contains(&name)
    };
    said.lines().filter(concerns).map(str::to_owned).collect()
}

async fn ask(options: &UpArguments) -> anyhow::Result<String> {
    let provider = match options.cloud {
        CloudKind::Mock => "mock",
        CloudKind::Localstack => "aws",
    };
    let environment = options.environment.iter();
    let output = Command::new(binaries::find("ipamd", options.bin_dir.as_deref())?)
        .arg("--check-settings")
        .env_clear()
        .env("VENI_PROVIDER", provider)
        .envs(environment.map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .await?;
    // Notes and warnings come with the verdict: on standard output, unless a setting is
    // refused.
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}
