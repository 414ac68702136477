//! Nodes of the emulated cloud, and what an administrator can see and do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, InstanceType, NetworkInterface, NetworkInterfaceStatus, Tag};
use serde_json::{Value, json};
use veni_cloudlab::Fill;
use veni_provider::conformance::{Fixture, TestNode};
use veni_provider::{InterfaceId, Operation, SubnetId};
use veni_provider_aws::{AwsProvider, AwsSettings, InstanceOverrides};

use super::server::server;

const ZONE: &str = "us-east-1a";

static NODES: AtomicU32 = AtomicU32::new(0);

/// Region, endpoint and an access key, which the server counts by.
pub(crate) fn sdk_config(access_key: &str, address: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// The administrator's client.
pub(crate) fn admin() -> Client {
    Client::new(&sdk_config("test", &server().address))
}

/// A VPC with one subnet and a node in it.
pub(crate) struct Site {
    pub(crate) vpc: String,
    pub(crate) subnet: SubnetId,
    pub(crate) instance: String,
    pub(crate) access_key: String,
}

/// Makes a VPC of 10.0.0.0/16 and IPv6, a /24 in it and an instance.
pub(crate) async fn site(instance_type: &str) -> Site {
    let admin = admin();
    let vpc = admin
        .create_vpc()
        .cidr_block("10.0.0.0/16")
        .amazon_provided_ipv6_cidr_block(true);
    let vpc = vpc.send().await.expect("a VPC").vpc.expect("told");
    let ranges = vpc.ipv6_cidr_block_association_set();
    let ipv6 = ranges.first().and_then(|range| range.ipv6_cidr_block());
    let ipv6 = ipv6.expect("a range").replace("/56", "/64");
    let vpc = vpc.vpc_id.expect("an id");
    let subnet = make_subnet(&vpc, "10.0.0.0/24", Some(&ipv6), &[]).await;
    let instance = run_instance(&subnet, instance_type).await;
    Site {
        vpc,
        subnet,
        instance,
        access_key: new_key(),
    }
}

fn new_key() -> String {
    format!("node-{}", NODES.fetch_add(1, Ordering::Relaxed))
}

/// One more subnet.
pub(crate) async fn make_subnet(
    vpc: &str,
    range: &str,
    ipv6: Option<&str>,
    tags: &[(&str, &str)],
) -> SubnetId {
    let admin = admin();
    let call = admin
        .create_subnet()
        .vpc_id(vpc)
        .availability_zone(ZONE)
        .cidr_block(range)
        .set_ipv6_cidr_block(ipv6.map(str::to_owned));
    let made = call.send().await.expect("a subnet").subnet.expect("told");
    let id = made.subnet_id.expect("an id");
    for (key, value) in tags {
        tag(&id, key, value).await;
    }
    SubnetId::new(id)
}

/// Tags a resource.
pub(crate) async fn tag(id: &str, key: &str, value: &str) {
    let tag = Tag::builder().key(key).value(value).build();
    let call = admin().create_tags().resources(id).tags(tag).send().await;
    call.expect("a tag");
}

/// Takes a fault away.
pub(crate) async fn mend(fault: u64) {
    let removed = server().control.remove_fault(fault).await;
    removed.expect("the fault must go");
}

/// Takes addresses of a subnet, as somebody else would.
pub(crate) async fn fill(subnet: &SubnetId, with: Fill) {
    let filled = server().control.fill(subnet.as_str(), &with).await;
    filled.expect("must be filled");
}

async fn run_instance(subnet: &SubnetId, instance_type: &str) -> String {
    let call = admin()
        .run_instances()
        .image_id("ami-12345678")
        .instance_type(InstanceType::from(instance_type))
        .min_count(1)
        .max_count(1)
        .subnet_id(subnet.as_str());
    let made = call.send().await.expect("an instance");
    let id = made.instances().first().and_then(|one| one.instance_id());
    id.expect("an id").to_owned()
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
        Self {
            vpc: self.vpc.clone(),
            subnet: self.subnet.clone(),
            instance: run_instance(&self.subnet, instance_type).await,
            access_key: new_key(),
        }
    }

    /// Adds a fault that strikes this node alone.
    pub(crate) async fn fault(&self, mut rule: Value) -> u64 {
        rule["access_key"] = json!(self.access_key);
        let added = server().control.add_fault(&rule).await;
        added.expect("a fault")
    }

    /// How many calls of each operation reached the server from this node.
    pub(crate) async fn calls(&self) -> HashMap<String, u64> {
        let told = server().control.calls(Some(&self.access_key)).await;
        let told = told.expect("counts");
        let operations = told["operations"].as_object().cloned().unwrap_or_default();
        let count = |shown: &Value| shown["calls"].as_u64().unwrap_or(0);
        let counts = operations.iter();
        counts
            .map(|(name, shown)| (name.clone(), count(shown)))
            .collect()
    }

    /// All calls of this node.
    pub(crate) async fn total(&self) -> u64 {
        self.calls().await.values().sum()
    }

    /// Interfaces of the VPC, as EC2 describes them.
    pub(crate) async fn interfaces(&self) -> Vec<NetworkInterface> {
        let vpc = Filter::builder().name("vpc-id").values(&self.vpc).build();
        let call = admin().describe_network_interfaces().filters(vpc);
        let told = call.send().await.expect("interfaces");
        told.network_interfaces.unwrap_or_default()
    }

    /// Ids of the interfaces of the VPC that are attached to nothing.
    pub(crate) async fn unattached(&self) -> Vec<String> {
        let all = self.interfaces().await.into_iter();
        all.filter(|one| one.status() == Some(&NetworkInterfaceStatus::Available))
            .filter_map(|one| one.network_interface_id)
            .collect()
    }

    /// One interface, as EC2 describes it.
    pub(crate) async fn described(&self, id: &InterfaceId) -> NetworkInterface {
        let all = self.interfaces().await;
        let found = all
            .into_iter()
            .find(|one| one.network_interface_id() == Some(id.as_str()));
        found.expect("the interface must be there")
    }

    /// An interface that somebody else makes; attached at an index if there is
    /// one.
    pub(crate) async fn foreign(&self, index: Option<i32>) -> InterfaceId {
        let admin = admin();
        let call = admin.create_network_interface();
        let made = call.subnet_id(self.subnet.as_str()).send().await;
        let made = made.expect("an interface").network_interface;
        let id = made
            .and_then(|one| one.network_interface_id)
            .expect("an id");
        if let Some(index) = index {
            let call = admin
                .attach_network_interface()
                .network_interface_id(&id)
                .instance_id(&self.instance)
                .device_index(index);
            call.send().await.expect("must attach");
        }
        InterfaceId::new(id)
    }

    /// Lets an interface outlive the instance.
    pub(crate) async fn let_outlive(&self, id: &InterfaceId) {
        let described = self.described(id).await;
        let attachment = described.attachment().and_then(|a| a.attachment_id());
        let changes = aws_sdk_ec2::types::NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment.expect("attached"))
            .delete_on_termination(false)
            .build();
        let call = admin()
            .modify_network_interface_attribute()
            .network_interface_id(id.as_str())
            .attachment(changes);
        call.send().await.expect("must be changed");
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
        let known = &sites[subnet];
        Site {
            vpc: known.vpc.clone(),
            subnet: known.subnet.clone(),
            instance: known.instance.clone(),
            access_key: known.access_key.clone(),
        }
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
        let rule = json!({"operations": [operation], "count": 1, "lose_answer": true});
        self.site_of(&node.subnet).fault(rule).await;
        true
    }

    async fn finish(&self, node: TestNode) {
        drop(node);
    }
}
