//! The control plane of a lab: `veni lab up` chooses it, and the lab's process describes
//! it to the commands that ask.

use anyhow::{anyhow, bail};
use veni_cloudlab::mock::CloudConfig;
use veni_cloudlab::{Lab, LabConfig, LabError, with_ipv6};

use super::control::CloudDescription;
use super::{CloudKind, CloudProfile, UpArguments};

/// Host and port out of a LocalStack's URL.
pub(super) fn server_of(url: &str) -> Result<String, String> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err("write http://HOST:PORT".to_owned());
    };
    let server = rest.trim_end_matches('/');
    match server.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(server.to_owned())
        }
        _ => Err("write http://HOST:PORT, with the port".to_owned()),
    }
}

/// The lab's configuration, from the command line.
pub(super) async fn config(name: &str, options: &UpArguments) -> anyhow::Result<LabConfig> {
    match options.cloud {
        CloudKind::Mock if options.localstack_url.is_some() => {
            bail!("--localstack-url is for --cloud localstack")
        }
        CloudKind::Mock => Ok(mock(name, options)),
        CloudKind::Localstack if options.profile != CloudProfile::Aws => {
            bail!("--profile is for the mock cloud: LocalStack is an AWS")
        }
        CloudKind::Localstack => localstack(name, options).await,
    }
}

fn mock(name: &str, options: &UpArguments) -> LabConfig {
    let cloud = match options.profile {
        CloudProfile::Aws => CloudConfig::aws(),
        CloudProfile::Azure => CloudConfig::azure(),
    };
    let cloud = cloud.seed(options.seed);
    let cloud = if options.ipv6 {
        with_ipv6(cloud)
    } else {
        cloud
    };
    LabConfig::new(name, cloud, options.nodes, options.instance_type())
}

#[cfg(not(feature = "aws"))]
async fn localstack(_name: &str, _options: &UpArguments) -> anyhow::Result<LabConfig> {
    bail!(
        "this build cannot use LocalStack: it lacks Amazon's SDK; \
         `cargo build --features ipamd/aws,veni/aws` makes one that can"
    )
}

#[cfg(feature = "aws")]
async fn localstack(name: &str, options: &UpArguments) -> anyhow::Result<LabConfig> {
    use veni_cloudlab::{Ec2Config, LocalStack};
    let server = match &options.localstack_url {
        Some(server) => LocalStack::Running(resolve(server).await?),
        None => LocalStack::Own(run_script()?),
    };
    let config = Ec2Config::new(server, options.nodes, options.instance_type());
    let config = if options.ipv6 {
        config.with_ipv6()
    } else {
        config
    };
    Ok(LabConfig::ec2(name, config))
}

#[cfg(feature = "aws")]
async fn resolve(server: &str) -> anyhow::Result<std::net::SocketAddr> {
    use std::net::SocketAddr;

    use anyhow::Context;
    let unknown = || format!("--localstack-url names the host {server}, which has no address");
    let found = tokio::net::lookup_host(server)
        .await
        .with_context(unknown)?;
    // LocalStack listens on IPv4 only, so addresses of the other family do not help.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().with_context(unknown)
}

/// The script that starts a LocalStack: the one that $VENI_LOCALSTACK_RUN names, or that of
/// the source tree in which this program lies or was built.
#[cfg(feature = "aws")]
fn run_script() -> anyhow::Result<std::path::PathBuf> {
    use std::path::{Path, PathBuf};

    use anyhow::Context;
    const TOLD: &str = "VENI_LOCALSTACK_RUN";
    const SCRIPT: &str = "localstack/ec2/run";
    if let Some(told) = std::env::var_os(TOLD).filter(|told| !told.is_empty()) {
        let told = PathBuf::from(told);
        if !told.is_file() {
            bail!("{TOLD}={}: there is no such program", told.display());
        }
        return Ok(std::path::absolute(told)?);
    }
    let own = std::env::current_exe()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut candidates = own.ancestors().skip(1).chain(source.ancestors());
    let found = candidates.find_map(|folder| {
        let script = folder.join(SCRIPT);
        script.is_file().then_some(script)
    });
    found.with_context(|| {
        format!(
            "{SCRIPT} is neither above {} nor where this program was built: name it with {TOLD}, \
             or a LocalStack that runs already with --localstack-url",
            own.display()
        )
    })
}

/// The control plane of a running lab.
pub(super) fn describe(lab: &Lab, options: &UpArguments) -> CloudDescription {
    #[cfg(feature = "aws")]
    if let Some(ec2) = lab.ec2() {
        return CloudDescription::Localstack {
            address: ec2.address(),
            own: options.localstack_url.is_none(),
            vpc: ec2.vpc().to_owned(),
            subnets: ec2.subnets().iter().map(ToString::to_string).collect(),
        };
    }
    CloudDescription::Mock {
        socket: lab.cloud_socket(),
        profile: options.profile,
    }
}

/// One line about it.
pub(super) fn line(cloud: &CloudDescription) -> String {
    match cloud {
        CloudDescription::Mock { .. } => "cloud: the mock cloud, in the lab's process".to_owned(),
        CloudDescription::Localstack {
            address, own, vpc, ..
        } => {
            let whose = if *own {
                "the lab's own LocalStack"
            } else {
                "LocalStack"
            };
            format!("cloud: {whose} at http://{address} (any credentials), in {vpc}")
        }
    }
}

/// The message about a lab that is down while something of it is left in its cloud.
pub(super) fn left_over(name: &str, cloud: &CloudDescription, error: LabError) -> anyhow::Error {
    let CloudDescription::Localstack { vpc, .. } = cloud else {
        return error.into();
    };
    let left = format!("lab {name} is down; its VPC {vpc} could not be removed from LocalStack");
    match error {
        LabError::Silent { reason, .. } => anyhow!("{left}, which does not answer: {reason}"),
        error @ LabError::Emulator { .. } => anyhow!(error).context(left),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port_and_others_are_refused_with_the_form() {
        assert_eq!(
            server_of("http://127.0.0.1:4566/"),
            Ok("127.0.0.1:4566".to_owned())
        );
        for bad in ["https://host:1", "http://host", "http://:1", "host:4566"] {
            assert!(server_of(bad).is_err_and(|text| text.contains("PORT")));
        }
    }
}
