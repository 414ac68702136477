//! A cloud in the test's own process, for the suite of behaviours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use veni_provider::conformance::{Fixture, TestNode};
use veni_provider::{InterfaceId, Operation, Provider, SubnetId};
use veni_provider_mock::{CloudConfig, Fault, FaultKind, MockCloud, NodeConfig, Profile};

pub(crate) fn network(profile: Profile) -> CloudConfig {
    let mut config = CloudConfig::of_profile(profile);
    let range = |text: &str| text.parse().expect("a range");
    config.vpc_cidrs = vec![range("10.0.0.0/16"), range("fd00:1::/56")];
    config.subnets[0].cidrs.push(range("fd00:1::/64"));
    config.throttle = None;
    config
}

pub(crate) fn instance_type(profile: Profile) -> &'static str {
    match profile {
        Profile::Aws => "m5.large",
        Profile::Azure => "Standard_D2s_v5",
    }
}

pub(crate) fn unknown_interface() -> InterfaceId {
    InterfaceId::new("eni-00000000000000000")
}

/// A cloud in this process. Each behaviour has one of its own.
pub(crate) struct InProcess {
    cloud: MockCloud,
    profile: Profile,
    wrap: Wrap,
    nodes: AtomicU32,
}

/// Puts something between a node and its cloud.
type Wrap = Box<dyn Fn(Arc<dyn Provider>) -> Arc<dyn Provider> + Send + Sync>;

impl InProcess {
    pub(crate) fn new(
        profile: Profile,
        wrap: impl Fn(Arc<dyn Provider>) -> Arc<dyn Provider> + Send + Sync + 'static,
    ) -> Self {
        Self {
            cloud: MockCloud::new(network(profile)).expect("must fit"),
            profile,
            wrap: Box::new(wrap),
            nodes: AtomicU32::new(0),
        }
    }

    /// Changes run in the cloud for so long from now on.
    #[allow(
        dead_code,
        reason = "each test binary has its own copy of this module, and one uses this"
    )]
    pub(crate) fn let_changes_run(&self, lasts: std::time::Duration) {
        self.cloud.set_long_changes(Some(lasts));
    }

    fn add_node(&self) -> (String, SubnetId) {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let instance = format!("i-{number}");
        let node = NodeConfig::new(&instance, instance_type(self.profile), "subnet-a");
        self.cloud.add_node(node).expect("must fit");
        (instance, SubnetId::new("subnet-a"))
    }
}

#[async_trait]
impl Fixture for InProcess {
    async fn node(&self) -> TestNode {
        let (instance, subnet) = self.add_node();
        TestNode {
            provider: (self.wrap)(Arc::new(self.cloud.provider(&instance))),
            subnet,
        }
    }

    async fn neighbour(&self, _: &TestNode) -> Option<TestNode> {
        Some(self.node().await)
    }

    fn unknown_interface(&self) -> InterfaceId {
        unknown_interface()
    }

    async fn fill(&self, subnet: &SubnetId, leave_free: u32) -> bool {
        self.cloud.fill_subnet(subnet, leave_free).is_ok()
    }

    async fn fragment(&self, subnet: &SubnetId) -> bool {
        self.cloud.fragment_subnet(subnet).is_ok()
    }

    async fn lose_answer(&self, _: &TestNode, operation: Operation) -> bool {
        self.cloud
            .inject(Fault::next(operation, FaultKind::AnswerLost));
        true
    }

    async fn finish(&self, node: TestNode) {
        drop(node);
    }
}
