//! A daemon as tests use it: a plugin's requests, and the answers to operators.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipamd::app::App;
use ipamd::attachment::{AttachmentKey, PodName};
use ipamd::endpoints::AddOrder;
use ipamd::journal::endpoint::Record;
use ipamd::serve::operator::{Beside, plan_response, pool_response};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use veni_api::failure::CniFailure;
use veni_api::v1;
use veni_dataplane::Bandwidth;

use crate::world::{LONG, World};

/// A daemon that runs.
pub(crate) struct Daemon {
    pub(crate) app: App,
    pub(crate) world: Arc<World>,
    _wires: AbortOnDropHandle<()>,
}

/// An attachment of a container; `web` is its `eth0`, `web:eth1` another.
pub(crate) fn key(container: &str) -> AttachmentKey {
    let (container_id, interface_name) = container.split_once(':').unwrap_or((container, "eth0"));
    AttachmentKey {
        network: "veni".to_owned(),
        container_id: container_id.to_owned(),
        interface_name: interface_name.to_owned(),
    }
}

fn address_of(record: &Record) -> IpAddr {
    record.addresses()[0]
}

impl Daemon {
    pub(crate) fn new(app: App, world: Arc<World>, wires: AbortOnDropHandle<()>) -> Self {
        Self {
            app,
            world,
            _wires: wires,
        }
    }

    /// The request that a plugin would send.
    pub(crate) fn order(&self, container: &str) -> AddOrder {
        let key = key(container);
        AddOrder {
            namespace: self.world.namespace(&key.container_id),
            pod: PodName {
                namespace: "default".to_owned(),
                name: container.replace(':', "-"),
                uid: String::new(),
            },
            key,
            mtu: 0,
            is_default_gateway: None,
            bandwidth: Bandwidth::default(),
            port_mappings: Vec::new(),
        }
    }

    /// ADD.
    pub(crate) async fn add(&self, container: &str) -> Result<IpAddr, CniFailure> {
        let added = self.app.endpoints.add(self.order(container)).await;
        added.map(|record| address_of(&record))
    }

    /// ADDs that must succeed, all at once.
    pub(crate) async fn add_all(
        &self,
        containers: impl IntoIterator<Item = String>,
    ) -> Vec<IpAddr> {
        let adds: Vec<_> = containers
            .into_iter()
            .map(|name| self.begin_add(&name))
            .collect();
        let mut addresses = Vec::new();
        for add in adds {
            addresses.push(add.await.expect("no panic").expect("is served"));
        }
        addresses
    }

    /// ADD in a task of its own. Aborting the task is a caller that goes away.
    pub(crate) fn begin_add(&self, container: &str) -> JoinHandle<Result<IpAddr, CniFailure>> {
        let (endpoints, order) = (Arc::clone(&self.app.endpoints), self.order(container));
        tokio::spawn(async move {
            let added = endpoints.add(order).await;
            added.map(|record| address_of(&record))
        })
    }

    /// DEL. Returns whether there was something to delete.
    pub(crate) async fn del(&self, container: &str) -> bool {
        let deleted = self.app.endpoints.delete(&key(container)).await;
        deleted.expect("del never fails by itself")
    }

    /// The pool as operators see it.
    pub(crate) async fn report(&self) -> v1::PoolResponse {
        let report = self.app.pool.report().await.expect("the pool runs");
        pool_response(report, Beside::default())
    }

    /// The plan as operators see it.
    pub(crate) async fn plan(&self) -> v1::PlanResponse {
        plan_response(self.app.pool.plan().await.expect("the pool runs"))
    }

    /// Everything that the daemon tells operators about its plan, as one text.
    pub(crate) async fn explanation(&self) -> String {
        let plan = self.plan().await;
        let actions = plan
            .actions
            .iter()
            .map(|a| format!("{}: {}", a.action, a.reason));
        let lines: Vec<String> = plan
            .held_back
            .iter()
            .cloned()
            .chain(actions)
            .chain(plan.notes.iter().cloned())
            .collect();
        lines.join("\n")
    }

    /// Waits until nothing has happened between cloud and daemon for five seconds.
    pub(crate) async fn settle(&self) {
        self.settle_for(Duration::from_secs(5)).await;
    }

    /// Waits until nothing has happened between cloud and daemon for this time, and no ADD
    /// waits for an address.
    pub(crate) async fn settle_for(&self, span: Duration) {
        let began = Instant::now();
        let (mut before, mut since) = (usize::MAX, Instant::now());
        let step = Duration::from_secs(1).max(span / 20);
        while since.elapsed() < span {
            sleep(step).await;
            let (plan, report) = (self.plan().await, self.report().await);
            let calls = self.world.calls.changes();
            let pending = ["attaching", "missing"];
            let mut states = report.interfaces.iter().flat_map(|one| {
                let addresses = one.addresses.iter().map(|address| &address.state);
                addresses.chain([&one.state])
            });
            let certain = !states.any(|state| pending.contains(&state.as_str()));
            let idle = plan.actions.is_empty() && report.waiting == 0 && certain;
            if !idle || calls != before {
                (before, since) = (calls, Instant::now());
            }
            if began.elapsed() > LONG {
                panic!("it never settles:\n{}", self.explanation().await);
            }
        }
    }

    /// Ends the daemon in order.
    pub(crate) async fn stop(self) {
        self.app.stop().await;
    }
}
