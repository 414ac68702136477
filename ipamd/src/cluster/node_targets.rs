//! Lets the pool follow what its node's object says: targets by annotation or label, the pods
//! that the kubelet takes, and whether the node is cordoned.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use veni_pool::SlotKind;
use veni_provider::{Capabilities, Node};

use super::warnings::{ClusterNews, Subject};
use super::{Cluster, NodeObject};
use crate::cloud_rules::CloudRules;
use crate::config::{CloudProfile, Config, MOST_ADDRESSES, TargetSettings};
use crate::pool::{Pool, Wishes};
use crate::targets::{pool_settings, targets_in_words};

/// The targets in force, each as `NAME=value`. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct TargetsInForce {
    words: Arc<Mutex<Vec<String>>>,
}

impl TargetsInForce {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self {
            words: Arc::new(Mutex::new(words)),
        }
    }

    pub(crate) fn get(&self) -> Vec<String> {
        self.with(|words| words.clone())
    }

    fn set(&self, now: Vec<String>) -> bool {
        self.with(|words| std::mem::replace(words, now.clone()) != now)
    }

    fn with<T>(&self, use_them: impl FnOnce(&mut Vec<String>) -> T) -> T {
        // Whole whoever died while writing.
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        use_them(&mut words)
    }
}

/// A target that a node's object may set.
struct NodeTarget {
    key: &'static str,
    /// The setting that it takes the place of.
    setting: &'static str,
    set: fn(&mut TargetSettings, u32),
}

const TARGETS: [NodeTarget; 4] = [
    NodeTarget {
        key: "veni.dev/warm-ip-target",
        setting: "WARM_IP_TARGET",
        set: |targets, number| targets.warm_ip = (number > 0).then_some(number),
    },
    NodeTarget {
        key: "veni.dev/minimum-ip-target",
        setting: "MINIMUM_IP_TARGET",
        set: |targets, number| targets.minimum_ip = (number > 0).then_some(number),
    },
    NodeTarget {
        key: "veni.dev/warm-prefix-target",
        setting: "WARM_PREFIX_TARGET",
        set: |targets, number| {
            if targets.mode == SlotKind::Prefix {
                targets.warm_prefix = Some(number);
            }
        },
    },
    NodeTarget {
        key: "veni.dev/warm-eni-target",
        setting: "WARM_ENI_TARGET",
        set: |targets, number| targets.warm_eni = number,
    },
];

/// What a node's object says of the targets.
#[derive(Debug, PartialEq)]
struct Said {
    targets: TargetSettings,
    /// `annotation` or `label`, by the setting whose place it takes.
    by: BTreeMap<&'static str, &'static str>,
    problems: Vec<String>,
}

/// Reads a node's targets: the annotation counts more than the label, and that more than the
/// environment. What is wrong is named, and the environment's value stays.
fn said(node: &NodeObject, environment: &TargetSettings) -> Said {
    let mut said = Said {
        targets: environment.clone(),
        by: BTreeMap::new(),
        problems: Vec::new(),
    };
    for target in &TARGETS {
        let of_annotation = node.annotations.get(target.key);
        let (kind, text) = match (of_annotation, node.labels.get(target.key)) {
            (Some(text), _) => ("annotation", text),
            (None, Some(text)) => ("label", text),
            (None, None) => continue,
        };
        match text.parse() {
            Ok(number) if number <= MOST_ADDRESSES => {
                (target.set)(&mut said.targets, number);
                said.by.insert(target.setting, kind);
            }
            _ => said.problems.push(format!(
                "the node's {kind} {}={text}: must be a whole number from 0 to {MOST_ADDRESSES}; {} \
                 of the environment stays in force",
                target.key, target.setting
            )),
        }
    }
    let targets = &said.targets;
    let none = targets.warm_ip.is_none() && targets.minimum_ip.is_none();
    if targets.mode == SlotKind::Prefix && targets.warm_prefix == Some(0) && none {
        said.problems.push(
            "the node's object leaves no target above 0, and with prefix delegation one of \
             warm-prefix-target, warm-ip-target and minimum-ip-target must be; those of the \
             environment stay in force"
                .to_owned(),
        );
        said.targets = environment.clone();
        said.by.clear();
    }
    said
}

/// Keeps the pool's targets as the node's object says.
pub(crate) struct NodeTargetsTask {
    pub(crate) config: Config,
    pub(crate) rules: CloudRules,
    pub(crate) node: Node,
    pub(crate) capabilities: Capabilities,
    /// What the pool begins with.
    pub(crate) begun: Wishes,
    pub(crate) in_force: TargetsInForce,
    pub(crate) pool: Pool,
    pub(crate) news: ClusterNews,
}

impl NodeTargetsTask {
    /// Follows the view until `stop`.
    pub(crate) async fn run(self, cluster: Cluster, stop: CancellationToken) {
        let (mut view, mut told) = (cluster.watch(), self.begun);
        loop {
            let node = view.borrow_and_update().node.clone();
            self.take(&node, &mut told);
            // The view may differ in something else.
            let another_node = view.wait_for(|view| view.node != node);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(_) = another_node => {}
            }
        }
    }

    fn take(&self, object: &NodeObject, told: &mut Wishes) {
        let mut said = said(object, &self.config.targets);
        if self.rules.profile != CloudProfile::Aws && !said.by.is_empty() {
            said.targets = self.config.targets.clone();
            said.problems.push(
                "the node's object sets targets of AWS (veni.dev/…-target), which have no effect \
                 on this cloud; its own are VENI_POOL_BATCH and those beside it"
                    .to_owned(),
            );
            said.by.clear();
        }
        let problems = said.problems.join("; ");
        let problem = (!problems.is_empty()).then_some(problems);
        self.news.set(Subject::NodeTargets, problem);
        let mut config = self.config.clone();
        config.targets = said.targets;
        let can = &self.capabilities;
        let settings = pool_settings(&config, &self.rules, &self.node, can);
        let allocatable = object.allocatable_pods.filter(|_| {
            // What an operator has set counts.
            config.targets.max_pods.is_none()
        });
        let wishes = Wishes {
            targets: settings.targets,
            max_pods: allocatable.map_or(settings.max_pods, |pods| pods.min(settings.max_pods)),
            interfaces_stay: object.is_cordoned() && !config.targets.manages_unschedulable,
        };
        let words = targets_in_words(&config, &self.rules, can).into_iter();
        let words = words.map(|word| {
            let setting = word.split('=').next().unwrap_or_default();
            match said.by.get(setting) {
                Some(kind) => format!("{word} (the node's {kind})"),
                None => word,
            }
        });
        if self.in_force.set(words.collect()) {
            let targets = self.in_force.get().join(" ");
            tracing::info!(targets, "the node's object has changed the targets");
        }
        if *told != wishes {
            self.pool.wishes(wishes);
            *told = wishes;
        }
    }
}

#[cfg(all(test, feature = "mock"))]
mod tests;
