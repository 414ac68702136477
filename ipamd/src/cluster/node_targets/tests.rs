//! A node's object beside the environment.

use std::time::Duration;

use veni_pool::Scheme;
use veni_provider::{Limits, SourceRouting};

use super::*;
use crate::cloud_rules::{AWS, AZURE};
use crate::pool::Command;

fn node() -> Node {
    Node {
        instance_id: "i-1".to_owned(),
        instance_type: "m5.large".to_owned(),
        zone: String::new(),
        limits: Limits {
            interfaces: 3,
            ipv4_per_interface: 10,
            ipv6_per_interface: 10,
            vcpus: 2,
        },
        network_cidrs: Vec::new(),
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        attach_while_running: true,
        ipv4_prefixes: true,
        ipv6_prefixes: true,
        ipv6_addresses: false,
        source_routing: SourceRouting::BySource,
        release: true,
        batch: 50,
        lists_own_alone: false,
        settle_time: Duration::ZERO,
    }
}

/// A node whose environment says this, its pool's commands, and what the pool was told last.
struct Bed {
    task: NodeTargetsTask,
    commands: tokio::sync::mpsc::UnboundedReceiver<Command>,
    told: Wishes,
}

impl Bed {
    fn new(rules: CloudRules, environment: &[(&str, &str)]) -> Self {
        let lookup = |name: &str| {
            let mut all = environment.iter().chain(&[("VENI_PROVIDER", "mock")]);
            let found = all.find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = Config::try_new(&crate::app::providers(), &lookup, "i-1");
        let config = config.expect("the settings are valid");
        let (pool, commands) = Pool::channel();
        let begun = Wishes::from(&pool_settings(&config, &rules, &node(), &capabilities()));
        let words = targets_in_words(&config, &rules, &capabilities());
        let task = NodeTargetsTask {
            config,
            rules,
            node: node(),
            capabilities: capabilities(),
            begun,
            in_force: TargetsInForce::new(words),
            pool,
            news: ClusterNews::default(),
        };
        Self {
            task,
            commands,
            told: begun,
        }
    }

    fn see(&mut self, object: &NodeObject) {
        self.task.take(object, &mut self.told);
    }

    /// What the pool was told, if anything.
    fn wishes(&mut self) -> Option<Wishes> {
        match self.commands.try_recv().ok()? {
            Command::Wishes(wishes) => Some(wishes),
            other => panic!("{other:?}"),
        }
    }
}

fn object(annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> NodeObject {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    NodeObject {
        annotations: map(annotations),
        labels: map(labels),
        ..NodeObject::default()
    }
}

const WARM_IP: &str = "veni.dev/warm-ip-target";

fn warm_ip(wishes: Option<Wishes>) -> Option<u32> {
    match wishes.expect("the pool is told").targets.scheme {
        Scheme::Aws { warm_ip, .. } => warm_ip,
        Scheme::Azure { .. } => panic!("targets of AWS"),
    }
}

#[test]
fn the_annotation_counts_more_than_the_label_and_that_more_than_the_environment() {
    let mut bed = Bed::new(AWS, &[("WARM_IP_TARGET", "1")]);
    bed.see(&object(&[], &[]));
    assert_eq!(bed.wishes(), None, "nothing is said");
    bed.see(&object(&[], &[(WARM_IP, "5")]));
    assert_eq!(warm_ip(bed.wishes()), Some(5));
    assert_eq!(
        bed.task.in_force.get(),
        ["WARM_IP_TARGET=5 (the node's label)"]
    );
    bed.see(&object(&[(WARM_IP, "7")], &[(WARM_IP, "5")]));
    assert_eq!(warm_ip(bed.wishes()), Some(7));
    bed.see(&object(&[], &[]));
    assert_eq!(warm_ip(bed.wishes()), Some(1));
    assert_eq!(bed.task.in_force.get(), ["WARM_IP_TARGET=1"]);
}

#[test]
fn a_wrong_value_is_named_and_the_environment_s_stays() {
    let mut bed = Bed::new(AWS, &[("WARM_IP_TARGET", "1")]);
    bed.see(&object(&[(WARM_IP, "many")], &[(WARM_IP, "5")]));
    assert_eq!(bed.wishes(), None);
    assert_eq!(
        bed.task.news.warnings.get(),
        [
            "the node's annotation veni.dev/warm-ip-target=many: must be a whole number from 0 to \
             100000; WARM_IP_TARGET of the environment stays in force"
        ]
    );
    bed.see(&object(&[], &[]));
    assert_eq!(bed.task.news.warnings.get(), Vec::<String>::new());
}

#[test]
fn with_prefixes_one_target_stays_above_zero() {
    let mut bed = Bed::new(AWS, &[("ENABLE_PREFIX_DELEGATION", "true")]);
    bed.see(&object(&[("veni.dev/warm-prefix-target", "0")], &[]));
    assert_eq!(bed.wishes(), None);
    let said = bed.task.news.warnings.get();
    assert!(said[0].contains("no target above 0"), "{said:?}");
    let both = [("veni.dev/warm-prefix-target", "0"), (WARM_IP, "3")];
    bed.see(&object(&both, &[]));
    assert_eq!(warm_ip(bed.wishes()), Some(3));
}

#[test]
fn targets_of_aws_say_nothing_on_azure() {
    let mut bed = Bed::new(AZURE, &[]);
    bed.see(&object(&[(WARM_IP, "3")], &[]));
    assert_eq!(bed.wishes(), None);
    let said = bed.task.news.warnings.get();
    assert!(said[0].contains("VENI_POOL_BATCH"), "{said:?}");
}

#[test]
fn the_pods_that_the_kubelet_takes_bound_the_pool_unless_max_pods_is_set() {
    let allocatable = |pods| NodeObject {
        allocatable_pods: Some(pods),
        ..NodeObject::default()
    };
    let mut bed = Bed::new(AWS, &[]);
    bed.see(&allocatable(110));
    assert_eq!(bed.wishes(), None, "the interfaces allow 29");
    bed.see(&allocatable(17));
    assert_eq!(bed.wishes().expect("told").max_pods, 17);
    let mut bed = Bed::new(AWS, &[("MAX_PODS", "20")]);
    bed.see(&allocatable(17));
    assert_eq!(bed.wishes(), None);
}

#[test]
fn a_cordoned_node_keeps_its_interfaces_unless_the_environment_says_otherwise() {
    let cordoned = NodeObject {
        unschedulable: true,
        ..NodeObject::default()
    };
    let mut bed = Bed::new(AWS, &[]);
    bed.see(&cordoned);
    assert!(bed.wishes().expect("told").interfaces_stay);
    bed.see(&NodeObject::default());
    assert!(!bed.wishes().expect("told").interfaces_stay);
    let mut bed = Bed::new(AWS, &[("AWS_MANAGE_ENIS_NON_SCHEDULABLE", "true")]);
    bed.see(&cordoned);
    assert_eq!(bed.wishes(), None);
}
