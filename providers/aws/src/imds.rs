//! The client of instance metadata: the SDK's, which fetches tokens and renews
//! them before they end.
//!
//! It does not notice a token that has ended early (the clock was set back, the
//! service has forgotten it) and would be refused until that token's time is
//! over, six hours at worst. Then a new client, with a new token, takes over.

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::imds::client::error::ImdsError;
use aws_config::imds::client::{Builder, Client};
use aws_config::provider_config::ProviderConfig;
use veni_provider::{ErrorClass, ProviderError};

use crate::ec2::{chain, last_source};

/// The operation that errors of instance metadata name.
const METADATA: &str = "instance metadata";

/// Names another place of instance metadata, for every AWS tool.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// `IPv6` chooses the place of that family, for every AWS tool.
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
/// Where EC2 has it.
const IPV4: &str = "http://169.254.169.254";
/// Where EC2 has it for instances that have IPv6 only.
const IPV6: &str = "http://[fd00:ec2::254]";

/// Instance metadata. Clones share the token.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    builder: Builder,
    client: Arc<Mutex<Client>>,
    /// Where it is asked, for errors.
    place: String,
}

impl Metadata {
    /// Instance metadata at an address, or where every AWS tool looks for it.
    pub(crate) fn new(endpoint: Option<&str>) -> Result<Self, ProviderError> {
        let mut builder = Client::builder().configure(&ProviderConfig::without_region());
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint(endpoint).map_err(|error| {
                let reason = format!("'{endpoint}' is no address of instance metadata: {error}");
                ProviderError::new(ErrorClass::Fatal, "connect", reason)
            })?;
        }
        Ok(Self {
            client: Arc::new(Mutex::new(builder.clone().build())),
            builder,
            place: endpoint.map_or_else(usual_place, str::to_owned),
        })
    }

    /// Asks for a text. `None` for a path that is not there.
    pub(crate) async fn optional(&self, path: &str) -> Result<Option<String>, ProviderError> {
        let mut answer = self.current().get(path).await;
        if answer
            .as_ref()
            .is_err_and(|error| status(error) == Some(401))
        {
            answer = self.renewed().get(path).await;
        }
        let error = match answer {
            Ok(text) => return Ok(Some(String::from(text).trim().to_owned())),
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => error,
        };
        let reason = self.failure(path, &error);
        Err(ProviderError::new(ErrorClass::Transient, METADATA, reason))
    }

    fn failure(&self, path: &str, error: &ImdsError) -> String {
        let what = format!("failed to read {path} at {}", self.place);
        if no_connection(error) {
            let cause = last_source(error);
            return format!(
                "{what}: no connection ({cause}): is this an EC2 instance? {ENDPOINT} names \
                 another place"
            );
        }
        format!("{what}: {}", chain(error))
    }

    /// Asks for a text that is there on every instance.
    pub(crate) async fn required(&self, path: &str) -> Result<String, ProviderError> {
        self.optional(path).await?.ok_or_else(|| {
            let reason = format!("{path} is not there");
            ProviderError::new(ErrorClass::Transient, METADATA, reason)
        })
    }

    fn current(&self) -> Client {
        let client = self.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client without a token, from now on the current one.
    fn renewed(&self) -> Client {
        let client = self.builder.clone().build();
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone_from(&client);
        client
    }
}

/// Where the SDK asks when it is not told; a profile of its own is not looked at.
fn usual_place() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let of_family = || match set(MODE) {
        Some(mode) if mode.eq_ignore_ascii_case("ipv6") => IPV6.to_owned(),
        _ => IPV4.to_owned(),
    };
    set(ENDPOINT).unwrap_or_else(of_family)
}

fn no_connection(error: &ImdsError) -> bool {
    match error {
        ImdsError::FailedToLoadToken(token) => token.is_dispatch_failure(),
        ImdsError::IoError(_) => true,
        _ => false,
    }
}

/// The HTTP status of an answer that was a refusal.
fn status(error: &ImdsError) -> Option<u16> {
    match error {
        ImdsError::ErrorResponse(told) => Some(told.response().status().as_u16()),
        _ => None,
    }
}
