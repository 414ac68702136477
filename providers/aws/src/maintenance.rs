//! What is done beside the calls: clearing up after calls that did not come to
//! their end, setting right what works and is not as it should be, and once an
//! hour deleting what dead nodes left behind.

use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ec2::types::NetworkInterface;
use rand::Rng;
use tokio::time::{Instant, sleep};
use veni_provider::{InterfaceId, ProviderError};

use crate::actions::{Action, Undeleted};
use crate::failure::{Meaning, Refusal};
use crate::interfaces::id_of;
use crate::memory::Repair;
use crate::provider::Core;
use crate::requests::filter;
use crate::tags;

/// As long as nothing can be done about what there is to do.
const TIDY_AT_LEAST: Duration = Duration::from_secs(600);
/// Younger ones may be on their way to an instance.
const LEAKED: Duration = Duration::from_secs(300);

/// Runs until the provider is gone.
pub(crate) async fn run(core: Weak<Core>, tidy_every: Duration, leaks_every: Duration) {
    // Nodes that were started together do not look together.
    let mut leaks = Instant::now() + (leaks_every / 12).mul_f64(rand::rng().random());
    let mut pause = tidy_every;
    loop {
        let jittered = pause.mul_f64(rand::rng().random_range(0.75..1.25));
        sleep(jittered).await;
        let Some(core) = core.upgrade() else { return };
        // All of it leads to changes.
        if !core.settings.changes() {
            return;
        }
        let tidy = core.clear_debris().await & core.repair().await;
        pause = match tidy {
            true => tidy_every,
            false => (2 * pause).min(TIDY_AT_LEAST),
        };
        if Instant::now() >= leaks {
            leaks = Instant::now() + leaks_every;
            if core.settings.leak_cleanup
                && let Err(error) = core.clean_leaks().await
            {
                tracing::warn!(%error, "failed to look for leaked interfaces");
            }
        }
    }
}

/// What to do with an interface that is attached to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leak {
    /// Not ours, to be left alone, or too young.
    Keep,
    /// Nobody noted when it was made: from now on somebody has.
    Note,
    Delete,
}

impl Core {
    /// Sets right what the last inventory found wrong, and a look now finds so
    /// too: meanwhile somebody may have tagged an interface to be left alone. Tells
    /// whether nothing is left to do.
    pub(crate) async fn repair(&self) -> bool {
        if self.memory.repairs().is_empty() {
            return true;
        }
        if let Err(refusal) = self.look_around().await {
            tracing::warn!(error = %refusal.reason, "failed to look at interfaces before their repair");
            return false;
        }
        let mut done = true;
        for (id, wanted) in self.memory.repairs() {
            let Some(known) = self.memory.known(&id) else {
                self.memory.needs(&id, Repair::default());
                continue;
            };
            // What fails is noted again.
            self.memory.needs(&id, Repair::default());
            if wanted.outlives {
                done &= self.end_with_instance(&id, known.attachment).await;
            }
            if wanted.groups {
                done &= self.follow_groups(&id).await;
            }
        }
        done
    }

    async fn follow_groups(&self, id: &InterfaceId) -> bool {
        let call = self
            .ec2
            .client
            .modify_network_interface_attribute()
            .network_interface_id(id.as_str())
            .set_groups(Some(self.memory.groups()))
            .send();
        let action = Action::ModifyNetworkInterfaceAttribute;
        match self.ec2.call(action, call).await {
            Ok(_) => {
                tracing::info!(interface = %id, "security groups of the primary interface set");
                true
            }
            Err(refusal) => {
                refusal.tell(id, "failed to set security groups");
                // The look notes anew who lacks which.
                let renewed = match refusal.meaning {
                    Meaning::GroupNotFound => self.look_around().await.is_ok(),
                    _ => false,
                };
                if !renewed {
                    self.memory.needs_groups(id);
                }
                false
            }
        }
    }

    /// Deletes interfaces of this VPC and cluster that were made for some node
    /// and are attached to none.
    pub(crate) async fn clean_leaks(&self) -> Result<(), ProviderError> {
        let mut filters = vec![
            filter("tag-key", tags::INSTANCE),
            filter("status", "available"),
            filter("vpc-id", &self.instance.vpc),
        ];
        if let Some(cluster) = &self.settings.cluster_name {
            filters.push(filter(&format!("tag:{}", tags::CLUSTER), cluster));
        }
        let found = self.describe_interfaces(filters).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        for one in found.map_err(Refusal::error)? {
            let Some(id) = id_of(&one) else { continue };
            match judge(&one, now) {
                Leak::Keep => {}
                Leak::Note => self.note_created(&id).await,
                Leak::Delete => self.delete_leak(&id).await,
            }
        }
        Ok(())
    }

    async fn note_created(&self, id: &InterfaceId) {
        let call = self
            .ec2
            .client
            .create_tags()
            .resources(id.as_str())
            .tags(tags::tag(tags::CREATED, &crate::attach::now()))
            .send();
        if let Err(refusal) = self.ec2.call(Action::CreateTags, call).await {
            refusal.tell(id, "failed to note the age of an interface");
        }
    }

    async fn delete_leak(&self, id: &InterfaceId) {
        let call = self
            .ec2
            .client
            .delete_network_interface()
            .network_interface_id(id.as_str())
            .send();
        match self.ec2.call(Action::DeleteNetworkInterface, call).await {
            Ok(_) => tracing::info!(interface = %id, "leaked interface deleted"),
            // Another node was faster, or it is in use again.
            Err(refusal) if matches!(refusal.meaning, Meaning::NotFound | Meaning::InUse) => {}
            Err(refusal) => {
                refusal.tell(id, "failed to delete a leaked interface");
                self.ec2.not_deleted(Undeleted::LeftBehind, &refusal);
            }
        }
    }
}

/// Judges by description, tags and age; `now` is the time since 1970.
fn judge(interface: &NetworkInterface, now: Duration) -> Leak {
    let ours = interface
        .description()
        .is_some_and(|text| text.starts_with(tags::DESCRIPTION));
    if !ours || tags::hands_off(interface.tag_set()) {
        return Leak::Keep;
    }
    let Some(created) = tags::value(interface.tag_set(), tags::CREATED) else {
        return Leak::Note;
    };
    let Ok(created) = DateTime::from_str(created, DateTimeFormat::DateTimeWithOffset) else {
        return Leak::Note;
    };
    let created = Duration::from_secs(u64::try_from(created.secs()).unwrap_or(0));
    if now >= created + LEAKED {
        Leak::Delete
    } else {
        Leak::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(description: &str, created: Option<&str>) -> NetworkInterface {
        let tag = created.map(|created| vec![tags::tag(tags::CREATED, created)]);
        NetworkInterface::builder()
            .description(description)
            .set_tag_set(tag)
            .build()
    }

    /// 2026-01-02T03:04:05Z.
    const CREATED: u64 = 1_767_323_045;

    #[test]
    fn an_interface_is_leaked_five_minutes_after_it_was_made() {
        for text in ["2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00"] {
            let one = interface("aws-K8S-i-1", Some(text));
            let at = |seconds| judge(&one, Duration::from_secs(CREATED + seconds));
            assert_eq!(at(299), Leak::Keep, "{text}");
            assert_eq!(at(300), Leak::Delete, "{text}");
        }
    }

    #[test]
    fn an_interface_of_unknown_age_is_noted_first() {
        let now = Duration::from_secs(CREATED);
        assert_eq!(judge(&interface("aws-K8S-i-1", None), now), Leak::Note);
        let damaged = interface("aws-K8S-i-1", Some("yesterday"));
        assert_eq!(judge(&damaged, now), Leak::Note);
    }

    #[test]
    fn what_others_made_is_kept() {
        let old = Some("2020-01-02T03:04:05Z");
        let now = Duration::from_secs(CREATED);
        assert_eq!(judge(&interface("a database", old), now), Leak::Keep);
    }
}
