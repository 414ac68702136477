//! A VPC with a node in it, and what an administrator can see and do there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, InstanceType, NetworkInterface, NetworkInterfaceStatus, Tag};
use serde_json::{Value, json};
use veni_cloudlab::Fill;

use super::server::server;

/// The availability zone of everything.
pub const ZONE: &str = "us-east-1a";

static NODES: AtomicU32 = AtomicU32::new(0);

/// Region, endpoint and an access key, which the server counts by.
pub fn sdk_config(access_key: &str, address: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// The administrator's client.
pub fn admin() -> Client {
    Client::new(&sdk_config("test", &server().address))
}

/// A VPC with one subnet and a node in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The VPC's id.
    pub vpc: String,
    /// Id of the node's subnet.
    pub subnet: String,
    /// The node's instance id.
    pub instance: String,
    /// The node's access key.
    pub access_key: String,
}

/// Makes a VPC of 10.0.0.0/16 and IPv6, a /24 in it and an instance.
pub async fn site(instance_type: &str) -> Site {
    site_in("10.0.0.0/24", instance_type).await
}

/// The same with another range for the node's subnet.
pub async fn site_in(range: &str, instance_type: &str) -> Site {
    let vpc = admin()
        .create_vpc()
        .cidr_block("10.0.0.0/16")
        .amazon_provided_ipv6_cidr_block(true);
    let vpc = vpc.send().await.expect("a VPC").vpc.expect("told");
    let ranges = vpc.ipv6_cidr_block_association_set();
    let ipv6 = ranges.first().and_then(|range| range.ipv6_cidr_block());
    let ipv6 = ipv6.expect("a range").replace("/56", "/64");
    let vpc = vpc.vpc_id.expect("an id");
    let subnet = make_subnet(&vpc, range, Some(&ipv6), &[]).await;
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

/// One more subnet; returns its id.
pub async fn make_subnet(
    vpc: &str,
    range: &str,
    ipv6: Option<&str>,
    tags: &[(&str, &str)],
) -> String {
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
    id
}

/// Tags a resource.
pub async fn tag(id: &str, key: &str, value: &str) {
    let tag = Tag::builder().key(key).value(value).build();
    let call = admin().create_tags().resources(id).tags(tag).send().await;
    call.expect("a tag");
}

/// Removes a fault.
pub async fn mend(fault: u64) {
    let removed = server().control.remove_fault(fault).await;
    removed.expect("the fault must go");
}

/// Takes addresses of a subnet, as somebody else would, or gives them back.
pub async fn fill(subnet: &str, with: Fill) {
    let filled = server().control.fill(subnet, &with).await;
    filled.expect("must be filled");
}

async fn run_instance(subnet: &str, instance_type: &str) -> String {
    let call = admin()
        .run_instances()
        .image_id("ami-12345678")
        .instance_type(InstanceType::from(instance_type))
        .min_count(1)
        .max_count(1)
        .subnet_id(subnet);
    let made = call.send().await.expect("an instance");
    let id = made.instances().first().and_then(|one| one.instance_id());
    id.expect("an id").to_owned()
}

impl Site {
    /// One more node in the subnet.
    pub async fn neighbour(&self, instance_type: &str) -> Self {
        Self {
            vpc: self.vpc.clone(),
            subnet: self.subnet.clone(),
            instance: run_instance(&self.subnet, instance_type).await,
            access_key: new_key(),
        }
    }

    /// Sets knobs for the interfaces of the VPC alone.
    pub async fn turn(&self, knobs: &Value) {
        let turned = server().control.turn_knobs_of(&self.vpc, knobs).await;
        turned.expect("the knobs must be there");
    }

    /// Adds a fault that strikes this node alone; returns its number.
    pub async fn fault(&self, mut rule: Value) -> u64 {
        rule["access_key"] = json!(self.access_key);
        let added = server().control.add_fault(&rule).await;
        added.expect("a fault")
    }

    /// How many calls of each operation reached the server from this node.
    pub async fn calls(&self) -> HashMap<String, u64> {
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
    pub async fn total(&self) -> u64 {
        self.calls().await.values().sum()
    }

    /// Interfaces of the VPC, as EC2 describes them.
    pub async fn interfaces(&self) -> Vec<NetworkInterface> {
        let vpc = Filter::builder().name("vpc-id").values(&self.vpc).build();
        let call = admin().describe_network_interfaces().filters(vpc);
        let told = call.send().await.expect("interfaces");
        told.network_interfaces.unwrap_or_default()
    }

    /// Ids of the interfaces of the VPC that are attached to nothing.
    pub async fn unattached(&self) -> Vec<String> {
        let all = self.interfaces().await.into_iter();
        all.filter(|one| one.status() == Some(&NetworkInterfaceStatus::Available))
            .filter_map(|one| one.network_interface_id)
            .collect()
    }

    /// One interface, as EC2 describes it.
    pub async fn described(&self, id: &str) -> NetworkInterface {
        let all = self.interfaces().await;
        let found = all
            .into_iter()
            .find(|one| one.network_interface_id() == Some(id));
        found.expect("the interface must be there")
    }

    /// Makes an interface as somebody else would, and attaches it at an index if there is
    /// one. Returns its id.
    pub async fn foreign(&self, index: Option<i32>) -> String {
        self.foreign_at(index.map(|index| (0, index))).await
    }

    /// Makes an interface as somebody else would, and attaches it at a network card and an
    /// index if there are any. Returns its id.
    pub async fn foreign_at(&self, place: Option<(i32, i32)>) -> String {
        let admin = admin();
        let call = admin.create_network_interface();
        let made = call.subnet_id(&self.subnet).send().await;
        let made = made.expect("an interface").network_interface;
        let id = made
            .and_then(|one| one.network_interface_id)
            .expect("an id");
        if let Some((card, index)) = place {
            let call = admin
                .attach_network_interface()
                .network_interface_id(&id)
                .instance_id(&self.instance)
                .network_card_index(card)
                .device_index(index);
            call.send().await.expect("must attach");
        }
        id
    }

    /// Detaches an interface as an administrator would. The interface stays.
    pub async fn pull(&self, id: &str) {
        let attachment = self.attachment(id).await;
        let call = admin().detach_network_interface().attachment_id(attachment);
        call.send().await.expect("must be detached");
    }

    /// Lets an interface outlive the instance.
    pub async fn let_outlive(&self, id: &str) {
        let changes = aws_sdk_ec2::types::NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(self.attachment(id).await)
            .delete_on_termination(false)
            .build();
        let call = admin()
            .modify_network_interface_attribute()
            .network_interface_id(id)
            .attachment(changes);
        call.send().await.expect("must be changed");
    }

    async fn attachment(&self, id: &str) -> String {
        let described = self.described(id).await;
        let attachment = described.attachment().and_then(|a| a.attachment_id());
        attachment.expect("attached").to_owned()
    }

    /// Deletes an interface that is attached to nothing.
    pub async fn delete(&self, id: &str) {
        let call = admin().delete_network_interface().network_interface_id(id);
        call.send().await.expect("must be deleted");
    }
}
