//! The VPC's own ranges. They can grow while a node runs, so they are asked for
//! again: of instance metadata each time, which costs nothing, and of EC2 now
//! and then where there is no metadata.

use std::time::Duration;

use aws_sdk_ec2::types::VpcCidrBlockStateCode;
use ipnet::IpNet;
use tokio::sync::Mutex;
use tokio::time::Instant;
use veni_provider::{ErrorClass, ProviderError};

use crate::actions::Action;
use crate::ec2::Ec2;
use crate::failure::Refusal;
use crate::identity::{INTERFACES, Instance};
use crate::imds::Metadata;

const FRESH: Duration = Duration::from_secs(600);

/// The ranges, as last told.
#[derive(Debug)]
pub(crate) struct Network {
    /// Set by the operator: never asked for.
    fixed: Vec<IpNet>,
    metadata: Option<Metadata>,
    /// Whether EC2 may be asked.
    ec2: bool,
    told: Mutex<Option<(Instant, Vec<IpNet>)>>,
}

impl Network {
    /// Ranges that are given, or are asked of instance metadata if there is
    /// such a thing, or of EC2 if it may be asked.
    pub(crate) fn new(fixed: Vec<IpNet>, metadata: Option<Metadata>, ec2: bool) -> Self {
        Self {
            fixed,
            metadata,
            ec2,
            told: Mutex::new(None),
        }
    }

    /// The ranges as they are; at most ten minutes old where EC2 has to be asked,
    /// and older if they cannot be had.
    pub(crate) async fn cidrs(
        &self,
        ec2: &Ec2,
        instance: &Instance,
    ) -> Result<Vec<IpNet>, ProviderError> {
        if !self.fixed.is_empty() {
            return Ok(self.fixed.clone());
        }
        let mut told = self.told.lock().await;
        let now = Instant::now();
        let free = self.metadata.is_some() && instance.mac.is_some();
        if let Some((at, cidrs)) = &*told
            && !free
            && now < *at + FRESH
        {
            return Ok(cidrs.clone());
        }
        match (self.ask(ec2, instance).await, &*told) {
            (Ok(cidrs), _) => {
                *told = Some((now, cidrs.clone()));
                Ok(cidrs)
            }
            (Err(error), Some((_, old))) => {
                tracing::warn!(%error, "failed to refresh the ranges of the vpc");
                Ok(old.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn ask(&self, ec2: &Ec2, instance: &Instance) -> Result<Vec<IpNet>, ProviderError> {
        if let (Some(metadata), Some(mac)) = (&self.metadata, &instance.mac) {
            match of_metadata(metadata, mac).await {
                Ok(cidrs) if !cidrs.is_empty() => return Ok(cidrs),
                Err(error) if !self.ec2 => return Err(error),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "instance metadata tells no ranges"),
            }
        }
        if !self.ec2 {
            let reason = "instance metadata tells no ranges of the VPC";
            let operation = "instance metadata";
            return Err(ProviderError::new(ErrorClass::Transient, operation, reason));
        }
        of_ec2(ec2, &instance.vpc).await
    }
}

async fn of_metadata(metadata: &Metadata, mac: &str) -> Result<Vec<IpNet>, ProviderError> {
    let path = |what: &str| format!("{INTERFACES}{mac}/{what}");
    let ipv4 = metadata.required(&path("vpc-ipv4-cidr-blocks")).await?;
    // A VPC without IPv6 has no such path.
    let ipv6 = metadata.optional(&path("vpc-ipv6-cidr-blocks")).await?;
    let all = format!("{ipv4}\n{}", ipv6.unwrap_or_default());
    Ok(all
        .split_whitespace()
        .filter_map(|text| text.parse().ok())
        .collect())
}

async fn of_ec2(ec2: &Ec2, vpc: &str) -> Result<Vec<IpNet>, ProviderError> {
    let call = ec2.client.describe_vpcs().vpc_ids(vpc).send();
    let answer = ec2.call(Action::DescribeVpcs, call).await;
    let answer = answer.map_err(Refusal::error)?;
    let mut cidrs: Vec<IpNet> = Vec::new();
    for described in answer.vpcs() {
        let ipv4 = described.cidr_block_association_set().iter();
        let ipv4 = ipv4.filter(|association| {
            let state = association
                .cidr_block_state()
                .and_then(|state| state.state());
            state.is_none_or(|state| *state == VpcCidrBlockStateCode::Associated)
        });
        let ipv6 = described.ipv6_cidr_block_association_set().iter();
        let ipv6 = ipv6.filter(|association| {
            let state = association
                .ipv6_cidr_block_state()
                .and_then(|state| state.state());
            state.is_none_or(|state| *state == VpcCidrBlockStateCode::Associated)
        });
        let texts = described
            .cidr_block()
            .into_iter()
            .chain(ipv4.filter_map(|association| association.cidr_block()))
            .chain(ipv6.filter_map(|association| association.ipv6_cidr_block()));
        for cidr in texts.filter_map(|text| text.parse().ok()) {
            if !cidrs.contains(&cidr) {
                cidrs.push(cidr);
            }
        }
    }
    if cidrs.is_empty() {
        let reason = format!("EC2 tells no ranges of {vpc}");
        let operation = Action::DescribeVpcs.label();
        return Err(ProviderError::new(ErrorClass::Transient, operation, reason));
    }
    Ok(cidrs)
}
