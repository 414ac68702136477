//! Who this node is: its instance id by instance metadata, the rest by one
//! Describe. What the settings tell is not asked for.

use std::net::IpAddr;

use aws_config::imds;
use aws_sdk_ec2::types::Instance as Described;
use veni_provider::{ErrorClass, ProviderError, SubnetId};

use crate::actions::Action;
use crate::ec2::Ec2;
use crate::failure::Refusal;
use crate::settings::{AwsSettings, InstanceOverrides};

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
/// The operation that errors of instance metadata name.
const METADATA: &str = "instance metadata";

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
    /// The node's own IPv6 address.
    pub(crate) ipv6: Option<IpAddr>,
}

/// Asks instance metadata for a text; tokens are fetched and renewed by the
/// client.
pub(crate) async fn metadata(client: &imds::Client, path: &str) -> Result<String, ProviderError> {
    let answer = client.get(path).await;
    answer.map(String::from).map_err(|error| {
        let mut reason = format!("failed to read {path}: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            reason.push_str(&format!(": {error}"));
            source = error.source();
        }
        ProviderError::new(ErrorClass::Transient, METADATA, reason)
    })
}

/// The own instance, asked for as far as the settings do not tell it.
pub(crate) async fn instance(
    ec2: &Ec2,
    settings: &AwsSettings,
    client: &imds::Client,
) -> Result<Instance, ProviderError> {
    let known = &settings.instance;
    let id = match &known.instance_id {
        Some(id) => id.clone(),
        None => metadata(client, INSTANCE_ID).await?.trim().to_owned(),
    };
    if let Some(whole) = all_of(&id, known) {
        return Ok(whole);
    }
    let call = ec2.client.describe_instances().instance_ids(&id).send();
    let answer = ec2.call(Action::DescribeInstances, call).await;
    let answer = answer.map_err(Refusal::error)?;
    let described = answer
        .reservations()
        .iter()
        .flat_map(|reservation| reservation.instances())
        .find(|instance| instance.instance_id() == Some(&id));
    let missing = |what: &str| {
        let reason = format!("EC2 tells no {what} of instance {id}");
        ProviderError::new(ErrorClass::Fatal, Action::DescribeInstances.label(), reason)
    };
    of_described(&id, known, described.ok_or_else(|| missing("state"))?).map_err(missing)
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
