//! The steps of ADD and DEL, and how each is undone: names, journal, kernel, and the
//! address back to the pool.
//!
//! It serialises nothing: the caller holds the attachment's turn.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::time::Instant;
use veni_api::failure::CniFailure;
use veni_dataplane::{DataPlane, EndpointLinks, KernelError};

use super::egress::EgressAddresses;
use super::failures::{journal_failure, kernel_failure};
use super::host_names::HostNames;
use super::host_ports::HostPorts;
use super::metrics::{EndpointMetrics, Phase};
use super::order::{AddOrder, Leased, intent, micros};
use super::reaper::ReaperQueue;
use super::records::Records;
use super::settings::{EndpointSettings, Tools};
use crate::clock::boot_millis;
use crate::crash;
use crate::journal::endpoint::{Record, RecordState};
use crate::pool::{Pool, Wear};

/// Makes endpoints and takes them away.
pub(super) struct Maker {
    settings: EndpointSettings,
    kernel: Arc<dyn DataPlane>,
    pool: Pool,
    metrics: EndpointMetrics,
    records: Arc<Records>,
    names: Arc<HostNames>,
    egress: Arc<EgressAddresses>,
    host_ports: HostPorts,
    dying: ReaperQueue,
}

impl Maker {
    /// One that keeps its records here and leaves dying links to the reaper.
    pub(super) fn new(
        settings: EndpointSettings,
        tools: &Tools,
        records: Arc<Records>,
        (names, egress): (Arc<HostNames>, Arc<EgressAddresses>),
        dying: ReaperQueue,
    ) -> Self {
        Self {
            settings,
            kernel: Arc::clone(&tools.kernel),
            pool: tools.pool.clone(),
            metrics: tools.metrics.clone(),
            records,
            names,
            egress,
            host_ports: HostPorts::default(),
            dying,
        }
    }

    /// Takes in an endpoint that recovery has found: a living one, or a dying one whose
    /// link or cooldown is not over.
    pub(super) fn restore(&self, record: Record) {
        if record.state != RecordState::Dying || record.links.is_some() {
            self.names.keep(&record.plan.host_link);
        }
        self.egress.restore(&record);
        match record.state {
            RecordState::Dying => self.dying.hand_over(record),
            RecordState::Adding | RecordState::Ready => {
                self.host_ports.restore(&record);
                self.records.put(record);
            }
        }
    }

    /// Looks for another attachment that has one of the ports that are asked for.
    ///
    /// # Errors
    /// There is one.
    pub(super) fn find_free_ports(&self, order: &AddOrder, pod: &str) -> Result<(), CniFailure> {
        let asker = (&order.key, pod);
        self.host_ports.find_free(asker, &order.port_mappings)
    }

    /// Makes an endpoint.
    ///
    /// # Errors
    /// There is no node-local address for it, a port of the node leads to another pod, the
    /// kernel refused, the journal cannot be written. Nothing of it is left then, and its
    /// addresses are the pool's again.
    pub(super) async fn make(&self, leased: Leased) -> Result<Record, CniFailure> {
        let order = &leased.order;
        let host_link = self.names.take(&order.key, &order.pod);
        let mut record = intent(&leased, host_link, &self.settings);
        if let Err(failure) = self.take_of_the_nodes(&mut record) {
            self.names.free(&record.plan.host_link);
            let addresses = leased.lease.addresses;
            self.pool
                .return_addresses(&order.key, addresses, Wear::Unused);
            return Err(failure);
        }
        let begun = leased.begun;
        if let Err(failure) = self.build(&mut record, leased.order.namespace).await {
            self.undo(&record).await;
            self.metrics.add_undone();
            return Err(failure);
        }
        // In memory alone: a restart does not need it, and the pod would wait for one more
        // file.
        record.add_micros = micros(begun.elapsed());
        self.metrics.add_took(Phase::Total, begun.elapsed());
        self.records.put(record.clone());
        Ok(record)
    }

    /// What it needs of the node's own: ports, and a node-local address.
    fn take_of_the_nodes(&self, record: &mut Record) -> Result<(), CniFailure> {
        self.host_ports.take(record)?;
        record.plan.egress = self
            .egress
            .take(record)
            .inspect_err(|_| self.host_ports.free(record))?;
        Ok(())
    }

    async fn build(&self, record: &mut Record, namespace: OwnedFd) -> Result<(), CniFailure> {
        let started = Instant::now();
        self.write(record)?;
        crash::point("add.journalled").await;
        let journalled = started.elapsed();
        let started = Instant::now();
        let links = self.make_network(record, namespace).await?;
        crash::point("add.networked").await;
        self.metrics.add_took(Phase::Kernel, started.elapsed());
        let started = Instant::now();
        record.links = Some(links);
        record.state = RecordState::Ready;
        self.write(record)?;
        crash::point("add.committed").await;
        let journalled = journalled + started.elapsed();
        self.metrics.add_took(Phase::Journal, journalled);
        Ok(())
    }

    fn write(&self, record: &Record) -> Result<(), CniFailure> {
        let written = self.records.write(record);
        written.map_err(|error| journal_failure(&record.key, &error))
    }

    /// The kernel's part. Where a link that is not ours has the name that
    /// operators know, the attachment's own name is taken.
    async fn make_network(
        &self,
        record: &mut Record,
        namespace: OwnedFd,
    ) -> Result<EndpointLinks, CniFailure> {
        let key = record.key.clone();
        let refused = |error: &KernelError| kernel_failure("set up the network of", &key, error);
        let again = namespace.try_clone();
        let kernel = &self.kernel;
        let error = match kernel.add_endpoint(&record.plan, Some(namespace)).await {
            Ok(links) => return Ok(links),
            Err(error) => error,
        };
        // Any other link that is in the way is the pod's own, and there is no other name.
        let host_link = record.plan.host_link.clone();
        let taken = matches!(&error, KernelError::LinkTaken(name) if *name == host_link);
        let other = taken.then(|| self.names.exchange(&host_link, &key, &record.pod));
        let (Some(other), Ok(namespace)) = (other.flatten(), again) else {
            return Err(refused(&error));
        };
        record.plan.host_link = other;
        self.write(record)?;
        let added = kernel.add_endpoint(&record.plan, Some(namespace)).await;
        added.map_err(|error| refused(&error))
    }

    /// Undoes a failed ADD; its address has not been used by anybody.
    async fn undo(&self, record: &Record) {
        let index = record.links.map(|links| links.host_index);
        let (routed, ports) = (record.plan.routed(), record.plan.host_ports());
        let kernel = &self.kernel;
        if let Err(error) = kernel.remove_endpoint(&routed, &ports, index).await {
            tracing::warn!(attachment = %record.key, %error, "failed to undo an add; the audit will");
            // Known even where the journal could not be written: nobody else would free its
            // addresses, its name and its ports.
            self.records.put(Record {
                state: RecordState::Adding,
                ..record.clone()
            });
            return;
        }
        if let Err(error) = self.remove_limits(record).await {
            tracing::warn!(attachment = %record.key, %error, "failed to undo an add's limits; the audit will");
        }
        self.host_ports.free(record);
        if record.links.is_some() {
            self.leave_to_reaper(record);
            return;
        }
        self.records.remove(&record.key);
        self.names.free(&record.plan.host_link);
        self.records.forget(&record.id);
        self.pool
            .return_addresses(&record.key, record.addresses(), Wear::Unused);
        self.egress.free(record);
    }

    /// What could not be committed had come up for a moment: its link is deleted
    /// and its address cools like any other's.
    fn leave_to_reaper(&self, record: &Record) {
        let dying = Record {
            state: RecordState::Dying,
            released_boot_ms: Some(boot_millis()),
            ..record.clone()
        };
        if let Err(error) = self.records.write(&dying) {
            tracing::warn!(attachment = %record.key, %error, "an add that was undone stays in the journal");
        }
        self.records.remove(&record.key);
        self.pool
            .return_addresses(&record.key, record.addresses(), Wear::Used);
        self.dying.hand_over(dying);
    }

    /// Takes an endpoint away. In the pod's namespace, where there still is one, nothing
    /// of it is left either.
    ///
    /// # Errors
    /// The kernel refused; repeating it goes on where it stopped.
    pub(super) async fn remove(
        &self,
        mut record: Record,
        namespace: Option<OwnedFd>,
    ) -> Result<Record, CniFailure> {
        let key = record.key.clone();
        record.state = RecordState::Dying;
        record.released_boot_ms = Some(boot_millis());
        let started = Instant::now();
        // Should the kernel refuse below, memory and journal say the same.
        if let Err(error) = self.records.write(&record) {
            // The pod ends all the same. A daemon that starts before there is room
            // again finds an entry whose link is gone, and finishes it.
            tracing::warn!(attachment = %key, %error, "a del goes on without its record");
            self.records.put(record.clone());
        }
        self.metrics.del_took(Phase::Journal, started.elapsed());
        crash::point("del.journalled").await;
        let started = Instant::now();
        let index = record.links.map(|links| links.host_index);
        let (routed, ports) = (record.plan.routed(), record.plan.host_ports());
        self.kernel
            .remove_endpoint(&routed, &ports, index)
            .await
            .map_err(|error| kernel_failure("remove the network of", &key, &error))?;
        let limits = self.remove_limits(&record).await;
        limits.map_err(|error| kernel_failure("remove the limits of", &key, &error))?;
        self.host_ports.free(&record);
        self.clear_namespace(&record, namespace).await;
        self.metrics.del_took(Phase::Kernel, started.elapsed());
        crash::point("del.unwired").await;
        self.records.remove(&key);
        if record.links.is_none() {
            // There is no link whose end would free the name.
            self.names.free(&record.plan.host_link);
        }
        self.pool
            .return_addresses(&key, record.addresses(), Wear::Used);
        crash::point("del.released").await;
        self.dying.hand_over(record.clone());
        Ok(record)
    }

    /// Takes away what the link does not take along of its limits, where it has some.
    async fn remove_limits(&self, record: &Record) -> Result<(), KernelError> {
        match (record.links, record.plan.bandwidth.from_pod) {
            (Some(links), Some(_)) => self.kernel.remove_limits(links.host_index).await,
            _ => Ok(()),
        }
    }

    /// Takes the attachment's rules out of a pod that lives on. Should the kernel refuse,
    /// or the namespace not be at hand, they stay and lead into an empty table.
    async fn clear_namespace(&self, record: &Record, namespace: Option<OwnedFd>) {
        let (Some(links), Some(namespace)) = (record.links, namespace) else {
            return;
        };
        if record.plan.own_table(links.pod_index).is_none() {
            return;
        }
        let cleared = self
            .kernel
            .clear_namespace(&record.plan, &links, namespace)
            .await;
        if let Err(error) = cleared {
            tracing::warn!(attachment = %record.key, %error, "rules of a deleted interface stay in its pod");
        }
    }
}

#[cfg(test)]
mod tests;
