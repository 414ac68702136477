//! The cluster's NetworkPolicies, and the namespaces and pods that they select.
//!
//! The watches are bounded. Policies and namespaces are those of the whole cluster, and pods
//! those of this node. Of others only those are watched that live in namespaces which a policy
//! in force here can select. A policy that selects further ones is not in force before their
//! pods are listed: until then, what it replaces decides.

mod heard;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use veni_policy::Needed;
use veni_policy::objects::Object;

use self::heard::{Heard, Known, Watched, What};
use super::events;
use super::health::{Asked, Health};
use crate::enforcement::Ebpf;

/// News that wait at most; a watch that has more waits itself.
const BACKLOG: usize = 1024;

/// Between two looks whether all is in force.
const AT_LEAST_EVERY: Duration = Duration::from_secs(2);

/// Tells `ebpf` of policies and of what they select. While the API does not answer, what it
/// said last stays in force.
pub(super) async fn follow(client: Client, node: &str, ebpf: Ebpf, health: &Health) {
    let (tell, mut heard) = mpsc::channel(BACKLOG);
    let mut watches = Watches {
        client,
        node: node.to_owned(),
        health: health.clone(),
        tell,
        tasks: JoinSet::new(),
        begun: BTreeMap::new(),
    };
    for what in [Watched::Policies, Watched::Namespaces, Watched::OwnPods] {
        watches.begin(what);
    }
    let mut known = Known::default();
    let mut changes = Vec::new();
    loop {
        let mut batch = Vec::new();
        // Also without news: what the kernel refused is tried again, and pods that were added
        // since may need further watches.
        let news = heard.recv_many(&mut batch, BACKLOG);
        drop(tokio::time::timeout(AT_LEAST_EVERY, news).await);
        // A watch that has ended may have told something before.
        batch.retain(|one| watches.begun.contains_key(&one.from));
        changes.extend(batch.into_iter().flat_map(|one| known.hear(one)));
        if !known.has_begun() {
            continue;
        }
        let (told, batch, ebpf) = (known.told(), std::mem::take(&mut changes), ebpf.clone());
        // It may take the kernel as long as policies are large.
        let taken = tokio::task::spawn_blocking(move || {
            let taken = ebpf.take_in(batch, &told);
            (taken, ebpf.needed())
        });
        match taken.await {
            Ok((taken, needed)) => {
                let refused = taken.err();
                let problem = refused.map(|pods| format!("policies are not in force: {pods}"));
                health.wrong(Asked::Policies, problem);
                changes.extend(watches.adjust(&needed, &mut known));
            }
            // A panic is a defect, and ends the process.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        }
    }
}

/// What is watched. The watches end with it.
struct Watches {
    client: Client,
    node: String,
    health: Health,
    tell: mpsc::Sender<Heard>,
    tasks: JoinSet<()>,
    begun: BTreeMap<Watched, AbortHandle>,
}

impl Watches {
    fn begin(&mut self, what: Watched) {
        if self.begun.contains_key(&what) {
            return;
        }
        let pods = ApiResource::erase::<Pod>(&());
        let client = self.client.clone();
        let (api, fields) = match &what {
            Watched::Policies => (all::<NetworkPolicy>(client), String::new()),
            Watched::Namespaces => (all::<Namespace>(client), String::new()),
            Watched::OwnPods => (all::<Pod>(client), format!("spec.nodeName={}", self.node)),
            Watched::AllPods => (all::<Pod>(client), String::new()),
            Watched::PodsOf(namespace) => {
                let api = Api::namespaced_with(client, namespace, &pods);
                (api, String::new())
            }
        };
        let task = watch(
            api,
            fields,
            what.clone(),
            self.health.clone(),
            self.tell.clone(),
        );
        self.begun.insert(what, self.tasks.spawn(task));
    }

    /// Begins what is needed, and once all of that is listed, ends what is not. Returns what
    /// nobody watches any more.
    fn adjust(&mut self, needed: &Needed, known: &mut Known) -> Vec<crate::enforcement::Change> {
        let wanted: Vec<Watched> = match needed {
            Needed::Everywhere => vec![Watched::AllPods],
            Needed::Of(namespaces) => namespaces.iter().cloned().map(Watched::PodsOf).collect(),
        };
        for what in &wanted {
            self.begin(what.clone());
        }
        if !wanted.iter().all(|what| known.is_listed(what)) {
            return Vec::new();
        }
        let surplus = self.begun.extract_if(.., |what, _| {
            matches!(what, Watched::AllPods | Watched::PodsOf(_)) && !wanted.contains(what)
        });
        let mut changes = Vec::new();
        for (what, task) in surplus {
            task.abort();
            changes.extend(known.forget(&what));
        }
        changes
    }
}

fn all<K: Resource<DynamicType = ()>>(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<K>(&()))
}

/// Tells what one watch says, for as long as somebody listens.
async fn watch(
    api: Api<DynamicObject>,
    fields: String,
    from: Watched,
    health: Health,
    tell: mpsc::Sender<Heard>,
) {
    let events = events(api, &fields, (&health, Asked::Policies));
    pin_mut!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        // Every cluster knows these kinds.
        let Ok(event) = event else { continue };
        let what = match event {
            Event::Init => {
                listed.clear();
                continue;
            }
            Event::InitApply(object) => {
                listed.extend(read(&from, object));
                continue;
            }
            // Only now is the list whole.
            Event::InitDone => What::Listed(std::mem::take(&mut listed)),
            Event::Apply(object) => match read(&from, object) {
                Some(object) => What::Applied(object),
                None => continue,
            },
            Event::Delete(object) => match read(&from, object) {
                Some(object) => What::Deleted(object.reference()),
                None => continue,
            },
        };
        let from = from.clone();
        if tell.send(Heard { from, what }).await.is_err() {
            return;
        }
    }
}

/// The object as the compiler of policies knows it. What the API has let pass and the compiler
/// does not is told in the log, and is as if it were not there.
fn read(from: &Watched, object: DynamicObject) -> Option<Object> {
    let (version, kind) = match from {
        Watched::Policies => ("networking.k8s.io/v1", "NetworkPolicy"),
        Watched::Namespaces => ("v1", "Namespace"),
        Watched::OwnPods | Watched::AllPods | Watched::PodsOf(_) => ("v1", "Pod"),
    };
    let mut value = match serde_json::to_value(object) {
        Ok(value) => value,
        Err(error) => {
            tracing::warn!(kind, %error, "an object of the API is passed over");
            return None;
        }
    };
    // Items of a list carry neither.
    value["apiVersion"] = Value::from(version);
    value["kind"] = Value::from(kind);
    match Object::read(value).pop()? {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::warn!(%error, "an object of the API is passed over");
            None
        }
    }
}
