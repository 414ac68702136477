//! Who this node is: by instance metadata alone, so that a start needs no EC2;
//! by one Describe where the settings name an instance, which then need not be
//! this machine. What the settings tell is not asked for.

use std::net::IpAddr;

use aws_sdk_ec2::types::Instance as Described;
use veni_provider::{ErrorClass, ProviderError, SubnetId};

use crate::actions::Action;
use crate::ec2::Ec2;
use crate::failure::Refusal;
use crate::imds::Metadata;
use crate::requests::filter;
use crate::settings::InstanceOverrides;

/// Followed by the MAC of an interface and what is asked of it.
pub(crate) const INTERFACES: &str = "/latest/meta-data/network/interfaces/macs/";
const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
pub(crate) const INSTANCE_TYPE: &str = "/latest/meta-data/instance-type";
pub(crate) const ZONE: &str = "/latest/meta-data/placement/availability-zone";

/// The own instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) instance_type: String,
    pub(crate) zone: String,
    pub(crate) subnet: SubnetId,
    pub(crate) vpc: String,
    /// MAC of the primary interface, as EC2 writes it.
    pub(crate) mac: Option<String>,
    /// The IPv6 address that EC2 tells as the instance's: the first of its primary
    /// interface, whoever assigned it.
    pub(crate) ipv6: Option<IpAddr>,
}

/// The region by instance metadata, for a configuration that lacks it.
pub(crate) async fn region(metadata: &Metadata) -> Result<Option<String>, ProviderError> {
    metadata
        .optional("/latest/meta-data/placement/region")
        .await
}

/// The own instance by instance metadata alone.
pub(crate) async fn by_metadata(
    known: &InstanceOverrides,
    metadata: &Metadata,
) -> Result<Instance, ProviderError> {
    let mac = metadata.required("/latest/meta-data/mac").await?;
    let of_primary = |what: &str| format!("{INTERFACES}{mac}/{what}");
    let told = async |known: &Option<String>, path: &str| match known {
        Some(known) => Ok(known.clone()),
        None => metadata.required(path).await,
    };
    let subnet = known.subnet.as_ref().map(ToString::to_string);
    let ipv6 = metadata.optional("/latest/meta-data/ipv6").await?;
    Ok(Instance {
        id: told(&known.instance_id, INSTANCE_ID).await?,
        instance_type: told(&known.instance_type, INSTANCE_TYPE).await?,
        zone: told(&known.zone, ZONE).await?,
        subnet: SubnetId::new(told(&subnet, &of_primary("subnet-id")).await?),
        vpc: told(&known.vpc, &of_primary("vpc-id")).await?,
        mac: Some(mac),
        ipv6: ipv6.and_then(|text| text.parse().ok()),
    })
}

/// An instance that the settings name, asked for as far as they do not tell it.
pub(crate) async fn by_ec2(
    known: &InstanceOverrides,
    id: &str,
    ec2: &Ec2,
) -> Result<Instance, ProviderError> {
    if let Some(whole) = all_of(id, known) {
        return Ok(whole);
    }
    // By filter: without one EC2 charges a smaller bucket.
    let this = filter("instance-id", id);
    let call = ec2.client.describe_instances().filters(this).send();
    let answer = ec2.call(Action::DescribeInstances, call).await;
    let answer = answer.map_err(Refusal::error)?;
    let described = answer
        .reservations()
        .iter()
        .flat_map(|reservation| reservation.instances())
        .find(|instance| instance.instance_id() == Some(id));
    let missing = |what: &str| {
        let reason = format!("EC2 tells no {what} of instance {id}");
        ProviderError::new(ErrorClass::Fatal, Action::DescribeInstances.label(), reason)
    };
    of_described(id, known, described.ok_or_else(|| missing("state"))?).map_err(missing)
}

fn all_of(id: &str, known: &InstanceOverrides) -> Option<Instance> {
    Some(Instance {
        id: id.to_owned(),
        instance_type: known.instance_type.clone()?,
        zone: known.zone.clone()?,
        subnet: known.subnet.clone()?,
        vpc: known.vpc.clone()?,
        mac: None,
        ipv6: None,
    })
}

/// The error is what EC2 did not tell.
fn of_described(
    id: &str,
    known: &InstanceOverrides,
    described: &Described,
) -> Result<Instance, &'static str> {
    let told = |known: &Option<String>, told: Option<&str>| {
        known.clone().or_else(|| told.map(str::to_owned))
    };
    let kind = described.instance_type().map(|kind| kind.as_str());
    let zone = described.placement().and_then(|p| p.availability_zone());
    let subnet = known.subnet.clone();
    let primary = described.network_interfaces().iter().find(|interface| {
        let attachment = interface.attachment();
        let at = |place: Option<i32>| place.unwrap_or(0) == 0;
        attachment.is_some_and(|a| at(a.device_index()) && at(a.network_card_index()))
    });
    Ok(Instance {
        id: id.to_owned(),
        instance_type: told(&known.instance_type, kind).ok_or("type")?,
        zone: told(&known.zone, zone).ok_or("availability zone")?,
        subnet: subnet
            .or_else(|| described.subnet_id().map(SubnetId::new))
            .ok_or("subnet")?,
        vpc: told(&known.vpc, described.vpc_id()).ok_or("VPC")?,
        mac: primary.and_then(|one| one.mac_address().map(str::to_owned)),
        ipv6: described.ipv6_address().and_then(|text| text.parse().ok()),
    })
}
