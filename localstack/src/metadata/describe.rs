//! Makes a view of one VPC out of EC2's own Describe calls. Reads all pages.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    AttachmentStatus, Filter, HttpTokensState, Instance as DescribedInstance,
    InstanceMetadataEndpointState, InstanceMetadataOptionsResponse, InstanceMetadataProtocolState,
    InstanceMetadataTagsState, InstanceStateName, NetworkInterface, Reservation, Subnet,
    SubnetCidrBlockStateCode, Vpc, VpcCidrBlockStateCode,
};
use ipnet::IpNet;

use super::view::{Group, Instance, Interface, Options, Role, View};

/// A Describe call failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to ask EC2 for its {what}")]
pub struct DescribeError {
    what: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl DescribeError {
    fn of<E: Into<aws_sdk_ec2::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self {
            what,
            source: Box::new(error.into()),
        }
    }
}

/// What EC2 says of all instances of a VPC that run or are about to.
///
/// # Errors
/// When one of the four Describe calls fails; the source tells EC2's reason.
pub async fn describe(client: &Client, vpc: &str) -> Result<View, DescribeError> {
    let here = Filter::builder().name("vpc-id").values(vpc).build();
    let (reservations, interfaces, subnets, vpcs) = tokio::try_join!(
        reservations(client, here.clone()),
        interfaces(client, here.clone()),
        subnets(client, here.clone()),
        vpcs(client, here)
    )?;
    let ranges = Ranges {
        subnets: subnets
            .iter()
            .filter_map(|one| Some((one.subnet_id()?, subnet_ranges(one))))
            .collect(),
        vpcs: vpcs
            .iter()
            .filter_map(|one| Some((one.vpc_id()?, vpc_ranges(one))))
            .collect(),
    };
    let region = client.config().region().map(ToString::to_string);
    let mut view = View::default();
    for reservation in &reservations {
        for described in reservation.instances().iter().filter(|one| is_up(one)) {
            let Some(mut instance) = instance(reservation, described, region.as_deref()) else {
                tracing::warn!(instance = ?described.instance_id(), "ec2's description is incomplete");
                continue;
            };
            instance.interfaces = interfaces
                .iter()
                .filter_map(|one| interface(one, &instance.id, &ranges))
                .collect();
            let mut all = instance.interfaces.iter();
            instance.several_cards = all.any(|one| one.network_card > 0);
            instance
                .interfaces
                .sort_by_key(|one| (one.network_card, one.device_index));
            view.instances.insert(instance.id.clone(), instance);
        }
    }
    Ok(view)
}

/// Ranges by the ids of what has them.
struct Ranges<'a> {
    subnets: BTreeMap<&'a str, Vec<IpNet>>,
    vpcs: BTreeMap<&'a str, Vec<IpNet>>,
}

async fn reservations(client: &Client, here: Filter) -> Result<Vec<Reservation>, DescribeError> {
    let pages = client
        .describe_instances()
        .filters(here)
        .into_paginator()
        .items()
        .send();
    let all = pages.collect::<Result<Vec<_>, _>>().await;
    all.map_err(DescribeError::of("instances"))
}

async fn interfaces(client: &Client, here: Filter) -> Result<Vec<NetworkInterface>, DescribeError> {
    let call = client.describe_network_interfaces().filters(here);
    let pages = call
        .include_managed_resources(true)
        .into_paginator()
        .items()
        .send();
    let all = pages.collect::<Result<Vec<_>, _>>().await;
    all.map_err(DescribeError::of("network interfaces"))
}

async fn subnets(client: &Client, here: Filter) -> Result<Vec<Subnet>, DescribeError> {
    let pages = client
        .describe_subnets()
        .filters(here)
        .into_paginator()
        .items()
        .send();
    let all = pages.collect::<Result<Vec<_>, _>>().await;
    all.map_err(DescribeError::of("subnets"))
}

async fn vpcs(client: &Client, here: Filter) -> Result<Vec<Vpc>, DescribeError> {
    let pages = client
        .describe_vpcs()
        .filters(here)
        .into_paginator()
        .items()
        .send();
    let all = pages.collect::<Result<Vec<_>, _>>().await;
    all.map_err(DescribeError::of("VPCs"))
}

/// Whether the instance runs, so that somebody on it could ask.
fn is_up(described: &DescribedInstance) -> bool {
    let state = described.state().and_then(|state| state.name());
    !matches!(
        state,
        Some(InstanceStateName::Terminated | InstanceStateName::Stopped)
    )
}

/// An instance, still without its interfaces; `None` without id, type or zone.
fn instance(
    reservation: &Reservation,
    described: &DescribedInstance,
    region: Option<&str>,
) -> Option<Instance> {
    let text = |told: Option<&str>| told.unwrap_or_default().to_owned();
    let zone = described.placement()?.availability_zone()?;
    let tags = described.tags().iter();
    let architecture = described.architecture().map(|one| one.as_str());
    let launched = described.launch_time().map(|time| time.secs());
    Some(Instance {
        id: described.instance_id()?.to_owned(),
        instance_type: described.instance_type()?.as_str().to_owned(),
        architecture: architecture.unwrap_or("x86_64").to_owned(),
        image: text(described.image_id()),
        // A zone's name is its region and a letter, except for local zones.
        region: region
            .unwrap_or_else(|| zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase()))
            .to_owned(),
        zone: zone.to_owned(),
        account: text(reservation.owner_id()),
        reservation: text(reservation.reservation_id()),
        launched: launched.and_then(|at| at.try_into().ok()).unwrap_or(0),
        options: described
            .metadata_options()
            .map_or_else(Options::default, options),
        tags: tags
            .filter_map(|tag| Some((tag.key()?.to_owned(), text(tag.value()))))
            .collect(),
        role: described.iam_instance_profile().and_then(|profile| {
            let arn = profile.arn()?;
            Some(Role {
                // EC2 does not tell the role. Consoles and EKS give role and profile one name.
                name: arn.rsplit('/').next()?.to_owned(),
                profile_arn: arn.to_owned(),
                profile_id: text(profile.id()),
            })
        }),
        several_cards: false,
        interfaces: Vec::new(),
    })
}

fn options(told: &InstanceMetadataOptionsResponse) -> Options {
    let hops = told.http_put_response_hop_limit();
    Options {
        enabled: told.http_endpoint() != Some(&InstanceMetadataEndpointState::Disabled),
        ipv6: told.http_protocol_ipv6() == Some(&InstanceMetadataProtocolState::Enabled),
        tokens_required: told.http_tokens() == Some(&HttpTokensState::Required),
        hop_limit: hops
            .and_then(|hops| u8::try_from(hops).ok())
            .map_or(1, |hops| hops.clamp(1, 64)),
        tags: told.instance_metadata_tags() == Some(&InstanceMetadataTagsState::Enabled),
    }
}

/// An interface, if it is an instance's and has arrived.
fn interface(
    described: &NetworkInterface,
    instance: &str,
    ranges: &Ranges<'_>,
) -> Option<Interface> {
    let attachment = described.attachment()?;
    let coming = attachment.status() == Some(&AttachmentStatus::Attaching);
    if attachment.instance_id() != Some(instance) || coming {
        return None;
    }
    let number = |told: Option<i32>| u32::try_from(told.unwrap_or(0)).ok();
    let (subnet, vpc) = (described.subnet_id()?, described.vpc_id()?);
    let own = described.private_ip_address();
    let secondary = described.private_ip_addresses().iter();
    let secondary = secondary.filter_map(|one| one.private_ip_address());
    let ipv4 = own
        .into_iter()
        .chain(secondary.filter(|one| Some(*one) != own));
    let ipv6 = described.ipv6_addresses().iter();
    let four = described.ipv4_prefixes().iter();
    let six = described.ipv6_prefixes().iter();
    let prefixes = four
        .filter_map(|one| one.ipv4_prefix())
        .chain(six.filter_map(|one| one.ipv6_prefix()));
    let groups = described.groups().iter();
    Some(Interface {
        id: described.network_interface_id()?.to_owned(),
        mac: described.mac_address()?.parse().ok()?,
        device_index: number(attachment.device_index())?,
        network_card: number(attachment.network_card_index())?,
        owner: described.owner_id().unwrap_or_default().to_owned(),
        subnet: subnet.to_owned(),
        subnet_cidrs: ranges.subnets.get(subnet).cloned().unwrap_or_default(),
        vpc: vpc.to_owned(),
        vpc_cidrs: ranges.vpcs.get(vpc).cloned().unwrap_or_default(),
        ipv4: ipv4.filter_map(|text| text.parse().ok()).collect(),
        ipv6: ipv6
            .filter_map(|one| one.ipv6_address()?.parse().ok())
            .collect(),
        prefixes: prefixes.filter_map(|text| text.parse().ok()).collect(),
        groups: groups
            .filter_map(|group| {
                Some(Group {
                    id: group.group_id()?.to_owned(),
                    name: group.group_name()?.to_owned(),
                })
            })
            .collect(),
    })
}

fn subnet_ranges(subnet: &Subnet) -> Vec<IpNet> {
    let ipv6 = subnet.ipv6_cidr_block_association_set().iter();
    let ipv6 = ipv6.filter(|one| {
        let state = one.ipv6_cidr_block_state().and_then(|state| state.state());
        state.is_none_or(|state| *state == SubnetCidrBlockStateCode::Associated)
    });
    let ipv4 = subnet.cidr_block().into_iter();
    unique(ipv4.chain(ipv6.filter_map(|one| one.ipv6_cidr_block())))
}

/// The primary range first.
fn vpc_ranges(vpc: &Vpc) -> Vec<IpNet> {
    let usable = |state: Option<&VpcCidrBlockStateCode>| {
        state.is_none_or(|state| *state == VpcCidrBlockStateCode::Associated)
    };
    let ipv4 = vpc.cidr_block_association_set().iter();
    let ipv4 = ipv4.filter(|one| usable(one.cidr_block_state().and_then(|state| state.state())));
    let ipv6 = vpc.ipv6_cidr_block_association_set().iter();
    let ipv6 =
        ipv6.filter(|one| usable(one.ipv6_cidr_block_state().and_then(|state| state.state())));
    let primary = vpc.cidr_block().into_iter();
    let secondary = ipv4.filter_map(|one| one.cidr_block());
    unique(
        primary
            .chain(secondary)
            .chain(ipv6.filter_map(|one| one.ipv6_cidr_block())),
    )
}

fn unique<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpNet> {
    let mut all = Vec::new();
    for range in texts.filter_map(|text| text.parse().ok()) {
        if !all.contains(&range) {
            all.push(range);
        }
    }
    all
}
