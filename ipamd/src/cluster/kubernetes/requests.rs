//! Sees every request to the API and its answer: counts it by what it asks for, and tells
//! whether a watch works.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request, Response, Uri};
use tower::{Layer, Service};

use super::health::{Asked, Health};
use crate::cluster::api_metrics::ApiMetrics;

/// Sees the requests of a client.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    pub(super) metrics: ApiMetrics,
    pub(super) health: Health,
    /// The watch that the client is for. A watch says nothing while nothing happens, so that it
    /// works again after a failure shows by the answers to its requests alone.
    pub(super) watch: Option<Asked>,
}

impl<S> Layer<S> for Observer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            observer: self.clone(),
            inner,
        }
    }
}

/// A service whose requests are seen.
#[derive(Debug, Clone)]
pub(super) struct Observed<S> {
    observer: Observer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Observed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = (verb(&request), resource(request.uri().path()));
        let (observer, answer) = (self.observer.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(Response::status);
            let code = status.map(|status| status.as_u16());
            observer.metrics.request_ended(verb, resource, code);
            if let (Some(watch), Some(true)) = (observer.watch, status.map(|one| one.is_success()))
            {
                observer.health.answered(watch);
            }
            answer
        })
    }
}

/// The verb by which the API's own rules of access call the request.
fn verb<B>(request: &Request<B>) -> &'static str {
    match *request.method() {
        Method::GET if asks(request.uri(), "watch") => "watch",
        Method::GET if is_of_one(request.uri().path()) => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PATCH => "patch",
        _ => "other",
    }
}

fn asks(uri: &Uri, parameter: &str) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.starts_with(parameter))
}

/// All that the daemon asks for, with its path below the group's version.
const RESOURCES: [&str; 5] = ["nodes", "pods", "events", "eniconfigs", "nodenetworks"];

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// The resource, with its subresource; a label of metrics, and so one of a few.
fn resource(path: &str) -> &'static str {
    let found = parts(path).find_map(|part| RESOURCES.into_iter().find(|one| *one == part));
    match found {
        Some("nodes") if path.ends_with("/status") => "nodes/status",
        Some(resource) => resource,
        None => "other",
    }
}

/// Whether an object's name follows the resource's.
fn is_of_one(path: &str) -> bool {
    let mut behind = parts(path).skip_while(|part| !RESOURCES.contains(part));
    behind.next();
    behind.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_the_words_of_the_rules_of_access() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/nodes?", ("list", "nodes")),
            (
                Method::GET,
                "/api/v1/pods?&watch=true&x=1",
                ("watch", "pods"),
            ),
            (Method::GET, "/api/v1/nodes/n1", ("get", "nodes")),
            (Method::PATCH, "/api/v1/nodes/n1?", ("patch", "nodes")),
            (
                Method::PATCH,
                "/api/v1/nodes/n1/status?fieldManager=veni",
                ("patch", "nodes/status"),
            ),
            (
                Method::PATCH,
                "/api/v1/namespaces/a/pods/b?",
                ("patch", "pods"),
            ),
            (
                Method::POST,
                "/apis/events.k8s.io/v1/namespaces/a/events?",
                ("create", "events"),
            ),
            (
                Method::PATCH,
                "/apis/veni.dev/v1alpha1/nodenetworks/n1?force=true",
                ("patch", "nodenetworks"),
            ),
            (
                Method::GET,
                "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs?",
                ("list", "eniconfigs"),
            ),
            (Method::DELETE, "/version", ("other", "other")),
        ] {
            let request = Request::builder().method(method).uri(uri);
            let request = request.body(()).expect("a request");
            let counted = (verb(&request), resource(request.uri().path()));
            assert_eq!(counted, expected, "{uri}");
        }
    }
}
