//! Interfaces that were begun or ended and not brought to their end: because a
//! step failed, or because the caller went away. They are remembered, and
//! deleted when EC2 shows them as `available`.

use std::time::Duration;

use aws_sdk_ec2::types::NetworkInterfaceStatus;
use tokio::time::Instant;
use veni_provider::InterfaceId;

use crate::actions::Action;
use crate::failure::Meaning;
use crate::interfaces::id_of;
use crate::memory::Memory;
use crate::provider::Core;
use crate::requests::filter;
use crate::tags;

/// After this time an interface that no Describe shows does not exist.
const FORGET: Duration = Duration::from_secs(600);

/// Remembers an interface as left behind unless it is said to be finished.
#[derive(Debug)]
pub(crate) struct Unfinished<'a> {
    memory: &'a Memory,
    id: Option<InterfaceId>,
    unnamed: InterfaceId,
}

impl<'a> Unfinished<'a> {
    pub(crate) fn new(memory: &'a Memory, id: &InterfaceId) -> Self {
        Self {
            memory,
            id: Some(id.clone()),
            unnamed: id.clone(),
        }
    }

    pub(crate) fn id(&self) -> &InterfaceId {
        &self.unnamed
    }

    /// Nothing is left to do.
    pub(crate) fn finished(mut self) {
        self.id = None;
        self.memory.cleared(&self.unnamed);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.memory.left_behind(&id);
        }
    }
}

impl Core {
    /// Deletes what was left behind long enough ago that nobody is at work on
    /// it any more and a Describe tells the truth of it. Tells whether nothing
    /// is left to do.
    pub(crate) async fn clear_debris(&self) -> bool {
        if self.memory.is_making() {
            return true;
        }
        let mut done = true;
        if self.memory.take_doubt(self.settings.settle_time) {
            done &= self.search_debris().await;
        }
        let now = Instant::now();
        for (id, since) in self.memory.debris(self.settings.settle_time) {
            match self.look(&id).await {
                Ok(None) if now >= since + FORGET => self.memory.cleared(&id),
                Ok(None) => done = false,
                Ok(Some(shown)) => match shown.status() {
                    Some(NetworkInterfaceStatus::Available) => {
                        done &= self.delete_debris(&id).await;
                    }
                    Some(NetworkInterfaceStatus::InUse) => self.memory.cleared(&id),
                    _ => done = false,
                },
                Err(refusal) => {
                    refusal.tell(&id, "failed to look after a leftover");
                    return false;
                }
            }
        }
        done
    }

    /// Looks for interfaces of ours that are attached to nothing, after a
    /// creation whose answer never came.
    async fn search_debris(&self) -> bool {
        let filters = vec![
            filter(&format!("tag:{}", tags::INSTANCE), &self.instance.id),
            filter("status", "available"),
        ];
        match self.describe_interfaces(filters, None).await {
            Ok(found) => {
                let ids = found.iter().filter_map(id_of);
                ids.for_each(|id| self.memory.left_behind(&id));
                true
            }
            Err(refusal) => {
                tracing::warn!(error = %refusal.reason, "failed to look for leftovers");
                self.memory.doubt();
                false
            }
        }
    }

    async fn delete_debris(&self, id: &InterfaceId) -> bool {
        let call = self
            .ec2
            .client
            .delete_network_interface()
            .network_interface_id(id.as_str())
            .send();
        match self.ec2.call(Action::DeleteNetworkInterface, call).await {
            Ok(_) => {
                tracing::info!(interface = %id, "leftover interface deleted");
                self.memory.deleted(id);
                true
            }
            Err(refusal) if refusal.meaning == Meaning::NotFound => {
                self.memory.deleted(id);
                true
            }
            Err(refusal) => {
                refusal.tell(id, "failed to delete a leftover");
                false
            }
        }
    }
}
