//! Instance metadata: which machine this is, and what it can see of its NICs without a
//! call to the Resource Manager.
//! <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use azure_core::http::{
    ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request, RetryOptions,
    Transport, Url,
};
use ipnet::IpNet;
use serde_json::Value;
use tokio::time::timeout;
use veni_provider::{LocalView, Mac};

use crate::actions::Action;
use crate::failure::Failure;
use crate::transport::METADATA_HOST;

/// It answers from the host, within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The instance metadata service.
#[derive(Debug)]
pub(crate) struct Metadata {
    pipeline: Pipeline,
}

impl Metadata {
    pub(crate) fn new(transport: Transport) -> Self {
        let options = ClientOptions {
            transport: Some(transport),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let (name, version) = (
            option_env!("CARGO_PKG_NAME"),
            option_env!("CARGO_PKG_VERSION"),
        );
        Self {
            pipeline: Pipeline::new(name, version, options, Vec::new(), Vec::new(), None),
        }
    }

    /// What it tells of the machine.
    pub(crate) async fn compute(&self) -> Result<Value, Failure> {
        self.get(
            "/metadata/instance/compute",
            "api-version=2021-01-01&format=json",
        )
        .await
    }

    /// What it tells of the machine's NICs.
    pub(crate) async fn network(&self) -> Result<Value, Failure> {
        self.get(
            "/metadata/instance/network",
            "api-version=2021-02-01&format=json",
        )
        .await
    }

    async fn get(&self, path: &str, query: &str) -> Result<Value, Failure> {
        let failed = |message: String| Failure::unanswered(Action::Metadata, message, false);
        let url = format!("http://{METADATA_HOST}{path}?{query}");
        let url = Url::parse(&url).map_err(|error| failed(error.to_string()))?;
        let mut request = Request::new(url, Method::Get);
        request.insert_header("metadata", "true");
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let context = Context::new();
        let call = self.pipeline.send(&context, &mut request, Some(options));
        let answer = timeout(PATIENCE, call).await;
        let answer = answer.map_err(|_| failed(format!("no answer within {PATIENCE:?}")))?;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = u16::from(answer.status());
        if status != 200 {
            let text = String::from_utf8_lossy(answer.body().as_ref()).into_owned();
            return Err(Failure {
                // A service that is not ready yet answers 404 and 410, too.
                status: Some(if status == 400 { 400 } else { 503 }),
                ..failed(format!("status {status}: {text}"))
            });
        }
        let body = serde_json::from_slice(answer.body().as_ref());
        body.map_err(|error| failed(format!("the answer is no JSON: {error}")))
    }
}

/// Reads what instance metadata tells of NICs. What it does not understand it leaves out.
pub(crate) fn local_view(network: &Value) -> LocalView {
    let interfaces = network.get("interface").and_then(Value::as_array);
    let interfaces = interfaces.into_iter().flatten();
    let read: BTreeMap<Mac, BTreeSet<IpNet>> = interfaces
        .filter_map(|one| Some((one.get("macAddress")?.as_str()?.parse().ok()?, ranges(one))))
        .collect();
    LocalView {
        interfaces: read,
        marks: BTreeSet::new(),
    }
}

fn ranges(interface: &Value) -> BTreeSet<IpNet> {
    let addresses = interface
        .pointer("/ipv4/ipAddress")
        .and_then(Value::as_array);
    let texts = addresses
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("privateIpAddress")?.as_str());
    texts.filter_map(range).collect()
}

/// `a.b.c.d`, or `a.b.c.d/28`, whose address may lie within its block.
pub(crate) fn range(text: &str) -> Option<IpNet> {
    match text.split_once('/') {
        Some(_) => text.parse().ok().map(|range: IpNet| range.trunc()),
        None => text
            .parse()
            .ok()
            .map(|address: IpAddr| IpNet::from(address)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_view_is_every_address_of_every_nic_by_its_mac() {
        let address = |text: &str| json!({"privateIpAddress": text, "publicIpAddress": ""});
        let network = json!({"interface": [{
            "ipv4": {"ipAddress": [address("10.0.8.5"), address("10.0.8.21/28")], "subnet": []},
            "ipv6": {"ipAddress": []},
            "macAddress": "000D3A328570",
        }, {"macAddress": "no mac"}]});
        let view = local_view(&network);
        let mac: Mac = "00:0d:3a:32:85:70".parse().expect("a MAC");
        let expected = ["10.0.8.5/32", "10.0.8.16/28"].map(|text| text.parse().expect("a range"));
        assert_eq!(
            view.interfaces,
            BTreeMap::from([(mac, BTreeSet::from(expected))])
        );
        assert_eq!(local_view(&json!({})), LocalView::default());
    }
}
