//! Asks EC2's instance metadata (IMDSv2) for the machine's own type: a token
//! first, then the question, both over plain HTTP/1.1.

use std::env;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Environment variable that names another endpoint, as for every AWS tool.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Environment variable in which `IPv6` chooses that family's endpoint, as for every AWS
/// tool.
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
/// Environment variable in which `true` forbids AWS tools to ask.
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
/// EC2's endpoint.
const IPV4: &str = "http://169.254.169.254";
/// EC2's endpoint for instances that have only IPv6.
const IPV6: &str = "http://[fd00:ec2::254]";
/// Short, because the service answers on the machine's own link.
const PATIENCE: Duration = Duration::from_secs(3);

/// The type of the instance on which this program runs.
pub(super) async fn instance_type() -> anyhow::Result<String> {
    let set = |name: &str, value: &str| {
        env::var(name).is_ok_and(|text| text.trim().eq_ignore_ascii_case(value))
    };
    if set(DISABLED, "true") {
        bail!("instance metadata must not be asked: {DISABLED}=true; give --instance-type");
    }
    let default = if set(MODE, "ipv6") { IPV6 } else { IPV4 };
    let endpoint = env::var(ENDPOINT).unwrap_or_else(|_| default.to_owned());
    timeout(PATIENCE, ask(&endpoint))
        .await
        .unwrap_or_else(|_| {
            Err(anyhow!(
                "no answer in {} s: this is no EC2 instance, or a container that is further \
                 away than the instance's HttpPutResponseHopLimit allows; give --instance-type",
                PATIENCE.as_secs()
            ))
        })
        .with_context(|| format!("failed to ask the instance metadata at {endpoint} for the type"))
}

async fn ask(endpoint: &str) -> anyhow::Result<String> {
    let lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60";
    let token = request(endpoint, "PUT", "/latest/api/token", lifetime).await?;
    let token = format!("X-aws-ec2-metadata-token: {token}");
    request(endpoint, "GET", "/latest/meta-data/instance-type", &token).await
}

async fn request(endpoint: &str, method: &str, path: &str, header: &str) -> anyhow::Result<String> {
    let authority = endpoint
        .strip_prefix("http://")
        .with_context(|| format!("{endpoint} does not start with http://"))?
        .trim_end_matches('/');
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut stream = TcpStream::connect(&address).await.with_context(|| {
        format!("no connection: is this an EC2 instance? {ENDPOINT} names another place")
    })?;
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    body(&answer)
}

fn body(answer: &str) -> anyhow::Result<String> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("it does not speak HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => {}
        Some("403") => bail!(
            "it answered 403: on EC2 instance metadata is switched off (HttpEndpoint=disabled); \
             elsewhere this is no EC2 instance: give --instance-type"
        ),
        _ => bail!("it answered '{status}'; give --instance-type"),
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let body = length.and_then(|length| body.get(..length)).unwrap_or(body);
    Ok(body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_s_body_is_its_text_and_a_refusal_is_an_error() {
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nm5.large";
        assert_eq!(body(good).expect("a body"), "m5.large");
        let refused = body("HTTP/1.1 401 Unauthorized\r\n\r\n").expect_err("refused");
        assert!(refused.to_string().contains("401"));
    }
}
