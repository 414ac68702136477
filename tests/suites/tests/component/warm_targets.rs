//! The AWS plugin's warm targets through the whole daemon: what a node holds
//! with so many pods, against the plugin's published formulas, written here a
//! second time.

use std::sync::Arc;
use std::time::Duration;

use veni_provider::Limits;
use veni_provider_mock::{CloudConfig, NodeConfig};

use crate::daemon::Daemon;
use crate::world::{Holdings, INSTANCE, SUBNET, Settings, World};

/// An instance type as EC2 describes it, and the most pods it gets by default.
#[derive(Clone, Copy)]
struct Type {
    name: &'static str,
    interfaces: u32,
    addresses: u32,
    vcpus: u32,
}

const T3_SMALL: Type = Type {
    name: "t3.small",
    interfaces: 3,
    addresses: 4,
    vcpus: 2,
};
const M5_LARGE: Type = Type {
    name: "m5.large",
    interfaces: 3,
    addresses: 10,
    vcpus: 2,
};
const M5_16XLARGE: Type = Type {
    name: "m5.16xlarge",
    interfaces: 15,
    addresses: 50,
    vcpus: 64,
};
const P3DN_24XLARGE: Type = Type {
    name: "p3dn.24xlarge",
    interfaces: 15,
    addresses: 50,
    vcpus: 96,
};

/// What an operator has set; 0 is "not set" as the plugin has it.
#[derive(Debug, Clone, Copy, Default)]
struct Warm {
    prefixes: bool,
    eni: u32,
    ip: u32,
    minimum: u32,
    prefix: u32,
}

impl Warm {
    fn settings(self, max_pods: u32) -> Vec<(&'static str, String)> {
        vec![
            ("ENABLE_PREFIX_DELEGATION", self.prefixes.to_string()),
            ("WARM_ENI_TARGET", self.eni.to_string()),
            ("WARM_IP_TARGET", self.ip.to_string()),
            ("MINIMUM_IP_TARGET", self.minimum.to_string()),
            ("WARM_PREFIX_TARGET", self.prefix.to_string()),
            ("MAX_PODS", max_pods.to_string()),
            ("IP_COOLDOWN_PERIOD", "1".to_owned()),
            ("VENI_RELEASE_DELAY", "5".to_owned()),
        ]
    }

    /// What the node holds when everything has settled.
    fn expected(self, machine: Type, max_pods: u32, pods: u32) -> Holdings {
        // The interface's own address is not for pods.
        let slots = machine.addresses - 1;
        let unit = if self.prefixes { 16 } else { 1 };
        let units = if self.ip > 0 || self.minimum > 0 {
            // short = max(WARM_IP − available, MINIMUM_IP − total, 0), and what is
            // over goes back: total = max(pods + WARM_IP, MINIMUM_IP), in whole units.
            (pods + self.ip).max(self.minimum).div_ceil(unit)
        } else if self.prefixes {
            // Too low while available < WARM_PREFIX × 16; free prefixes beyond
            // WARM_PREFIX go back.
            (pods + self.prefix * 16).div_ceil(16)
        } else {
            // Too low while available < WARM_ENI × N, or is 0; whole interfaces only.
            (pods + (self.eni * slots).max(1)).div_ceil(slots) * slots
        };
        // Too low is never said when total ≥ max pods. The plugin may overshoot by
        // a unit of its calls, Veni stops at the unit that reaches it.
        let units = units
            .min(max_pods.div_ceil(unit))
            .min(machine.interfaces * slots);
        let interfaces = units.div_ceil(slots).max(1);
        let (addresses, prefixes) = if self.prefixes {
            (0, units)
        } else {
            (units, 0)
        };
        Holdings {
            interfaces: interfaces as usize,
            addresses: addresses as usize,
            prefixes: prefixes as usize,
        }
    }
}

fn world_of(machine: Type) -> Arc<World> {
    let node = NodeConfig::new(INSTANCE, machine.name, SUBNET).limits(Limits {
        interfaces: machine.interfaces,
        ipv4_per_interface: machine.addresses,
        ipv6_per_interface: machine.addresses,
        vcpus: machine.vcpus,
    });
    World::with_node(CloudConfig::aws().instant(), node)
}

/// A pod of the row; all share one namespace.
fn pod(number: u32) -> String {
    format!("pods.{number}:eth{number}")
}

async fn scale(daemon: &Daemon, from: u32, to: u32) {
    if to >= from {
        daemon.add_all((from..to).map(pod)).await;
        daemon.settle_for(Duration::from_secs(3)).await;
    } else {
        let dels = (to..from)
            .rev()
            .map(|number| async move { daemon.del(&pod(number)).await });
        futures::future::join_all(dels).await;
        // Whole interfaces go when they are a minute old.
        daemon.settle_for(Duration::from_secs(90)).await;
    }
}

/// Pods go through these counts; after each the node holds what the formulas say.
async fn row(machine: Type, max_pods: u32, warm: Warm, steps: &[u32]) {
    let world = world_of(machine);
    let settings = warm.settings(max_pods);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let settings: Settings<'_> = &settings;
    let daemon = world.start(settings).await;
    daemon.settle_for(Duration::from_secs(3)).await;
    let mut now = 0;
    for pods in steps.iter().copied() {
        scale(&daemon, now, pods).await;
        now = pods;
        let expected = warm.expected(machine, max_pods, pods);
        let told = daemon.explanation().await;
        let name = machine.name;
        assert_eq!(
            world.holdings(),
            expected,
            "{name}, {pods} pods, {warm:?}\n{told}"
        );
    }
    daemon.check().await;
}

/// Every number of pods from none to the most and back.
fn up_and_down(most: u32) -> Vec<u32> {
    (0..=most).chain((0..most).rev()).collect()
}

const fn eni(eni: u32) -> Warm {
    Warm {
        eni,
        prefixes: false,
        ip: 0,
        minimum: 0,
        prefix: 0,
    }
}

const fn ip(ip: u32, minimum: u32) -> Warm {
    Warm {
        ip,
        minimum,
        prefixes: false,
        eni: 1,
        prefix: 0,
    }
}

const fn prefix(prefix: u32) -> Warm {
    Warm {
        prefix,
        prefixes: true,
        eni: 1,
        ip: 0,
        minimum: 0,
    }
}

const fn prefix_ip(ip: u32, minimum: u32) -> Warm {
    Warm {
        ip,
        minimum,
        prefixes: true,
        eni: 1,
        prefix: 1,
    }
}

#[tokio::test(start_paused = true)]
async fn single_addresses_on_t3_small() {
    for warm in [
        eni(0),
        eni(1),
        eni(2),
        ip(1, 0),
        ip(2, 0),
        ip(2, 5),
        ip(5, 0),
        ip(5, 10),
        ip(0, 4),
    ] {
        row(T3_SMALL, 11, warm, &up_and_down(9)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn prefixes_on_t3_small() {
    let steps = [0, 1, 15, 16, 17, 40, 100, 110, 50, 0];
    for warm in [
        prefix(1),
        prefix(2),
        prefix_ip(5, 0),
        prefix_ip(16, 0),
        prefix_ip(2, 20),
        prefix_ip(7, 20),
        prefix_ip(7, 40),
    ] {
        row(T3_SMALL, 110, warm, &steps).await;
    }
}

#[tokio::test(start_paused = true)]
async fn single_addresses_on_m5_large() {
    for warm in [
        eni(0),
        eni(1),
        eni(2),
        ip(1, 1),
        ip(2, 8),
        ip(5, 10),
        ip(30, 1),
        ip(7, 20),
    ] {
        row(M5_LARGE, 29, warm, &up_and_down(27)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn prefixes_on_m5_large() {
    let steps = [0, 7, 16, 33, 80, 110, 64, 0];
    for warm in [
        prefix(1),
        prefix(3),
        prefix_ip(1, 0),
        prefix_ip(17, 0),
        prefix_ip(20, 64),
    ] {
        row(M5_LARGE, 110, warm, &steps).await;
    }
}

#[tokio::test(start_paused = true)]
async fn single_addresses_on_m5_16xlarge() {
    row(M5_16XLARGE, 250, eni(1), &[0, 60, 250, 20, 0]).await;
    row(M5_16XLARGE, 737, ip(5, 100), &[0, 98, 400, 730, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn prefixes_on_m5_16xlarge() {
    row(M5_16XLARGE, 250, prefix(1), &[0, 15, 130, 250, 60, 0]).await;
    row(M5_16XLARGE, 737, prefix_ip(10, 50), &[0, 41, 300, 737, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn single_addresses_on_p3dn_24xlarge() {
    row(P3DN_24XLARGE, 250, ip(2, 10), &[0, 50, 248, 100, 0]).await;
    row(P3DN_24XLARGE, 737, eni(2), &[0, 49, 148, 735, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn prefixes_on_p3dn_24xlarge() {
    row(P3DN_24XLARGE, 250, prefix(4), &[0, 1, 180, 250, 0]).await;
    row(P3DN_24XLARGE, 250, prefix_ip(1, 64), &[0, 63, 64, 249, 0]).await;
}
