//! What is wrong with what the sources tell, for operators who ask and in the stream of
//! events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::events::{EventKind, Events};

/// What can be wrong, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// `VENI_NODE_FILE`.
    NodeFile,
    /// `VENI_ENI_CONFIG_FILE`.
    EniConfigFile,
    /// The ENIConfig that the node should follow.
    EniConfig,
    /// What the node's object says of the pool's targets.
    NodeTargets,
    /// The policies that decide over pods' packets.
    #[cfg_attr(
        not(feature = "bpf"),
        expect(dead_code, reason = "nobody enforces them")
    )]
    Policies,
    /// The cluster's API.
    #[cfg_attr(not(feature = "kube"), expect(dead_code, reason = "nobody asks it"))]
    Kubernetes,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeFile => "the file of the node",
            Self::EniConfigFile => "the file of the ENIConfigs",
            Self::EniConfig => "the node's ENIConfig",
            Self::NodeTargets => "the node's targets",
            Self::Policies => "the network policies",
            Self::Kubernetes => "the cluster's API",
        })
    }
}

/// The warnings of now, a sentence for each subject. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ClusterWarnings {
    now: Arc<Mutex<BTreeMap<Subject, String>>>,
}

impl ClusterWarnings {
    /// Returns a sentence each.
    #[must_use]
    pub fn get(&self) -> Vec<String> {
        self.with(|now| now.values().cloned().collect())
    }

    /// Sets what is wrong with a subject; `None` when nothing is. Returns whether that is
    /// news.
    fn set(&self, subject: Subject, problem: Option<String>) -> bool {
        self.with(|now| {
            let before = match problem.clone() {
                Some(problem) => now.insert(subject, problem),
                None => now.remove(&subject),
            };
            before != problem
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut BTreeMap<Subject, String>) -> T) -> T {
        // Each sentence is whole whoever died while writing another.
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(&mut now)
    }
}

/// Tells operators what is wrong, and when it is right again, once each.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterNews {
    pub(crate) warnings: ClusterWarnings,
    pub(crate) events: Events,
}

impl ClusterNews {
    /// Takes in what is wrong with a subject now; `None` when nothing is.
    pub(crate) fn set(&self, subject: Subject, problem: Option<String>) {
        if !self.warnings.set(subject, problem.clone()) {
            return;
        }
        let message = match problem {
            Some(problem) => {
                tracing::warn!(
                    problem,
                    "what was known of the cluster before stays in force"
                );
                format!("{problem}; what was known before stays in force")
            }
            None => {
                tracing::info!(%subject, "is right again");
                format!("{subject} is right again")
            }
        };
        self.events.emit(EventKind::Pool, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_and_its_end_too() {
        let news = ClusterNews::default();
        let mut events = news.events.subscribe();
        for _ in 0..3 {
            news.set(Subject::NodeFile, Some("it is missing".to_owned()));
            news.set(Subject::EniConfig, None);
        }
        assert_eq!(news.warnings.get(), ["it is missing"]);
        for _ in 0..3 {
            news.set(Subject::NodeFile, None);
        }
        assert!(news.warnings.get().is_empty());
        let told = std::iter::from_fn(|| Some(events.try_recv().ok()?.message));
        let told: Vec<String> = told.collect();
        assert_eq!(
            told,
            [
                "it is missing; what was known before stays in force",
                "the file of the node is right again",
            ]
        );
    }
}
