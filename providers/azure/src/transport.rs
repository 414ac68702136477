//! What requests travel by: Azure's own client, with the addresses of a fake in place of
//! ARM's and instance metadata's where the settings name them.
//!
//! Azure's library sends tokens by https alone, and asks one fixed address for instance
//! metadata. So the URLs above this layer are always those, and this layer rewrites them.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport, Url, new_http_client};
use veni_provider::{ErrorClass, ProviderError};

use crate::settings::AzureSettings;

/// Where instance metadata is on every machine.
pub(crate) const METADATA_HOST: &str = "169.254.169.254";

/// Rewrites the URLs of requests.
#[derive(Debug)]
struct Rewriting {
    inner: Arc<dyn HttpClient>,
    /// The Resource Manager, where it is called by plain http.
    plain: Option<Url>,
    /// Where instance metadata is instead.
    metadata: Option<Url>,
}

/// What all requests are sent with.
///
/// # Errors
/// `Fatal`: a URL in the settings is none.
pub(crate) fn transport(settings: &AzureSettings) -> Result<Transport, ProviderError> {
    let endpoint = parsed("the Resource Manager", settings.endpoint.as_deref())?;
    let inner = settings.transport.clone();
    let rewriting = Rewriting {
        inner: inner.unwrap_or_else(|| new_http_client(None)),
        plain: endpoint.filter(|url| url.scheme() == "http"),
        metadata: parsed("instance metadata", settings.metadata_endpoint.as_deref())?,
    };
    Ok(Transport::new(Arc::new(rewriting)))
}

fn parsed(what: &str, text: Option<&str>) -> Result<Option<Url>, ProviderError> {
    let url = text.map(Url::parse).transpose();
    url.map_err(|error| {
        let text = text.unwrap_or_default();
        let reason = format!("'{text}' is no URL of {what}: {error}");
        ProviderError::new(ErrorClass::Fatal, "connect", reason)
    })
}

fn same_place(url: &Url, other: &Url) -> bool {
    // Without a port both have none, whatever their schemes' own would be.
    url.host_str() == other.host_str() && url.port() == other.port()
}

#[async_trait]
impl HttpClient for Rewriting {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = request.url();
        let to = match (&self.metadata, &self.plain) {
            (Some(metadata), _) if url.host_str() == Some(METADATA_HOST) => metadata,
            (_, Some(plain)) if same_place(url, plain) => plain,
            _ => return self.inner.execute_request(request).await,
        };
        let mut changed = request.clone();
        let mut rewritten = to.clone();
        rewritten.set_path(url.path());
        rewritten.set_query(url.query());
        *changed.url_mut() = rewritten;
        self.inner.execute_request(&changed).await
    }
}
