//! Makes a lab's VPC in EC2 with the administrator's credentials, and removes it.

use std::fmt::Display;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{
    Filter, HttpTokensState, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceType, IpPermission, ResourceType, Tag,
    TagSpecification, UserIdGroupPair,
};
use ipnet::IpNet;
use veni_provider::SubnetId;

use super::config::{Ec2Config, Ec2Subnet};
use super::state::State;
use crate::emulator::Control;
use crate::error::{LabError, chain};

/// The zone of all subnets.
const ZONE: &str = "us-east-1a";
/// Range of the VPC.
const RANGE: &str = "10.0.0.0/16";
/// Tag of a VPC with the folder of its lab. A later run finds leftovers by it.
const LAB: &str = "veni-lab";
/// Any id does: LocalStack starts no machine.
const IMAGE: &str = "ami-12345678";

/// What was made.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) vpc: String,
    pub(super) ranges: Vec<IpNet>,
    pub(super) subnets: Vec<SubnetId>,
    pub(super) group: String,
    pub(super) instances: Vec<String>,
}

fn refused<E>(operation: &str) -> impl FnOnce(E) -> LabError
where
    E: std::error::Error + ProvideErrorMetadata,
{
    let operation = operation.to_owned();
    move |error| LabError::Emulator {
        operation,
        reason: match (error.code(), error.message()) {
            (Some(code), message) => format!("{code}: {}", message.unwrap_or("no reason")),
            (None, _) => chain(&error),
        },
    }
}

fn untold(operation: &str, what: impl Display) -> LabError {
    LabError::Emulator {
        operation: operation.to_owned(),
        reason: format!("it tells no {what}"),
    }
}

fn tags(kind: ResourceType, all: &[(String, String)]) -> Option<Vec<TagSpecification>> {
    let tag = |(key, value): &(String, String)| Tag::builder().key(key).value(value).build();
    let specification = TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(all.iter().map(tag).collect()));
    (!all.is_empty()).then(|| vec![specification.build()])
}

/// Makes the network. After a failure, nothing of it is left.
pub(super) async fn make(
    client: &Client,
    control: &Control,
    config: &Ec2Config,
    lab: &str,
) -> Result<Network, LabError> {
    let operation = "make a VPC";
    let call = client
        .create_vpc()
        .cidr_block(RANGE)
        .amazon_provided_ipv6_cidr_block(config.ipv6)
        .set_tag_specifications(tags(ResourceType::Vpc, &[(LAB.to_owned(), lab.to_owned())]));
    let made = call.send().await.map_err(refused(operation))?;
    let vpc = made.vpc.ok_or_else(|| untold(operation, "VPC"))?;
    let id = vpc.vpc_id().ok_or_else(|| untold(operation, "id"))?;
    let ipv6 = vpc.ipv6_cidr_block_association_set().iter();
    let ipv6: Option<IpNet> = ipv6
        .filter_map(|one| one.ipv6_cidr_block()?.parse().ok())
        .next();
    match fill(client, config, id, ipv6).await {
        Ok(network) => Ok(network),
        Err(error) => {
            // Report the first error; a failed clean-up would hide it.
            let _second = remove(client, control, id).await;
            Err(error)
        }
    }
}

async fn fill(
    client: &Client,
    config: &Ec2Config,
    vpc: &str,
    ipv6: Option<IpNet>,
) -> Result<Network, LabError> {
    let mut blocks = ipv6.into_iter().flat_map(|range| {
        // Each subnet gets a /64 of the VPC's /56.
        range.subnets(64).into_iter().flatten()
    });
    let mut subnets = Vec::new();
    for subnet in &config.subnets {
        subnets.push(make_subnet(client, vpc, subnet, blocks.next()).await?);
    }
    let Some(home) = subnets.first() else {
        return Err(untold("make instances", "subnet for them"));
    };
    let group = make_group(client, vpc).await?;
    let mut instances = Vec::new();
    for instance_type in &config.instance_types {
        instances.push(run_instance(client, config, instance_type, home, &group).await?);
    }
    let ranges = RANGE.parse().ok().into_iter().chain(ipv6).collect();
    Ok(Network {
        vpc: vpc.to_owned(),
        ranges,
        subnets,
        group,
        instances,
    })
}

async fn make_subnet(
    client: &Client,
    vpc: &str,
    subnet: &Ec2Subnet,
    ipv6: Option<IpNet>,
) -> Result<SubnetId, LabError> {
    let operation = format!("make the subnet {}", subnet.range);
    let call = client
        .create_subnet()
        .vpc_id(vpc)
        .availability_zone(ZONE)
        .cidr_block(subnet.range.to_string())
        .set_ipv6_cidr_block(ipv6.map(|range| range.to_string()))
        .set_tag_specifications(tags(ResourceType::Subnet, &subnet.tags));
    let made = call.send().await.map_err(refused(&operation))?.subnet;
    let id = made.and_then(|subnet| subnet.subnet_id);
    id.map(SubnetId::new)
        .ok_or_else(|| untold(&operation, "id"))
}

/// A group whose members may do everything among each other and outwards.
async fn make_group(client: &Client, vpc: &str) -> Result<String, LabError> {
    let operation = "make the security group of the nodes";
    let call = client
        .create_security_group()
        .vpc_id(vpc)
        .group_name("nodes")
        .description("members among each other, everything outwards");
    let made = call.send().await.map_err(refused(operation))?.group_id;
    let group = made.ok_or_else(|| untold(operation, "id"))?;
    let members = IpPermission::builder()
        .ip_protocol("-1")
        .user_id_group_pairs(UserIdGroupPair::builder().group_id(&group).build());
    let call = client
        .authorize_security_group_ingress()
        .group_id(&group)
        .ip_permissions(members.build());
    call.send().await.map_err(refused(operation))?;
    Ok(group)
}

async fn run_instance(
    client: &Client,
    config: &Ec2Config,
    instance_type: &str,
    subnet: &SubnetId,
    group: &str,
) -> Result<String, LabError> {
    let operation = format!("run an instance of the type {instance_type}");
    let interface = InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(subnet.as_str())
        .groups(group)
        .set_ipv6_address_count(config.ipv6.then_some(1));
    let metadata = InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(i32::from(config.metadata_hop_limit));
    let call = client
        .run_instances()
        .image_id(IMAGE)
        .instance_type(InstanceType::from(instance_type))
        .min_count(1)
        .max_count(1)
        .network_interfaces(interface.build())
        .metadata_options(metadata.build());
    let made = call.send().await.map_err(refused(&operation))?;
    let id = made.instances().first().and_then(|one| one.instance_id());
    id.map(str::to_owned)
        .ok_or_else(|| untold(&operation, "id"))
}

/// Removes what an earlier lab in the same folder has left because it was killed.
pub(super) async fn clear_leftovers(
    client: &Client,
    control: &Control,
    lab: &str,
) -> Result<(), LabError> {
    let operation = "look for leftovers of an earlier lab";
    let call = client
        .describe_vpcs()
        .filters(filter(&format!("tag:{LAB}"), lab));
    let found = call.send().await.map_err(refused(operation))?;
    for vpc in found.vpcs().iter().filter_map(|vpc| vpc.vpc_id()) {
        remove(client, control, vpc).await?;
    }
    Ok(())
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// Removes a VPC with everything that the hook's state shows in it. A Describe may lag and
/// would miss what was made last.
pub(super) async fn remove(client: &Client, control: &Control, vpc: &str) -> Result<(), LabError> {
    let operation = format!("remove the VPC {vpc}");
    // Who was killed does not follow any more: no answer below may wait for it.
    control.unfollow(vpc).await?;
    let there = State::read(control.state_of(vpc).await?)?;
    let instances: Vec<String> = there.running().map(str::to_owned).collect();
    if !instances.is_empty() {
        let call = client.terminate_instances();
        let call = call.set_instance_ids(Some(instances)).send().await;
        call.map_err(refused(&operation))?;
    }
    // Most interfaces have gone with their instances; these are the others.
    let left = State::read(control.state_of(vpc).await?)?;
    for id in left.interfaces() {
        let call = client.delete_network_interface().network_interface_id(id);
        call.send().await.map_err(refused(&operation))?;
    }
    for id in left.subnets() {
        let call = client.delete_subnet().subnet_id(id);
        call.send().await.map_err(refused(&operation))?;
    }
    let here = filter("vpc-id", vpc);
    let call = client.describe_security_groups().filters(here);
    let found = call.send().await.map_err(refused(&operation))?;
    let groups = found.security_groups().iter();
    // The VPC's own group goes with it.
    let groups = groups.filter(|group| group.group_name() != Some("default"));
    for id in groups.filter_map(|group| group.group_id()) {
        let call = client.delete_security_group().group_id(id);
        call.send().await.map_err(refused(&operation))?;
    }
    let call = client.delete_vpc().vpc_id(vpc);
    call.send().await.map_err(refused(&operation))?;
    Ok(())
}
