//! Which watches and writes work, for `veni status` and in events.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::warnings::{ClusterNews, Subject};

/// So many failures in a row are told: the first may be a server that restarts.
const TOLD: u32 = 2;

/// What the API is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Node,
    Pods,
    EniConfigs,
    #[cfg(feature = "bpf")]
    Policies,
    Condition,
    Taints,
    Summary,
    Events,
    Annotations,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "the node's object",
            Self::Pods => "the pods bound to the node",
            Self::EniConfigs => "the ENIConfigs",
            #[cfg(feature = "bpf")]
            Self::Policies => "the network policies and what they select",
            Self::Condition => "a write of the node's condition",
            Self::Taints => "a change of the node's taints",
            Self::Summary => "a write of the node's NodeNetwork",
            Self::Events => "a write of events",
            Self::Annotations => "a write of pods' annotations",
        })
    }
}

#[derive(Debug, Default)]
struct State {
    server: String,
    /// Failures since the last answer, and why the last one.
    failing: BTreeMap<Asked, (u32, String)>,
    /// What is wrong although the API answers.
    wrong: BTreeMap<Asked, String>,
}

/// Keeps what goes wrong. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Health {
    state: Arc<Mutex<State>>,
    news: ClusterNews,
}

impl Health {
    pub(super) fn new(news: ClusterNews) -> Self {
        Self {
            state: Arc::default(),
            news,
        }
    }

    /// It is not known how to reach the API.
    pub(super) fn unusable(&self, error: &dyn Error) {
        let problem = format!("the cluster's API is not asked: {}", in_words(error));
        self.news.set(Subject::Kubernetes, Some(problem));
    }

    /// It is known.
    pub(super) fn usable(&self, server: &dyn fmt::Display) {
        self.tell(|state| state.server = server.to_string());
    }

    /// A request failed, or a watch. Tells how many have since the API
    /// answered last.
    pub(super) fn failed(&self, asked: Asked, error: &dyn Error) -> u32 {
        let reason = in_words(error);
        tracing::debug!(%asked, reason, "a request to the API failed");
        self.tell(|state| {
            let (failures, last) = state.failing.entry(asked).or_default();
            *failures = failures.saturating_add(1);
            *last = reason;
            *failures
        })
    }

    /// The API answered a request.
    pub(super) fn answered(&self, asked: Asked) {
        self.tell(|state| drop(state.failing.remove(&asked)));
    }

    /// Something is wrong with what the API says; `None` when nothing is.
    pub(super) fn wrong(&self, asked: Asked, problem: Option<String>) {
        self.tell(|state| {
            match problem {
                Some(problem) => state.wrong.insert(asked, problem),
                None => state.wrong.remove(&asked),
            };
        });
    }

    fn tell<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // Each change is whole whoever died while making another.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let told = change(&mut state);
        // Told under the lock: the last word told is about the last state.
        self.news.set(Subject::Kubernetes, state.problem());
        told
    }
}

impl State {
    /// One sentence for all watches that fail for the same reason.
    fn problem(&self) -> Option<String> {
        let mut by_reason = BTreeMap::<&str, Vec<String>>::new();
        for (asked, (failures, reason)) in &self.failing {
            if *failures >= TOLD {
                by_reason.entry(reason).or_default().push(asked.to_string());
            }
        }
        let failing = by_reason.iter().map(|(reason, asked)| {
            let what = asked.join(" and ");
            format!(
                "the API at {} is asked again for {what}: {reason}",
                self.server
            )
        });
        let sentences: Vec<String> = failing.chain(self.wrong.values().cloned()).collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

/// An error and its sources, each once: some show their source themselves.
fn in_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> std::io::Error {
        std::io::ErrorKind::ConnectionRefused.into()
    }

    #[test]
    fn a_failure_is_told_when_it_repeats_and_over_with_the_first_answer() {
        let news = ClusterNews::default();
        let health = Health::new(news.clone());
        health.usable(&"https://api");
        assert_eq!(health.failed(Asked::Pods, &refused()), 1);
        assert_eq!(news.warnings.get(), Vec::<String>::new());
        assert_eq!(health.failed(Asked::Pods, &refused()), 2);
        assert_eq!(
            news.warnings.get(),
            [
                "the API at https://api is asked again for the pods bound to the node: connection \
              refused"
            ]
        );
        health.answered(Asked::Node);
        assert_eq!(news.warnings.get().len(), 1);
        health.answered(Asked::Pods);
        assert_eq!(news.warnings.get(), Vec::<String>::new());
        assert_eq!(health.failed(Asked::Pods, &refused()), 1, "it begins anew");
    }

    #[test]
    fn watches_that_fail_alike_share_a_sentence() {
        let news = ClusterNews::default();
        let health = Health::new(news.clone());
        health.usable(&"https://api");
        for _ in 0..TOLD {
            health.failed(Asked::Pods, &refused());
            health.failed(Asked::Node, &refused());
        }
        assert_eq!(
            news.warnings.get(),
            [
                "the API at https://api is asked again for the node's object and the pods bound to \
              the node: connection refused"
            ]
        );
    }
}
