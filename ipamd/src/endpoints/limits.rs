//! Limits of pods' bandwidth that others took away: made again. Endpoints without limits
//! cost nothing here.

use super::Endpoints;
use crate::journal::endpoint::{Record, RecordState};

impl Endpoints {
    /// Makes limits again that somebody took away, and says whether there were any.
    pub(crate) async fn repair_limits(&self) -> bool {
        let mut repaired = false;
        for record in self.list() {
            repaired |= self.repair_limits_of(&record).await;
        }
        repaired
    }

    /// Whether something of an endpoint's limits was missing, and is there again.
    pub(super) async fn repair_limits_of(&self, record: &Record) -> bool {
        if record.plan.bandwidth.is_unlimited() || record.state != RecordState::Ready {
            return false;
        }
        match self.attachments.ensure_limits(record).await {
            Ok(repairs) => {
                let repaired = !repairs.is_empty();
                for repair in repairs {
                    self.repaired(format!("{}: {}", record.label(), repair.before()));
                }
                repaired
            }
            Err(error) => {
                tracing::warn!(attachment = %record.key, %error, "failed to limit a pod's bandwidth again");
                false
            }
        }
    }

    /// Deletes ifb devices whose endpoint went without them: with a namespace that ended
    /// before its ADD was written down, or under a name that others gave.
    pub(super) async fn remove_stray_ifbs(&self, indexes: &[u32]) {
        for index in indexes.iter().copied() {
            match self.tools.kernel.remove_stray_ifb(index).await {
                Ok(true) => self.repaired(format!("deleted ifb device {index}, whose pod is gone")),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(index, %error, "failed to delete an ifb device of no endpoint");
                }
            }
        }
    }
}
