//! What a mock cloud is made of: its profile, network, latencies, lag, limits
//! of calls and faults. Plain data, serialisable, checked by
//! [`crate::MockCloud::new`].

mod latency;
mod network;
mod node;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use veni_provider::{Capabilities, Operation, SourceRouting};

use crate::faults::Fault;

pub use latency::{Latencies, Latency};
pub use network::{DEFAULT_SECURITY_GROUP, Peer, SecurityGroup, SecurityRule, SubnetConfig};
pub use node::{ExistingInterface, NodeConfig};

/// Whose rules the cloud follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Interfaces come and go while a node runs; few slots on each.
    Aws,
    /// Interfaces are fixed; 256 slots on each; slow changes; one subnet.
    Azure,
}

impl Profile {
    /// What a cloud of this profile can do.
    pub fn capabilities(self, settle_time: Duration) -> Capabilities {
        match self {
            Self::Aws => Capabilities {
                attach_while_running: true,
                ipv4_prefixes: true,
                ipv6_prefixes: true,
                ipv6_addresses: true,
                source_routing: SourceRouting::BySource,
                release: true,
                batch: 50,
                lists_own_alone: false,
                settle_time,
            },
            Self::Azure => Capabilities {
                attach_while_running: false,
                ipv4_prefixes: true,
                ipv6_prefixes: false,
                ipv6_addresses: true,
                source_routing: SourceRouting::None,
                release: true,
                batch: 256,
                lists_own_alone: false,
                settle_time,
            },
        }
    }

    /// The cloud's own name of an operation, as errors carry it.
    pub fn operation_name(self, operation: Operation) -> &'static str {
        match (self, operation) {
            (Self::Aws, Operation::Node) => "DescribeInstances",
            (Self::Aws, Operation::Inventory) => "DescribeNetworkInterfaces",
            (Self::Aws, Operation::AttachInterface) => "CreateNetworkInterface",
            (Self::Aws, Operation::DetachInterface) => "DeleteNetworkInterface",
            (Self::Aws, Operation::Assign) => "AssignPrivateIpAddresses",
            (Self::Aws, Operation::Release) => "UnassignPrivateIpAddresses",
            (Self::Azure, Operation::Node) => "VirtualMachines_Get",
            (Self::Azure, Operation::Inventory) => "NetworkInterfaces_Get",
            (Self::Azure, Operation::DetachInterface) => "NetworkInterfaces_Delete",
            (Self::Azure, _) => "NetworkInterfaces_CreateOrUpdate",
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Calls that pass at once when it is full.
    pub burst: u32,
    /// Calls per second that it refills by.
    pub per_second: f64,
}

/// The account's budget of calls, shared by all its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Throttle {
    /// The bucket of reads.
    pub reads: Bucket,
    /// The bucket of changes.
    pub writes: Bucket,
}

/// Which of the free addresses is given out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocationOrder {
    /// Any, by seed: what clouds do, and what fragments subnets.
    Random,
    /// The lowest free one: tests can name it in advance.
    LowestFirst,
}

/// What happens when a subnet or an interface has less room than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// The call fails and changes nothing: what AWS and Azure do.
    AllOrNothing,
    /// It gives what is there.
    Partial,
}

/// What a mock cloud is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudConfig {
    /// Whose rules it follows.
    pub profile: Profile,
    /// Everything random follows from it.
    pub seed: u64,
    /// Order of allocation.
    pub order: AllocationOrder,
    /// Behaviour on a shortage.
    pub shortage: Shortage,
    /// Time per operation.
    pub latency: Latencies,
    /// How long each change takes to show in the inventory.
    pub consistency_delay: Latency,
    /// What is promised as [`Capabilities::settle_time`].
    pub settle_time: Duration,
    /// How long the cloud works on a change that it has accepted
    /// ([`veni_provider::Provider::begin`]). `None`: a change is made when its call ends.
    pub long_changes: Option<Duration>,
    /// Budget of calls; `None` is without end.
    pub throttle: Option<Throttle>,
    /// Faults from the start on.
    pub faults: Vec<Fault>,
    /// Ranges of the network.
    pub vpc_cidrs: Vec<IpNet>,
    /// Subnets, one or more.
    pub subnets: Vec<SubnetConfig>,
    /// Security groups; [`DEFAULT_SECURITY_GROUP`] is among them.
    pub security_groups: Vec<SecurityGroup>,
    /// Addresses of hosts outside of the network that its nodes can reach,
    /// translated to their own address.
    pub internet: Vec<IpAddr>,
}

impl CloudConfig {
    /// AWS-like: 10.0.0.0/16 with one /20 in each of two zones.
    pub fn aws() -> Self {
        Self::of_profile(Profile::Aws)
    }

    /// Azure-like: 10.0.0.0/16 with two /20.
    pub fn azure() -> Self {
        Self::of_profile(Profile::Azure)
    }

    /// With a profile's usual latencies, lag and budget.
    pub fn of_profile(profile: Profile) -> Self {
        let range =
            |third, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, third, 0), length));
        let (consistency_delay, settle_time, throttle) = match profile {
            Profile::Aws => (
                Latency::millis(50, 400, 3_000),
                Duration::from_secs(5),
                Throttle {
                    reads: Bucket {
                        burst: 100,
                        per_second: 20.0,
                    },
                    writes: Bucket {
                        burst: 50,
                        per_second: 5.0,
                    },
                },
            ),
            Profile::Azure => (
                Latency::millis(0, 100, 1_000),
                Duration::from_secs(3),
                Throttle {
                    reads: Bucket {
                        burst: 250,
                        per_second: 25.0,
                    },
                    writes: Bucket {
                        burst: 200,
                        per_second: 10.0,
                    },
                },
            ),
        };
        Self {
            profile,
            seed: 1,
            order: AllocationOrder::Random,
            shortage: Shortage::AllOrNothing,
            latency: Latencies::of_profile(profile),
            consistency_delay,
            settle_time,
            long_changes: None,
            throttle: Some(throttle),
            faults: Vec::new(),
            vpc_cidrs: vec![range(0, 16)],
            subnets: vec![
                SubnetConfig::new("subnet-a", "zone-a", [range(0, 20)]),
                SubnetConfig::new("subnet-b", "zone-b", [range(16, 20)]),
            ],
            security_groups: vec![SecurityGroup::default_group()],
            internet: vec![IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10))],
        }
    }

    /// Without latency, lag and budget: for tests of other things.
    #[must_use]
    pub fn instant(mut self) -> Self {
        self.latency = Latencies::all(Latency::ZERO);
        self.consistency_delay = Latency::ZERO;
        self.settle_time = Duration::ZERO;
        self.throttle = None;
        self
    }

    /// With another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
