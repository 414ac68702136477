//! The suite that every data plane passes, on the real kernel.

use std::future::Future;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use veni_dataplane::conformance::{Fixture, Recorder};
use veni_dataplane::plan::POD_TABLE;
use veni_dataplane::{HostPort, Kernel};

use crate::world::{Namespace, in_new_node, ip, ip_json, nft, plug, tc, text};

struct Real {
    kernel: Kernel,
    enforcement: Recorder,
    /// Where the other ends of the cloud's interfaces are.
    cloud: Namespace,
}

fn on_the_real_kernel<F: Future<Output = ()>>(test: impl FnOnce(Real) -> F + Send + 'static) {
    in_new_node(|| {
        let enforcement = Recorder::default();
        let kernel = Kernel::try_enforcing(Arc::new(enforcement.clone()));
        test(Real {
            kernel: kernel.expect("sockets"),
            enforcement,
            cloud: Namespace::new(),
        })
    });
}

/// A link of the node that the caller's thread is in.
fn link(index: u32) -> Option<Value> {
    let mut links = ip_json("link show").into_iter();
    links.find(|link| link["ifindex"] == index)
}

fn name(index: u32) -> String {
    text(&link(index).expect("the link is there")["ifname"])
}

/// Bits a second of a link's token bucket.
fn rate(link: &str) -> Option<u64> {
    let qdiscs = tc(&format!("-j qdisc show dev {link} root")).expect("listed");
    let bucket = qdiscs.iter().find(|qdisc| qdisc["kind"] == "tbf")?;
    Some(bucket["options"]["rate"].as_u64()? * 8)
}

/// The link that everything from a link is redirected to, if that is there and up.
fn redirected_to(link: &str) -> Option<String> {
    let filters = tc(&format!("-j filter show dev {link} ingress")).unwrap_or_default();
    let actions = |filter: &Value| {
        filter["options"]["actions"][0]["to_dev"]
            .as_str()
            .map(str::to_owned)
    };
    let to = filters.iter().find_map(actions)?;
    let links = ip_json("link show up").into_iter();
    let mut names = links.map(|link| text(&link["ifname"]));
    names.any(|name| name == to).then_some(to)
}

impl Fixture for Real {
    type Plane = Kernel;
    type Namespace = Namespace;

    fn plane(&self) -> &Kernel {
        &self.kernel
    }

    fn enforcement(&self) -> &Recorder {
        &self.enforcement
    }

    fn is_up(&self) -> Box<dyn Fn(u32) -> bool + Send> {
        Box::new(|index| {
            link(index).is_some_and(|link| link["flags"].to_string().contains("\"UP\""))
        })
    }

    fn delete_link(&self) -> Box<dyn Fn(u32) + Send> {
        Box::new(|index| ip(&format!("link delete {}", name(index))))
    }

    fn namespace(&self) -> Namespace {
        Namespace::new()
    }

    fn descriptor(&self, namespace: &Namespace) -> OwnedFd {
        namespace.descriptor()
    }

    async fn end(&self, namespace: Namespace, link_index: u32) {
        drop(namespace);
        // The kernel takes a namespace down in its own time and tells nobody.
        while link(link_index).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn add_foreign_link(&self, namespace: Option<&Namespace>, name: &str) {
        let command = format!("link add {name} type veth peer name {name}-other");
        match namespace {
            None => ip(&command),
            Some(namespace) => namespace.ip(&command),
        }
    }

    fn plug(&self, name: &str, mac: [u8; 6]) {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        plug(name, &mac, &self.cloud, &format!("to-{name}"));
    }

    fn group_and_mtu(&self, name: &str) -> (u32, u32) {
        let link = &ip_json(&format!("-N -d link show {name}"))[0];
        let group = text(&link["group"]).parse().expect("a number");
        let mtu = link["mtu"].as_u64().expect("a number");
        (group, u32::try_from(mtu).expect("a number"))
    }

    fn set_group(&self, name: &str, group: u32) {
        ip(&format!("link set {name} group {group}"));
    }

    fn delete_route(&self, address: IpAddr) {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        ip(&format!(
            "{family} route delete {address} table {POD_TABLE}"
        ));
    }

    fn delete_host_port(&self, port: &HostPort) {
        let family = if port.pod.is_ipv4() { "v4" } else { "v6" };
        let (protocol, number) = (port.protocol, port.port);
        nft(&match port.host {
            None => format!(
                "delete element inet veni_host_ports all_{family} {{ {protocol} . {number} }}"
            ),
            Some(host) => format!(
                "delete element inet veni_host_ports one_{family} \
                 {{ {host} . {protocol} . {number} }}"
            ),
        });
    }

    fn set_mac(&self, index: u32, mac: [u8; 6]) {
        let name = name(index);
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        ip(&format!("link set {name} address {mac}"));
    }

    fn flush_table(&self, table: u32) {
        ip(&format!("route flush table {table}"));
        for rule in ip_json("rule show") {
            if rule["table"] == *table.to_string() {
                ip(&format!("rule delete priority {}", rule["priority"]));
            }
        }
    }

    fn add_address(&self, link: &str, address: &str) {
        ip(&format!("address add {address} dev {link}"));
    }

    fn remove_address(&self, link: &str, address: &str) {
        ip(&format!("address delete {address} dev {link}"));
    }

    fn switch_ipv6_on(&self, namespace: &Namespace) {
        namespace.within(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0").expect("a setting");
        });
    }

    fn pod_rules(&self, namespace: &Namespace) -> usize {
        let rules = |family: &str| namespace.ip_json(&format!("{family} rule show priority 1536"));
        rules("-4").len() + rules("-6").len()
    }

    fn rates(&self, host_index: u32) -> (Option<u64>, Option<u64>) {
        let host = name(host_index);
        let ifb = redirected_to(&host);
        (rate(&host), ifb.and_then(|ifb| rate(&ifb)))
    }

    fn delete_qdiscs(&self, index: u32) {
        let name = name(index);
        for qdisc in ["root", "clsact"] {
            // What is not there cannot be deleted.
            drop(tc(&format!("qdisc delete dev {name} {qdisc}")));
        }
    }

    fn index_of(&self, name: &str) -> Option<u32> {
        let mut links = ip_json("link show").into_iter();
        let link = links.find(|link| link["ifname"] == *name)?;
        u32::try_from(link["ifindex"].as_u64()?).ok()
    }

    fn link_count(&self) -> usize {
        ip_json("link show").len()
    }

    fn delete_pod_rules(&self, namespace: &Namespace) {
        for family in ["-4", "-6"] {
            for _ in namespace.ip_json(&format!("{family} rule show priority 1536")) {
                namespace.ip(&format!("{family} rule del priority 1536"));
            }
        }
    }
}

veni_dataplane::conformance_tests!(on_the_real_kernel);
