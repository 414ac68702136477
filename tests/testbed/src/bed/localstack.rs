//! Beds on LocalStack's EC2: how they are made, and what a test may do to a node's
//! calls.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use veni_cloudlab::{Ec2Cloud, Ec2Config};

use super::{Bed, BedCloud, BedConfig};
use crate::ec2::running;

impl BedConfig {
    /// Nodes as in [`BedConfig::new`], in a VPC of the bed's own on this process's
    /// LocalStack. The first such bed starts LocalStack. Daemons give an excess back after
    /// a second.
    ///
    /// # Panics
    /// LocalStack cannot be installed or does not start.
    pub fn localstack(nodes: u32) -> Self {
        let mut config = Self::new(nodes);
        config.cloud = BedCloud::Ec2(Ec2Config::new(running(), 0, ""));
        config
            .set("VENI_RELEASE_DELAY", "1")
            .set("VENI_DETACH_AGE", "1")
    }

    /// Changes the configuration of EC2. The bed decides the number and the type of nodes.
    ///
    /// # Panics
    /// When the cloud is the mock cloud.
    #[must_use]
    pub fn ec2(mut self, change: impl FnOnce(Ec2Config) -> Ec2Config) -> Self {
        self.cloud = match self.cloud {
            BedCloud::Ec2(config) => BedCloud::Ec2(change(config)),
            BedCloud::Mock(_) | BedCloud::Arm(_) => panic!("this bed is not on EC2"),
        };
        self
    }
}

impl Bed {
    /// The EC2 of a bed on LocalStack.
    ///
    /// # Panics
    /// When the bed is on the mock cloud.
    pub fn ec2(&self) -> &Ec2Cloud {
        self.lab().ec2().expect("this bed is on the mock cloud")
    }

    /// The access key of a node, by which the server counts its calls.
    pub fn access_key(&self, node: usize) -> String {
        Ec2Cloud::access_key(self.lab().node(node).instance_id())
    }

    /// Adds a fault, a rule as localstack/ec2/README.md says, that strikes the
    /// calls of one node alone; its number.
    ///
    /// # Panics
    /// When the rule makes no sense.
    pub async fn fault(&self, node: usize, mut rule: Value) -> u64 {
        rule["access_key"] = json!(self.access_key(node));
        let added = self.ec2().control().add_fault(&rule).await;
        added.expect("the server takes the rule")
    }

    /// Ends a fault.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn mend(&self, fault: u64) {
        let removed = self.ec2().control().remove_fault(fault).await;
        removed.expect("the server answers");
    }

    /// How often a node called each operation, with whatever outcome.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn calls(&self, node: usize) -> BTreeMap<String, u64> {
        let key = self.access_key(node);
        let told = self.ec2().control().calls(Some(&key)).await;
        let told = told.expect("the server answers");
        let operations = told["operations"].as_object().cloned().unwrap_or_default();
        let count = |shown: &Value| shown["calls"].as_u64().unwrap_or_default();
        let all = operations.iter();
        all.map(|(name, shown)| (name.clone(), count(shown)))
            .collect()
    }
}
