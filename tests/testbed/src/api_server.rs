//! A small Kubernetes API server: what kube-proxy and the daemon list and watch, over plain
//! HTTP.
//!
//! It keeps the objects that a test has put there, each with a resource version. A list
//! answers with those that the caller selects. A watch begins at the version of a list and
//! delivers what has changed since, and then each change as it comes. It keeps every change,
//! so no watch is ever too old. Objects can be read one by one, created, and patched. It keeps a
//! record of what it was asked. It knows no users, no deletions and no protobuf.

mod selection;
mod writes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use veni_cloudlab::enter;

use selection::Selection;
use writes::{Conflict, Target, patched};

/// How long a watch lasts whose caller names no time.
const WATCH: Duration = Duration::from_secs(1800);

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `v1` Namespace.
    Namespace,
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy,
    /// `v1` Service.
    Service,
    /// `networking.k8s.io/v1` ServiceCIDR.
    ServiceCidr,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `events.k8s.io/v1` Event.
    Event,
    /// `crd.k8s.amazonaws.com/v1alpha1` ENIConfig.
    EniConfig,
    /// `veni.dev/v1alpha1` NodeNetwork.
    NodeNetwork,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Node,
        Self::Pod,
        Self::Namespace,
        Self::NetworkPolicy,
        Self::Service,
        Self::ServiceCidr,
        Self::EndpointSlice,
        Self::Event,
        Self::EniConfig,
        Self::NodeNetwork,
    ];

    /// Path of all its objects, version and name.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        let networking = "networking.k8s.io/v1";
        let discovery = "discovery.k8s.io/v1";
        match self {
            Self::Node => ("/api/v1/nodes", "v1", "Node"),
            Self::Pod => ("/api/v1/pods", "v1", "Pod"),
            Self::Namespace => ("/api/v1/namespaces", "v1", "Namespace"),
            Self::NetworkPolicy => (
                "/apis/networking.k8s.io/v1/networkpolicies",
                networking,
                "NetworkPolicy",
            ),
            Self::Service => ("/api/v1/services", "v1", "Service"),
            Self::ServiceCidr => (
                "/apis/networking.k8s.io/v1/servicecidrs",
                networking,
                "ServiceCIDR",
            ),
            Self::EndpointSlice => (
                "/apis/discovery.k8s.io/v1/endpointslices",
                discovery,
                "EndpointSlice",
            ),
            Self::Event => ("/apis/events.k8s.io/v1/events", "events.k8s.io/v1", "Event"),
            Self::EniConfig => (
                "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs",
                "crd.k8s.amazonaws.com/v1alpha1",
                "ENIConfig",
            ),
            Self::NodeNetwork => (
                "/apis/veni.dev/v1alpha1/nodenetworks",
                "veni.dev/v1alpha1",
                "NodeNetwork",
            ),
        }
    }

    fn at(path: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.words().0 == path)
    }
}

/// A running server. It ends with the value.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    store: Arc<Store>,
    _serving: AbortOnDropHandle<()>,
}

impl ApiServer {
    /// Starts one on the loopback address of a namespace.
    ///
    /// # Panics
    /// When it cannot listen there.
    pub async fn start(namespace: &Path) -> Self {
        let listener = enter(namespace, || {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.await.and_then(TcpListener::from_std);
        let listener = listener.expect("the API server can listen");
        let address = listener.local_addr().expect("it has an address");
        let store = Arc::<Store>::default();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&store));
        let serving = tokio::spawn(async move {
            let ended = axum::serve(listener, router).await;
            ended.expect("the API server serves");
        });
        Self {
            address,
            store,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Its URL, for who is in the same namespace.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client's kubeconfig says of it.
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "lab", "cluster": { "server": self.url() } }],
            "users": [{ "name": "anybody", "user": {} }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "anybody" } }],
            "current-context": "lab",
        })
    }

    /// Makes an object or replaces the one of its name. Namespaces are not told apart.
    ///
    /// # Panics
    /// When it has no name.
    pub fn put(&self, kind: Kind, object: Value) {
        let name = object["metadata"]["name"].as_str();
        let name = name.expect("an object has a name").to_owned();
        self.store.change(kind, &name, Some(object));
    }

    /// Refuses all requests, and ends all watches, until it is back.
    pub fn away(&self, away: bool) {
        self.store.objects().away = away;
        self.store.changed.send_replace(());
    }

    /// Answers no request from now on, as an address that drops packets, or answers again.
    /// Watches that are open go on.
    pub fn silent(&self, silent: bool) {
        self.store.objects().silent = silent;
        self.store.changed.send_replace(());
    }

    /// The objects of a kind as they are now, by name.
    pub fn objects(&self, kind: Kind) -> Vec<Value> {
        let objects = self.store.objects();
        let of_kind = objects.all.iter().filter(|((of, _), _)| *of == kind);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// What it has been asked so far, each as `GET /api/v1/nodes`.
    pub fn asked(&self) -> Vec<String> {
        self.store.objects().asked.clone()
    }

    /// How many requests without an answer their clients have given up.
    pub fn given_up(&self) -> usize {
        self.store.objects().given_up
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn delete(&self, kind: Kind, name: &str) {
        self.store.change(kind, name, None);
    }
}

/// What has become of an object, with the version of that.
#[derive(Debug)]
struct Change {
    version: u64,
    kind: Kind,
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Debug, Default)]
struct Objects {
    all: BTreeMap<(Kind, String), Value>,
    changes: Vec<Change>,
    away: bool,
    silent: bool,
    asked: Vec<String>,
    given_up: usize,
}

/// A request without an answer. It ends when its client gives it up.
struct GivenUp(Arc<Store>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.objects().given_up += 1;
    }
}

impl Objects {
    fn version(&self) -> u64 {
        // A client takes version 0 for "any".
        self.changes.last().map_or(1, |change| change.version)
    }
}

#[derive(Debug, Default)]
struct Store {
    objects: Mutex<Objects>,
    /// Wakes those who watch.
    changed: watch::Sender<()>,
}

impl Store {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("unpoisoned")
    }

    fn change(&self, kind: Kind, name: &str, after: Option<Value>) {
        self.change_in(&mut self.objects(), kind, name, after);
    }

    fn change_in(&self, objects: &mut Objects, kind: Kind, name: &str, mut after: Option<Value>) {
        let version = objects.version() + 1;
        let key = (kind, name.to_owned());
        let before = objects.all.remove(&key);
        // kube-proxy tells by its uid that an object was deleted and made anew.
        let uid = match &before {
            Some(before) => before["metadata"]["uid"].clone(),
            None => format!("00000000-0000-0000-0000-{version:012}").into(),
        };
        assert!(before.is_some() || after.is_some(), "there is no {name}");
        if let Some(object) = &mut after {
            let (_, api_version, word) = kind.words();
            object["apiVersion"] = api_version.into();
            object["kind"] = word.into();
            object["metadata"]["uid"] = uid;
            object["metadata"]["resourceVersion"] = version.to_string().into();
            objects.all.insert(key, object.clone());
        }
        objects.changes.push(Change {
            version,
            kind,
            before,
            after,
        });
        self.changed.send_replace(());
    }

    fn list(&self, kind: Kind, selection: &Selection) -> Value {
        let objects = self.objects();
        let of_kind = objects.all.iter().filter(|((of, _), _)| *of == kind);
        let items: Vec<&Value> = of_kind
            .map(|(_, object)| object)
            .filter(|object| selection.takes(object))
            .collect();
        let (_, version, word) = kind.words();
        json!({
            "apiVersion": version,
            "kind": format!("{word}List"),
            "metadata": { "resourceVersion": objects.version().to_string() },
            "items": items,
        })
    }

    /// What a watcher is told of the changes behind a version, a line each, and the version
    /// that it has then seen.
    fn told(&self, kind: Kind, selection: &Selection, seen: u64) -> (String, u64) {
        let objects = self.objects();
        let behind = objects.changes.iter().filter(|one| one.version > seen);
        let of_kind = behind.filter(|change| change.kind == kind);
        let lines = of_kind.filter_map(|change| event(change, selection));
        (lines.collect(), objects.version())
    }
}

/// A change as a watcher sees it: an object that leaves the selection is deleted for it, and
/// shown as it was selected last, with the version of the change.
fn event(change: &Change, selection: &Selection) -> Option<String> {
    let taken = |object: &Option<Value>| object.as_ref().is_some_and(|one| selection.takes(one));
    let (word, object) = match (taken(&change.before), taken(&change.after)) {
        (false, false) => return None,
        (false, true) => ("ADDED", &change.after),
        (true, true) => ("MODIFIED", &change.after),
        (true, false) => ("DELETED", &change.before),
    };
    let mut object = object.clone()?;
    object["metadata"]["resourceVersion"] = change.version.to_string().into();
    Some(format!("{}\n", json!({ "type": word, "object": object })))
}

/// The parameters of a list or a watch that this server knows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    watch: bool,
    resource_version: String,
    label_selector: String,
    field_selector: String,
    timeout_seconds: Option<u64>,
}

async fn answer(
    State(store): State<Arc<Store>>,
    method: Method,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    let is_silent = {
        let mut objects = store.objects();
        objects.asked.push(format!("{method} {}", uri.path()));
        objects.silent
    };
    if is_silent {
        let _given_up = GivenUp(store);
        return std::future::pending().await;
    }
    if store.objects().away {
        return failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "it is away",
        );
    }
    if method != Method::GET {
        return write(&store, &method, uri.path(), &body);
    }
    let (path, of_namespace) = without_namespace(uri.path());
    let Some(kind) = Kind::at(&path) else {
        return read(&store, uri.path());
    };
    let fields = [parameters.field_selector, of_namespace].join(",");
    let selection = Selection::parse(&parameters.label_selector, &fields);
    let Ok(selection) = selection else {
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", "such selectors");
    };
    if !parameters.watch {
        return json_response(Body::from(store.list(kind, &selection).to_string()));
    }
    // A watch without a version begins with what is there, which no client here asks for.
    let Ok(seen @ 1..) = parameters.resource_version.parse::<u64>() else {
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", "such a watch");
    };
    let lasts = parameters.timeout_seconds.map(Duration::from_secs);
    let changes = changes(store, kind, selection, seen);
    let end = Box::pin(tokio::time::sleep(lasts.unwrap_or(WATCH)));
    json_response(Body::from_stream(changes.take_until(end)))
}

/// The path of a list of all namespaces, and the field selector of the one that was asked for.
fn without_namespace(path: &str) -> (String, String) {
    let all = path.split_once("/namespaces/").and_then(|(version, rest)| {
        let (namespace, kind) = rest.split_once('/')?;
        let selector = format!("metadata.namespace={namespace}");
        (!kind.contains('/')).then(|| (format!("{version}/{kind}"), selector))
    });
    all.unwrap_or_else(|| (path.to_owned(), String::new()))
}

fn read(store: &Store, path: &str) -> Response {
    let found = Target::at(path).and_then(|target| {
        let objects = store.objects();
        objects.all.get(&(target.kind, target.name?)).cloned()
    });
    match found {
        Some(object) => json_response(Body::from(object.to_string())),
        None => refusal(StatusCode::NOT_FOUND, "NotFound", "these objects"),
    }
}

/// Creates or patches an object. One that is applied is created where there is none.
fn write(store: &Store, method: &Method, path: &str, body: &[u8]) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", "JSON");
    };
    let Some(target) = Target::at(path) else {
        return refusal(StatusCode::NOT_FOUND, "NotFound", "these objects");
    };
    let name = target.name.or_else(|| {
        let name = body["metadata"]["name"].as_str()?;
        Some(name.to_owned())
    });
    let Some(name) = name else {
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", "names");
    };
    let key = (target.kind, name);
    // From the look to the change: of two who name one version, one comes too late.
    let mut objects = store.objects();
    let before = objects.all.get(&key).cloned();
    let after = match (&before, method) {
        (None, &Method::POST) => Ok(body),
        (None, &Method::PATCH) if target.kind == Kind::NodeNetwork => Ok(body),
        (None, _) => return refusal(StatusCode::NOT_FOUND, "NotFound", "this object"),
        (Some(before), &Method::PATCH) => patched(before, &body),
        (Some(_), _) => Err(Conflict),
    };
    let Ok(after) = after else {
        return failure(StatusCode::CONFLICT, "Conflict", "it has changed");
    };
    store.change_in(&mut objects, key.0, &key.1, Some(after));
    drop(objects);
    read(store, &format!("{}/{}", key.0.words().0, key.1))
}

fn changes(
    store: Arc<Store>,
    kind: Kind,
    selection: Selection,
    seen: u64,
) -> impl Stream<Item = Result<String, Infallible>> + Send + 'static {
    let changed = store.changed.subscribe();
    stream::unfold((seen, changed), move |(mut seen, mut changed)| {
        let (store, selection) = (Arc::clone(&store), selection.clone());
        async move {
            loop {
                changed.mark_unchanged();
                let (lines, now) = store.told(kind, &selection, seen);
                seen = now;
                if store.objects().away {
                    return None;
                }
                if !lines.is_empty() {
                    return Some((Ok(lines), (seen, changed)));
                }
                changed.changed().await.ok()?;
            }
        }
    })
}

fn json_response(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn refusal(status: StatusCode, reason: &str, unknown: &str) -> Response {
    let message = format!("this API server does not serve anything but {unknown}");
    failure(status, reason, &message)
}

fn failure(status: StatusCode, reason: &str, message: &str) -> Response {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "code": status.as_u16(),
        "message": message,
    });
    (status, json_response(Body::from(text.to_string()))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, labels: Value) -> Value {
        json!({ "metadata": { "name": name, "labels": labels } })
    }

    /// The next words of a watch: kinds of events, names and versions.
    async fn next(watch: &mut (impl Stream<Item = Result<String, Infallible>> + Unpin)) -> String {
        let Some(Ok(lines)) = watch.next().await else {
            panic!("the watch has ended");
        };
        let events = lines.lines().map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let metadata = &event["object"]["metadata"];
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let version = text(&metadata["resourceVersion"]);
            format!(
                "{} {} {version}",
                text(&event["type"]),
                text(&metadata["name"])
            )
        });
        events.collect::<Vec<_>>().join(", ")
    }

    #[tokio::test]
    async fn a_watch_tells_what_changed_since_its_list_and_what_leaves_its_selection() {
        let store = Arc::<Store>::default();
        store.change(Kind::Service, "a", Some(service("a", json!({}))));
        store.change(Kind::Service, "b", Some(service("b", json!({ "x": "" }))));
        store.change(
            Kind::Node,
            "n",
            Some(json!({ "metadata": { "name": "n" } })),
        );
        let selection = || Selection::parse("!x", "").expect("understood");
        let listed = store.list(Kind::Service, &selection());
        let items = listed["items"].as_array().expect("items");
        assert_eq!((items.len(), &items[0]["kind"]), (1, &json!("Service")));
        assert_eq!(listed["metadata"]["resourceVersion"], "4");
        let changes = changes(Arc::clone(&store), Kind::Service, selection(), 4);
        let mut watch = Box::pin(changes);
        store.change(Kind::Service, "b", Some(service("b", json!({}))));
        store.change(Kind::Node, "n", None);
        store.change(Kind::Service, "a", Some(service("a", json!({}))));
        assert_eq!(next(&mut watch).await, "ADDED b 5, MODIFIED a 7");
        let (told, ()) = tokio::join!(next(&mut watch), async {
            store.change(Kind::Service, "a", Some(service("a", json!({ "x": "" }))));
        });
        assert_eq!(told, "DELETED a 8");
        store.change(Kind::Service, "b", None);
        assert_eq!(next(&mut watch).await, "DELETED b 9");
    }
}
