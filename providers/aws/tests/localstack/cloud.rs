//! Nodes of the emulated cloud and providers for them; what an administrator can
//! see and do is the test bed's.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::NetworkInterface;
use serde_json::json;
use veni_cloudlab::Fill;
use veni_provider::conformance::{Fixture, TestNode};
use veni_provider::{AddressSlots, AttachRequest, InterfaceId, Limits, Operation, SubnetId};
use veni_provider_aws::{AwsProvider, AwsSettings, InstanceOverrides, TypeFacts};
use veni_testbed::ec2;

pub(crate) use ec2::{admin, mend, sdk_config, tag};

use super::server::server;

/// For one more interface, with nothing on it.
pub(crate) fn request(token: &str) -> AttachRequest {
    AttachRequest {
        subnet: None,
        slots: None,
        token: token.to_owned(),
    }
}

/// For one more interface with these slots filled.
pub(crate) fn request_for(token: &str, slots: AddressSlots) -> AttachRequest {
    AttachRequest {
        slots: Some(slots),
        ..request(token)
    }
}

/// Longer than what was just changed is doubted.
pub(crate) async fn settled() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// What EC2 says of the type m5.large.
pub(crate) const M5_LARGE: TypeFacts = TypeFacts {
    limits: Limits {
        interfaces: 3,
        ipv4_per_interface: 10,
        ipv6_per_interface: 10,
        vcpus: 2,
    },
    prefixes: true,
};

/// A VPC with one subnet and a node in it, in the provider's nouns.
#[derive(Clone)]
pub(crate) struct Site {
    site: ec2::Site,
    pub(crate) subnet: SubnetId,
}

impl Deref for Site {
    type Target = ec2::Site;

    fn deref(&self) -> &ec2::Site {
        &self.site
    }
}

impl From<ec2::Site> for Site {
    fn from(site: ec2::Site) -> Self {
        let subnet = SubnetId::new(&site.subnet);
        Self { site, subnet }
    }
}

/// Makes a VPC of 10.0.0.0/16 and IPv6, a /24 in it and an instance.
pub(crate) async fn site(instance_type: &str) -> Site {
    ec2::site(instance_type).await.into()
}

/// One more subnet.
pub(crate) async fn make_subnet(
    vpc: &str,
    range: &str,
    ipv6: Option<&str>,
    tags: &[(&str, &str)],
) -> SubnetId {
    SubnetId::new(ec2::make_subnet(vpc, range, ipv6, tags).await)
}

/// Takes addresses of a subnet, as somebody else would.
pub(crate) async fn fill(subnet: &SubnetId, with: Fill) {
    ec2::fill(subnet.as_str(), with).await;
}

impl Site {
    /// Settings of the node's provider.
    pub(crate) fn settings(&self) -> AwsSettings {
        AwsSettings {
            instance: InstanceOverrides {
                instance_id: Some(self.instance.clone()),
                ..InstanceOverrides::default()
            },
            settle_time: Duration::from_millis(200),
            sdk_config: Some(sdk_config(&self.access_key, &server().address)),
            ..AwsSettings::default()
        }
    }

    /// The node's provider.
    pub(crate) async fn provider(&self) -> AwsProvider {
        self.provider_with(self.settings()).await
    }

    /// The node's provider by settings.
    pub(crate) async fn provider_with(&self, settings: AwsSettings) -> AwsProvider {
        AwsProvider::connect(settings).await.expect("must connect")
    }

    /// One more node in the subnet.
    pub(crate) async fn neighbour(&self, instance_type: &str) -> Self {
        self.site.neighbour(instance_type).await.into()
    }

    /// One interface, as EC2 describes it.
    pub(crate) async fn described(&self, id: &InterfaceId) -> NetworkInterface {
        self.site.described(id.as_str()).await
    }

    /// An interface that somebody else makes; attached at an index if there is
    /// one.
    pub(crate) async fn foreign(&self, index: Option<i32>) -> InterfaceId {
        InterfaceId::new(self.site.foreign(index).await)
    }

    /// Lets an interface outlive the instance.
    pub(crate) async fn let_outlive(&self, id: &InterfaceId) {
        self.site.let_outlive(id.as_str()).await;
    }
}

/// The suite's fixture: nodes of one instance type.
pub(crate) struct LocalStack {
    pub(crate) instance_type: &'static str,
    sites: Mutex<HashMap<SubnetId, Site>>,
}

impl LocalStack {
    pub(crate) fn new(instance_type: &'static str) -> Self {
        Self {
            instance_type,
            sites: Mutex::new(HashMap::new()),
        }
    }

    fn site_of(&self, subnet: &SubnetId) -> Site {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites[subnet].clone()
    }
}

#[async_trait]
impl Fixture for LocalStack {
    async fn node(&self) -> TestNode {
        let site = site(self.instance_type).await;
        let provider = std::sync::Arc::new(site.provider().await);
        let subnet = site.subnet.clone();
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.insert(subnet.clone(), site);
        TestNode { provider, subnet }
    }

    async fn neighbour(&self, node: &TestNode) -> Option<TestNode> {
        let first = self.site_of(&node.subnet);
        let other = first.neighbour(self.instance_type).await;
        let provider = std::sync::Arc::new(other.provider().await);
        Some(TestNode {
            provider,
            subnet: node.subnet.clone(),
        })
    }

    fn unknown_interface(&self) -> InterfaceId {
        InterfaceId::new("eni-0123456789abcdef0")
    }

    async fn fill(&self, subnet: &SubnetId, leave_free: u32) -> bool {
        fill(subnet, Fill::Leave(leave_free)).await;
        true
    }

    async fn fragment(&self, subnet: &SubnetId) -> bool {
        fill(subnet, Fill::Fragment).await;
        true
    }

    async fn lose_answer(&self, node: &TestNode, operation: Operation) -> bool {
        let operation = match operation {
            Operation::Node | Operation::Inventory => "DescribeNetworkInterfaces",
            Operation::AttachInterface => "CreateNetworkInterface",
            Operation::DetachInterface => "DetachNetworkInterface",
            Operation::Assign => "AssignPrivateIpAddresses",
            Operation::Release => "UnassignPrivateIpAddresses",
        };
        // A creation is asked for twice before it counts as lost.
        let count = if operation == "CreateNetworkInterface" {
            2
        } else {
            1
        };
        let rule = json!({"operations": [operation], "count": count, "lose_answer": true});
        self.site_of(&node.subnet).fault(rule).await;
        true
    }

    async fn finish(&self, node: TestNode) {
        drop(node);
    }
}
