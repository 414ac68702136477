//! Asks journal, kernel, pool and cloud for what a comparison is made of.

use std::sync::Arc;
use std::time::{Duration, Instant as RealInstant};

use tokio::time::{Instant, timeout};
use veni_dataplane::{DataPlane, EndpointLinks, EndpointPlan, KernelError};
use veni_provider::{Inventory, Provider};

use super::compare::findings;
use super::facts::{Endpoints as EndpointFacts, Facts, Found, InterfaceFacts};
use super::finding::Finding;
use crate::endpoints::Endpoints;
use crate::host::HostWatch;
use crate::journal::endpoint::{Record, RecordState};
use crate::journal::{Folder, Journal};
use crate::pool::{Beliefs, Pool};
use crate::reconcile::ReconcilerHandle;
use crate::repairs::Repairs;

/// The cloud is not waited for any longer: all else is told then.
const LONGEST_INVENTORY: Duration = Duration::from_secs(10);

/// How a check is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// What the daemon can mend is mended first.
    pub(crate) repair: bool,
    /// The cloud is not asked.
    pub(crate) without_cloud: bool,
}

/// What a check has found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// What was found before it was mended, and is not any more.
    pub(crate) mended: Vec<Finding>,
    /// What could not be asked, and why.
    pub(crate) unchecked: Vec<String>,
    pub(crate) endpoints: usize,
    pub(crate) interfaces: usize,
    /// Whether the cloud's inventory was compared.
    pub(crate) cloud: bool,
    pub(crate) took: Duration,
}

/// Who is asked. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Checker {
    pub(crate) kernel: Arc<dyn DataPlane>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) pool: Pool,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) journal: Journal,
    pub(crate) repairs: Repairs,
    pub(crate) reconciler: ReconcilerHandle,
}

impl Checker {
    /// Compares everything, and tells what the host's files say as well.
    pub(crate) async fn check(&self, asked: Asked, host: &HostWatch) -> Report {
        let began = RealInstant::now();
        let mut cloud = match asked.without_cloud {
            true => Cloud::LeftOut,
            false => Cloud::Unasked,
        };
        let mut report = self.compare(&mut cloud, host).await;
        if asked.repair && !report.findings.is_empty() {
            let before = std::mem::take(&mut report.findings);
            self.mend(!asked.without_cloud).await;
            report = self.compare(&mut cloud, host).await;
            let gone = |one: &Finding| !report.findings.iter().any(|left| left.is_same(one));
            report.mended = before.into_iter().filter(gone).collect();
        }
        report.took = began.elapsed();
        report
    }

    /// What the daemon does by itself, now.
    async fn mend(&self, with_cloud: bool) {
        let endpoints = Arc::clone(&self.endpoints);
        let written = tokio::task::spawn_blocking(move || endpoints.write_lacking_entries());
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "failed to write journal entries again");
        }
        // The daemon ends where nobody answers.
        let _ = self.reconciler.mend_everything().await;
        if with_cloud {
            // It fails or is late where the cloud does not answer, which was told already.
            let _ = timeout(LONGEST_INVENTORY, self.pool.refresh()).await;
        }
    }

    async fn compare(&self, cloud: &mut Cloud, host: &HostWatch) -> Report {
        let facts = self.gather(cloud, host).await;
        Report {
            findings: findings(&facts),
            mended: Vec::new(),
            endpoints: facts.endpoints.after.len(),
            interfaces: facts.beliefs[1].interfaces.len(),
            cloud: matches!(cloud, Cloud::Told(Ok(_))),
            took: Duration::ZERO,
            unchecked: facts.unchecked,
        }
    }

    async fn gather(&self, cloud: &mut Cloud, host: &HostWatch) -> Facts {
        let mut facts = Facts {
            contested: self.repairs.contested(),
            ..Facts::default()
        };
        facts.endpoints.before = self.endpoints.list();
        facts.beliefs[0] = self.beliefs(None, &mut facts.unchecked).await;
        let (journal, watch) = (self.journal.clone(), host.clone());
        let files = tokio::task::spawn_blocking(move || {
            let names = journal.names::<Record>(Folder::Endpoints);
            (names, watch.of_own_parts(), watch.interferers())
        });
        // The cloud takes its time, and the kernel meanwhile.
        tokio::join!(self.ask_kernel(&mut facts), self.ask_cloud(cloud));
        match files.await {
            Ok((journal, own_parts, interferers)) => {
                facts.host = own_parts;
                facts.interferers = interferers;
                facts.journal = kept(journal, "the journal", &mut facts.unchecked);
            }
            Err(error) => facts.unchecked.push(format!("the host's files: {error}")),
        }
        let known = match cloud {
            Cloud::Told(told) => kept(told.clone(), "the cloud's inventory", &mut facts.unchecked),
            Cloud::LeftOut | Cloud::Unasked => None,
        };
        facts.beliefs[1] = self.beliefs(known, &mut facts.unchecked).await;
        facts.endpoints.after = self.endpoints.list();
        facts
    }

    async fn beliefs(
        &self,
        inventory: Option<(Instant, Inventory)>,
        unchecked: &mut Vec<String>,
    ) -> Beliefs {
        let beliefs = self.pool.beliefs(inventory).await;
        beliefs.unwrap_or_else(|| {
            unchecked.push("the pool: the daemon is shutting down".to_owned());
            Beliefs::default()
        })
    }

    /// Asks the cloud once.
    async fn ask_cloud(&self, cloud: &mut Cloud) {
        if !matches!(cloud, Cloud::Unasked) {
            return;
        }
        let began = Instant::now();
        *cloud = Cloud::Told(
            match timeout(LONGEST_INVENTORY, self.provider.inventory()).await {
                Ok(Ok(inventory)) => Ok((began, inventory)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!(
                    "no answer within {} s",
                    LONGEST_INVENTORY.as_secs()
                )),
            },
        );
    }

    async fn ask_kernel(&self, facts: &mut Facts) {
        let unchecked = &mut facts.unchecked;
        if let Some(plan) = self.reconciler.plan().await {
            let node = self.kernel.compare_node(&plan).await;
            facts.node = kept(node, "the node's rules and settings", unchecked);
        }
        for believed in &facts.beliefs[0].interfaces {
            let compared = self.kernel.compare_interface(&believed.plan).await;
            let found = match compared {
                Err(KernelError::NoSuchLink(_)) => Some(Found::NoLink),
                other => {
                    let what = format!("interface {}", believed.id);
                    kept(other, &what, unchecked).map(Found::Link)
                }
            };
            facts.interfaces.extend(found.map(|found| InterfaceFacts {
                believed: believed.clone(),
                found,
            }));
        }
        let (ids, plans) = linked(&facts.endpoints);
        let compared = self.kernel.compare_endpoints(&plans).await;
        let compared = kept(compared, "the pods' links and routes", unchecked);
        let differences = ids.into_iter().zip(compared.unwrap_or_default());
        facts.endpoints.differences = differences.collect();
        let observed = self.kernel.observe(&[]).await;
        facts.observed = kept(observed, "what else is Veni's in the kernel", unchecked);
    }
}

/// What the cloud says.
enum Cloud {
    /// It shall not be asked.
    LeftOut,
    Unasked,
    /// Its inventory, with the time at which it was asked for; or why there is none.
    Told(Result<(Instant, Inventory), String>),
}

/// The endpoints that have a link, each with its name in the journal. How an adopted one
/// was planned is not known, and so not what differs.
fn linked(endpoints: &EndpointFacts) -> (Vec<String>, Vec<(EndpointPlan, EndpointLinks)>) {
    let ready = endpoints.before.iter();
    let ready = ready.filter(|record| record.state == RecordState::Ready && record.plan.mtu != 0);
    ready
        .filter_map(|record| Some((record.id.clone(), (record.plan.clone(), record.links?))))
        .unzip()
}

/// What was answered; a refusal is noted.
fn kept<T>(
    answer: Result<T, impl std::fmt::Display>,
    what: &str,
    unchecked: &mut Vec<String>,
) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            unchecked.push(format!("{what}: {error}"));
            None
        }
    }
}
