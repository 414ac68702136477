//! Requests to the Resource Manager over the pipeline of Azure's library: lossless JSON,
//! etags, the hint of when to come back, error codes. Nothing is repeated, but a request
//! whose token had expired: that was not carried out.

use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{
    ClientOptions, Context, Method, Pipeline, PipelineSendOptions, RawResponse, Request,
    RetryOptions, Transport, Url,
};
use serde_json::Value;
use std::sync::Arc;
use tokio::time::timeout;

use crate::actions::Action;
use crate::credentials::Renewing;
use crate::failure::Failure;

/// An answer that is no refusal.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Null` where there is none.
    pub(crate) body: Value,
    /// `Azure-AsyncOperation`.
    pub(crate) operation: Option<String>,
    /// `Location`.
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

/// The Resource Manager.
#[derive(Debug)]
pub(crate) struct Client {
    pipeline: Pipeline,
    credential: Arc<Renewing>,
    /// Always https: see [`crate::transport`].
    endpoint: Url,
    call_timeout: Duration,
}

impl Client {
    pub(crate) fn new(
        transport: Transport,
        credential: Arc<Renewing>,
        endpoint: Url,
        scope: &str,
        call_timeout: Duration,
    ) -> Self {
        let options = ClientOptions {
            transport: Some(transport),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let token = BearerTokenAuthorizationPolicy::new(Arc::clone(&credential) as _, [scope]);
        let pipeline = Pipeline::new(
            option_env!("CARGO_PKG_NAME"),
            option_env!("CARGO_PKG_VERSION"),
            options,
            Vec::new(),
            vec![Arc::new(token)],
            None,
        );
        Self {
            pipeline,
            credential,
            endpoint,
            call_timeout,
        }
    }

    /// Reads a resource by its id.
    pub(crate) async fn get(
        &self,
        action: Action,
        id: &str,
        version: &str,
    ) -> Result<Answer, Failure> {
        let request = Request::new(self.url(id, version), Method::Get);
        self.send(action, request).await
    }

    /// Writes a resource as a whole, if it still is what `etag` says.
    pub(crate) async fn put(
        &self,
        action: Action,
        id: &str,
        version: &str,
        etag: &str,
        body: &Value,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(self.url(id, version), Method::Put);
        request.insert_header("content-type", "application/json");
        request.insert_header("if-match", etag.to_owned());
        request.set_body(body.to_string().into_bytes());
        self.send(action, request).await
    }

    /// Asks an operation's URL. The token goes to the Resource Manager's own host alone.
    pub(crate) async fn ask(&self, url: &str) -> Result<Answer, Failure> {
        let action = Action::GetOperation;
        let parsed = Url::parse(url).ok().filter(|url| self.is_own(url));
        let Some(url) = parsed else {
            let message = format!("the operation's URL {url} is not the Resource Manager's");
            let unknown = Failure::unanswered(action, message, false);
            return Err(Failure {
                status: Some(404),
                ..unknown
            });
        };
        self.send(action, Request::new(url, Method::Get)).await
    }

    /// Whether a URL leads to the Resource Manager.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        url.scheme() == "https"
            && url.host_str() == self.endpoint.host_str()
            && url.port_or_known_default() == self.endpoint.port_or_known_default()
    }

    fn url(&self, id: &str, version: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(id);
        url.set_query(Some(&format!("api-version={version}")));
        url
    }

    async fn send(&self, action: Action, request: Request) -> Result<Answer, Failure> {
        let mut response = self.send_once(action, request.clone()).await?;
        // The Resource Manager itself refuses the token; that none was given is another matter.
        if u16::from(response.status()) == 401 {
            self.credential.renew().await;
            response = self.send_once(action, request).await?;
        }
        answer(action, &response)
    }

    async fn send_once(
        &self,
        action: Action,
        mut request: Request,
    ) -> Result<RawResponse, Failure> {
        let context = Context::new();
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let call = self.pipeline.send(&context, &mut request, Some(options));
        match timeout(self.call_timeout, call).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unanswered(action, &error)),
            Err(_) => {
                let message = format!("no answer within {:?}", self.call_timeout);
                Err(Failure::unanswered(action, message, action.writes()))
            }
        }
    }
}

/// No answer came. A request for which there was no connection or no token was never sent.
fn unanswered(action: Action, error: &azure_core::Error) -> Failure {
    let sent = !matches!(error.kind(), ErrorKind::Connection | ErrorKind::Credential);
    let mut failure = Failure::unanswered(action, chain(error), sent && action.writes());
    if matches!(error.kind(), ErrorKind::Credential) {
        failure.message = format!("no token was given: {}", failure.message);
        // What stands behind it tells a refusal from a service that does not answer.
        failure.status = status_of(error).filter(|status| matches!(status, 400 | 401 | 403));
        if failure.status.is_some() {
            failure.status = Some(401);
        }
    }
    failure
}

fn status_of(error: &azure_core::Error) -> Option<u16> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = next {
        let known = one.downcast_ref::<azure_core::Error>();
        if let Some(status) = known.and_then(azure_core::Error::http_status) {
            return Some(status.into());
        }
        next = one.source();
    }
    None
}

fn chain(error: &azure_core::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}

fn answer(action: Action, response: &RawResponse) -> Result<Answer, Failure> {
    let header = |name: &'static str| {
        let name = HeaderName::from_static(name);
        response.headers().get_optional_string(&name)
    };
    let status = u16::from(response.status());
    let body = serde_json::from_slice(response.body().as_ref()).unwrap_or(Value::Null);
    let retry_after = header("retry-after").and_then(|text| text.trim().parse().ok());
    let retry_after = retry_after.map(Duration::from_secs);
    if (200..300).contains(&status) {
        return Ok(Answer {
            status,
            body,
            operation: header("azure-asyncoperation"),
            location: header("location"),
            retry_after,
        });
    }
    Err(Failure {
        status: Some(status),
        retry_after,
        request: header("x-ms-request-id").unwrap_or_default(),
        ..refusal(action, &body)
    })
}

/// What the object `error` in an answer or an operation says.
pub(crate) fn refusal(action: Action, body: &Value) -> Failure {
    let error = body.get("error").unwrap_or(&Value::Null);
    let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
    Failure {
        code: text("code").to_owned(),
        ..Failure::unanswered(action, text("message"), false)
    }
}
