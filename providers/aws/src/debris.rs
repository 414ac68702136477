//! Interfaces that were begun or ended and not brought to their end: because a
//! step failed, because the caller went away, or because the process before this
//! one was killed. They are remembered, or looked for once after a start, and
//! deleted when EC2 shows them as `available`.
//!
//! Whoever makes interfaces for a node is alone in it: a daemon holds the lock of
//! its run folder. So what is this node's, hangs on nothing and is not being made
//! here was left behind, however young it is.

use std::time::Duration;

use aws_sdk_ec2::types::{NetworkInterface, NetworkInterfaceStatus};
use tokio::time::Instant;
use veni_provider::{InterfaceId, InterfaceState};

use crate::actions::{Action, Undeleted};
use crate::failure::Meaning;
use crate::interfaces::{id_of, place_of};
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

    /// This time nothing was done: it is what it was before.
    pub(crate) fn not_begun(mut self) {
        self.id = None;
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
            // The one being made may be this one: its token found it again.
            if self.memory.is_making() {
                return done;
            }
            match self.look(&id).await {
                Ok(None) if now >= since + FORGET => self.memory.cleared(&id),
                Ok(None) => done = false,
                Ok(Some(shown)) if tags::hands_off(shown.tag_set()) => self.memory.cleared(&id),
                Ok(Some(shown)) => match shown.status() {
                    Some(NetworkInterfaceStatus::Available) => {
                        done &= self.delete_debris(&id).await;
                    }
                    // EC2 says so of one that is still being detached, too.
                    Some(NetworkInterfaceStatus::InUse) if is_going(&shown) => done = false,
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
    /// creation whose answer never came and after a start.
    async fn search_debris(&self) -> bool {
        let filters = vec![
            filter(&format!("tag:{}", tags::INSTANCE), &self.instance.id),
            filter("status", "available"),
            filter("vpc-id", &self.instance.vpc),
        ];
        match self.describe_interfaces(filters).await {
            Ok(found) => {
                let ours = found.iter().filter(|one| made_for(&self.instance.id, one));
                let ids = ours.filter_map(id_of);
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
                self.ec2.not_deleted(Undeleted::LeftBehind, &refusal);
                false
            }
        }
    }
}

/// Whether an interface with an instance's tag was made by a plugin on it, and is
/// not somebody's who copied the tag or wants it left alone.
fn made_for(instance: &str, interface: &NetworkInterface) -> bool {
    let tags = interface.tag_set();
    interface.description() == Some(&tags::description(instance)) && !tags::hands_off(tags)
}

fn is_going(interface: &NetworkInterface) -> bool {
    place_of(interface).is_some_and(|place| place.state == InterfaceState::Detaching)
}
