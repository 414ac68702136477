//! The suite that every data plane passes, on the real kernel.

use std::future::Future;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use veni_dataplane::Kernel;
use veni_dataplane::conformance::Fixture;
use veni_dataplane::plan::POD_TABLE;

use crate::world::{Namespace, in_new_node, ip, ip_json, plug, text};

struct Real {
    kernel: Kernel,
    /// Where the other ends of the cloud's interfaces are.
    cloud: Namespace,
}

fn on_the_real_kernel<F: Future<Output = ()>>(test: impl FnOnce(Real) -> F + Send + 'static) {
    in_new_node(|| {
        test(Real {
            kernel: Kernel::try_new().expect("sockets"),
            cloud: Namespace::new(),
        })
    });
}

impl Fixture for Real {
    type Plane = Kernel;
    type Namespace = Namespace;

    fn plane(&self) -> &Kernel {
        &self.kernel
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
        while ip_json("link show")
            .iter()
            .any(|link| link["ifindex"] == link_index)
        {
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

    fn set_mac(&self, index: u32, mac: [u8; 6]) {
        let mut links = ip_json("link show").into_iter();
        let link = links.find(|link| link["ifindex"] == index);
        let name = link.expect("the link is there")["ifname"].clone();
        let name = name.as_str().expect("a name");
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

    fn delete_pod_rules(&self, namespace: &Namespace) {
        for family in ["-4", "-6"] {
            for _ in namespace.ip_json(&format!("{family} rule show priority 1536")) {
                namespace.ip(&format!("{family} rule del priority 1536"));
            }
        }
    }
}

veni_dataplane::conformance_tests!(on_the_real_kernel);
