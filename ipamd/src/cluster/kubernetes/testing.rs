//! An API in memory, for tests that pause the clock: it answers a client without a socket, and
//! keeps what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    /// Reads since the start.
    reads: usize,
    /// What a GET of the node answers.
    node: Value,
    /// How paths that end so are refused.
    refusing: Vec<(&'static str, u16)>,
    /// No answer at all.
    silent: bool,
}

/// The API. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryApi {
    state: Arc<Mutex<State>>,
}

impl MemoryApi {
    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "kube-system")
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(&mut state)
    }

    /// What has been asked since the last call, reads excepted.
    pub(super) fn take(&self) -> Vec<Asked> {
        self.with(|state| std::mem::take(&mut state.asked))
    }

    /// How often it was read since the start.
    pub(super) fn reads(&self) -> usize {
        self.with(|state| state.reads)
    }

    pub(super) fn set_node(&self, node: Value) {
        self.with(|state| state.node = node);
    }

    /// Answers requests whose path ends so by this status; with `None` as ever.
    pub(super) fn refuse(&self, path: &'static str, status: Option<u16>) {
        self.with(|state| {
            state.refusing.retain(|(other, _)| *other != path);
            state.refusing.extend(status.map(|status| (path, status)));
        });
    }

    /// Answers nothing, as an address that drops packets.
    pub(super) fn be_silent(&self, silent: bool) {
        self.with(|state| state.silent = silent);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        if self.with(|state| state.silent) {
            std::future::pending::<()>().await;
        }
        let refused = self.with(|state| {
            let mut refusing = state.refusing.iter();
            refusing.find_map(|(end, status)| path.ends_with(end).then_some(*status))
        });
        let answer = match (refused, &parts.method) {
            (Some(status), _) => {
                let reason = match status {
                    403 => "Forbidden",
                    409 => "Conflict",
                    _ => "InternalError",
                };
                let failure = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "reason": reason, "message": "as the test says", "code": status,
                });
                (status, failure)
            }
            (None, &Method::GET) => {
                let node = self.with(|state| {
                    state.reads += 1;
                    state.node.clone()
                });
                (200, node)
            }
            (None, _) => {
                let answer = match body["kind"].is_string() {
                    true => body.clone(),
                    false => json!({ "metadata": {} }),
                };
                let method = parts.method.clone();
                self.with(|state| state.asked.push(Asked { method, path, body }));
                (200, answer)
            }
        };
        let text = match answer.0 {
            // As a server says it of a kind that it does not know.
            404 => "404 page not found\n".to_owned(),
            _ => answer.1.to_string(),
        };
        let mut response = Response::new(Body::from(text.into_bytes()));
        *response.status_mut() = StatusCode::from_u16(answer.0).expect("a status");
        response
    }
}
