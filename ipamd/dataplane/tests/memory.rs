//! The in-memory kernel: the suite that every data plane passes, and its faults.

use std::future::Future;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use veni_dataplane::conformance::{Fixture, Recorder};
use veni_dataplane::memory::{MemoryKernel, NamespaceId, Step};
use veni_dataplane::{
    Bandwidth, DataPlane, DefaultRoute, EndpointPlan, HostPort, KernelError, PodAddress,
};

struct Memory(MemoryKernel, Recorder);

fn in_memory<F: Future<Output = ()>>(test: impl FnOnce(Memory) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let recorder = Recorder::default();
    let kernel = MemoryKernel::new().enforcing(Arc::new(recorder.clone()));
    runtime.block_on(test(Memory(kernel, recorder)));
}

impl Fixture for Memory {
    type Plane = MemoryKernel;
    type Namespace = (OwnedFd, NamespaceId);

    fn plane(&self) -> &MemoryKernel {
        &self.0
    }

    fn enforcement(&self) -> &Recorder {
        &self.1
    }

    fn is_up(&self) -> Box<dyn Fn(u32) -> bool + Send> {
        let kernel = self.0.clone();
        Box::new(move |index| kernel.is_up(index))
    }

    fn delete_link(&self) -> Box<dyn Fn(u32) + Send> {
        let kernel = self.0.clone();
        Box::new(move |index| kernel.delete_link(index))
    }

    fn namespace(&self) -> Self::Namespace {
        self.0.namespace().expect("a namespace")
    }

    fn descriptor(&self, namespace: &Self::Namespace) -> OwnedFd {
        namespace.0.try_clone().expect("a descriptor")
    }

    async fn end(&self, namespace: Self::Namespace, _link_index: u32) {
        self.0.destroy_namespace(namespace.1);
    }

    fn add_foreign_link(&self, namespace: Option<&Self::Namespace>, name: &str) {
        self.0.add_foreign_link(namespace.map(|(_, id)| *id), name);
    }

    fn plug(&self, name: &str, mac: [u8; 6]) {
        self.0.plug(name, mac);
    }

    fn group_and_mtu(&self, name: &str) -> (u32, u32) {
        self.0.group_and_mtu(name).expect("a link")
    }

    fn set_group(&self, name: &str, group: u32) {
        self.0.set_group(name, group);
    }

    fn delete_route(&self, address: IpAddr) {
        self.0.delete_route(address);
    }

    fn delete_host_port(&self, port: &HostPort) {
        self.0.delete_host_port(port);
    }

    fn set_mac(&self, index: u32, mac: [u8; 6]) {
        self.0.set_mac(index, mac);
    }

    fn flush_table(&self, table: u32) {
        self.0.flush_table(table);
    }

    fn add_address(&self, link: &str, address: &str) {
        let address = address.parse().expect("an address");
        self.0.add_address(link, address);
    }

    fn remove_address(&self, link: &str, address: &str) {
        let address = address.parse().expect("an address");
        self.0.remove_address(link, address);
    }

    fn switch_ipv6_on(&self, namespace: &Self::Namespace) {
        self.0.switch_ipv6_on(namespace.1);
    }

    fn pod_rules(&self, namespace: &Self::Namespace) -> usize {
        self.0.pod_rules(namespace.1).len()
    }

    fn rates(&self, host_index: u32) -> (Option<u64>, Option<u64>) {
        self.0.rates(host_index)
    }

    fn delete_qdiscs(&self, index: u32) {
        self.0.delete_qdiscs(index);
    }

    fn index_of(&self, name: &str) -> Option<u32> {
        self.0.index_of(name)
    }

    fn link_count(&self) -> usize {
        self.0.link_names().len()
    }

    fn delete_pod_rules(&self, namespace: &Self::Namespace) {
        self.0.delete_pod_rules(namespace.1);
    }
}

veni_dataplane::conformance_tests!(in_memory);

fn plan() -> EndpointPlan {
    EndpointPlan {
        pod: None,
        pod_link: "eth0".into(),
        host_link: "eni1".into(),
        pod_mac: [0x02, 0, 0, 0, 1, 1],
        host_mac: [0x02, 0, 0, 0, 2, 1],
        mtu: 1400,
        addresses: vec![PodAddress {
            address: "10.0.1.7".parse().expect("an address"),
        }],
        node_addresses: Vec::new(),
        egress: None,
        no_ipv6: false,
        default_route: DefaultRoute::Only,
        bandwidth: Bandwidth::default(),
        port_mappings: Vec::new(),
    }
}

#[test]
fn a_planned_fault_of_any_step_undoes_the_whole_add() {
    for step in [Step::CreatePair, Step::ConfigurePod, Step::ConfigureHost] {
        in_memory(|Memory(kernel, _)| async move {
            let (descriptor, id) = kernel.namespace().expect("a namespace");
            let clone = || descriptor.try_clone().expect("a descriptor");
            kernel.fail(step, 1, ErrorKind::OutOfMemory);
            let error = kernel.add_endpoint(&plan(), Some(clone())).await;
            let error = error.expect_err("the fault");
            assert!(matches!(error, KernelError::Refused { .. }), "{error}");
            assert_eq!(kernel.link_names(), ["eth0"], "{step:?}");
            assert!(kernel.pod_link(id, "eth0").is_none(), "{step:?}");
            assert!(kernel.routes().is_empty(), "{step:?}");
            let again = kernel.add_endpoint(&plan(), Some(clone())).await;
            again.expect("a fault happens once");
            assert_eq!(kernel.taken(step), 2);
        });
    }
}

#[test]
fn an_add_whose_future_is_dropped_is_finished_all_the_same() {
    in_memory(|Memory(kernel, _)| async move {
        let (descriptor, _) = kernel.namespace().expect("a namespace");
        kernel.delay(Step::ConfigurePod, Duration::from_secs(5));
        let (plan, wait) = (plan(), Duration::from_secs(1));
        let adding = kernel.add_endpoint(&plan, Some(descriptor));
        let outcome = tokio::time::timeout(wait, adding).await;
        assert!(outcome.is_err(), "it takes longer than that");
        assert!(kernel.routes().is_empty());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(kernel.routes().len(), 1);
    });
}

#[test]
fn a_namespace_that_ends_during_an_add_is_gone_and_nothing_is_left() {
    in_memory(|Memory(kernel, _)| async move {
        let (descriptor, id) = kernel.namespace().expect("a namespace");
        kernel.delay(Step::ConfigurePod, Duration::from_secs(5));
        let ending = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            kernel.destroy_namespace(id);
        };
        let plan = plan();
        let adding = kernel.add_endpoint(&plan, Some(descriptor));
        let (outcome, ()) = tokio::join!(adding, ending);
        let error = outcome.expect_err("the namespace ended");
        assert!(matches!(error, KernelError::NamespaceGone), "{error}");
        assert_eq!(kernel.link_names(), ["eth0"]);
    });
}

#[test]
fn a_descriptor_that_was_never_registered_is_no_namespace() {
    in_memory(|Memory(kernel, _)| async move {
        let (stranger, _) = MemoryKernel::new().namespace().expect("a descriptor");
        let error = kernel.add_endpoint(&plan(), Some(stranger)).await;
        let error = error.expect_err("no namespace");
        assert!(matches!(error, KernelError::NamespaceGone), "{error}");
    });
}
