//! What an ARM is made of. Plain data.

use std::time::Duration;

use ipnet::Ipv4Net;

use crate::buckets::Buckets;

/// How a caller learns of an operation's end.
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollingStyle {
    /// The header `Azure-AsyncOperation`: its URL answers with a status.
    AsyncOperation,
    /// 202 and the header `Location`: its URL answers 202 until the end.
    Location,
    /// No header: the resource's own `provisioningState` tells.
    ProvisioningState,
}

/// What an ARM is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The subscription's id.
    pub subscription: String,
    /// The resource group of everything.
    pub resource_group: String,
    /// The region.
    pub location: String,
    /// The virtual network's name.
    pub network: String,
    /// Its address space.
    pub address_space: Vec<Ipv4Net>,
    /// Address spaces of networks that it is peered with.
    pub peered: Vec<Ipv4Net>,
    /// Subnets: name and range.
    pub subnets: Vec<(String, Ipv4Net)>,
    /// How long an answer takes.
    pub latency: Duration,
    /// How long a write of a NIC runs.
    pub operation_time: Duration,
    /// The hint of when to ask for an operation again.
    pub retry_after: Duration,
    /// How a caller learns of an operation's end.
    pub polling: PollingStyle,
    /// After the end of the operation that gave it back, an address stays taken for so long.
    pub release_lag: Duration,
    /// Instance metadata shows a change after so long.
    pub metadata_lag: Duration,
    /// Budgets of calls; `None` refuses nobody.
    pub buckets: Option<Buckets>,
    /// Whether all configurations of a NIC show its own state: `Updating` while a write
    /// runs, `Failed` after one that has failed. No document says so, and none says that only
    /// what a write changes does.
    pub all_show_the_nic_s_state: bool,
    /// Whether /28 blocks are to be had at all.
    pub blocks: bool,
    /// How long a token is good for.
    pub token_life: Duration,
    /// Resources on a page of a list.
    pub page: usize,
}

impl Default for Config {
    /// 10.0.0.0/16 with the subnets `nodes-a` and `nodes-b`, and writes that run for two
    /// seconds.
    fn default() -> Self {
        let range =
            |third, length| Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, third, 0), length);
        Self {
            subscription: "5a0e0b7c-4d4e-4f6a-9f0d-000000000001".to_owned(),
            resource_group: "rg".to_owned(),
            location: "westeurope".to_owned(),
            network: "network".to_owned(),
            address_space: vec![range(0, 16)],
            peered: Vec::new(),
            subnets: vec![
                ("nodes-a".to_owned(), range(0, 20)),
                ("nodes-b".to_owned(), range(16, 20)),
            ],
            latency: Duration::from_millis(10),
            operation_time: Duration::from_secs(2),
            retry_after: Duration::from_secs(1),
            polling: PollingStyle::AsyncOperation,
            release_lag: Duration::ZERO,
            metadata_lag: Duration::from_secs(1),
            buckets: None,
            all_show_the_nic_s_state: false,
            blocks: true,
            token_life: Duration::from_secs(86_400),
            page: 50,
        }
    }
}

/// A virtual machine with its NIC.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The machine's name. Its NIC is `<name>-nic`.
    pub name: String,
    /// The subnet of its NIC, by name.
    pub subnet: String,
    /// The machine's size.
    pub size: String,
    /// Application security groups of its primary configuration, by name.
    pub security_groups: Vec<String>,
    /// Client ids of its user-assigned identities; with more than one a token's request
    /// must say which.
    pub identities: Vec<String>,
}

impl NodeConfig {
    /// A machine with one identity and no application security group.
    #[must_use]
    pub fn new(name: &str, subnet: &str) -> Self {
        Self {
            name: name.to_owned(),
            subnet: subnet.to_owned(),
            size: "Standard_D4s_v5".to_owned(),
            security_groups: Vec::new(),
            identities: vec![format!("{name}-identity")],
        }
    }
}
