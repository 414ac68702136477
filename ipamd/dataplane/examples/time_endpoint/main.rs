//! How long the kernel's part of an ADD and of a DEL takes.
//!
//! `cargo run --example time_endpoint -p veni-dataplane -- [COUNT] [4|6|46][b]`
//! makes and removes COUNT pods one by one in a network namespace of its own, looks at
//! each with `ip`, then likewise with and without a port of the node in turns, then makes
//! COUNT at once, then COUNT one after the other. Prints medians. With `b` each pod has
//! limits of its bandwidth.

#![expect(clippy::print_stdout, reason = "for one person, at a terminal")]

mod sys;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use veni_dataplane::plan::{PRIMARY_MARK, SourceNatPorts};
use veni_dataplane::{
    Bandwidth, DataPlane, DefaultRoute, EndpointLinks, EndpointPlan, Kernel, Limit, NodePlan,
    PodAddress, PortMapping, PortProtocol,
};

type Failure = Box<dyn std::error::Error>;

fn plan(number: u16, families: &str) -> EndpointPlan {
    let [high, low] = number.to_be_bytes();
    let mut addresses = Vec::new();
    if families.contains('4') {
        addresses.push(IpAddr::from(Ipv4Addr::new(10, 0, high, low)));
    }
    if families.contains('6') {
        addresses.push(IpAddr::from(Ipv6Addr::new(
            0xfd00, 0, 0, 0, 0, 0, 1, number,
        )));
    }
    let limit = families.contains('b').then_some(Limit {
        rate: 1_000_000_000,
        burst: 0,
    });
    EndpointPlan {
        pod: None,
        pod_link: "eth0".into(),
        host_link: format!("time{number}"),
        pod_mac: [2, 1, 0, 0, high, low],
        host_mac: [2, 2, 0, 0, high, low],
        mtu: 9001,
        addresses: addresses
            .into_iter()
            .map(|address| PodAddress { address })
            .collect(),
        node_addresses: Vec::new(),
        egress: None,
        no_ipv6: false,
        default_route: DefaultRoute::Only,
        bandwidth: Bandwidth {
            to_pod: limit,
            from_pod: limit,
        },
        port_mappings: Vec::new(),
    }
}

/// The plan with a port of the node of its own.
fn with_port(plan: EndpointPlan, number: u16) -> EndpointPlan {
    EndpointPlan {
        port_mappings: vec![PortMapping {
            protocol: PortProtocol::Tcp,
            host_port: 20_000 + number,
            pod_port: 80,
            host_address: None,
        }],
        ..plan
    }
}

/// Makes the table for ports of the node.
async fn prepare(kernel: &Kernel) -> Result<(), Failure> {
    let mac = [2, 0, 0, 0, 0, 0x10];
    let made = Command::new("ip")
        .args(["link", "add", "primary", "address", "02:00:00:00:00:10"])
        .args(["type", "veth", "peer", "name", "wire"])
        .status()?;
    if !made.success() {
        return Err("the primary interface cannot be made".into());
    }
    let plan = NodePlan {
        primary_mac: mac,
        primary_gateways: Vec::new(),
        primary_mtu: None,
        node_v4: Some(Ipv4Addr::new(10, 255, 0, 1)),
        node_v6: None,
        untranslated: Vec::new(),
        source_nat: true,
        source_nat_ports: SourceNatPorts::default(),
        node_ports: true,
        mark: PRIMARY_MARK,
        external_services: Vec::new(),
        no_tcp_early_demux: false,
        egress: None,
        closed_to_pods: Vec::new(),
        veth_prefix: "time".into(),
    };
    kernel.prepare_node(&plan).await?;
    Ok(())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{what:28} min {:>9.3?} p50 {:>9.3?} p90 {:>9.3?} max {:>9.3?}",
        at(0),
        at(50),
        at(90),
        at(100)
    );
}

fn verify(namespace: &OwnedFd, plan: &EndpointPlan) -> Result<(), Failure> {
    let path = format!(
        "--net=/proc/{}/fd/{}",
        std::process::id(),
        namespace.as_raw_fd()
    );
    let shown = Command::new("nsenter")
        .args([&path, "ip", "-j", "address", "show", "eth0"])
        .output()?;
    let text = String::from_utf8(shown.stdout)?;
    for pod in &plan.addresses {
        if !text.contains(&pod.address.to_string()) {
            return Err(format!("{} is not in the pod: {text}", pod.address).into());
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    sys::leave_network()?;
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let count: u16 = std::env::args()
        .nth(1)
        .map_or(Ok(200), |text| text.parse())?;
    let families = std::env::args().nth(2).unwrap_or_else(|| "4".into());
    let kernel = Arc::new(Kernel::try_new()?);
    let namespaces: Result<Vec<OwnedFd>, _> = (0..count).map(|_| sys::new_namespace()).collect();
    let namespaces = namespaces?;

    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    for (number, namespace) in (0..count).zip(&namespaces) {
        let plan = plan(number, &families);
        let descriptor = namespace.try_clone()?;
        let start = Instant::now();
        let links = kernel.add_endpoint(&plan, Some(descriptor)).await?;
        adds.push(start.elapsed());
        verify(namespace, &plan)?;
        let start = Instant::now();
        remove(&kernel, &plan, &links).await?;
        removes.push(start.elapsed());
        kernel.reap(&[links.host_index]).await?;
    }
    report("add, one at a time", adds);
    report("remove, one at a time", removes);

    prepare(&kernel).await?;
    let (mut adds, mut removes) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for (number, namespace) in (0..count).zip(&namespaces) {
        for ports in [0, 1] {
            let mut plan = plan(number, &families);
            if ports == 1 {
                plan = with_port(plan, number);
            }
            let descriptor = namespace.try_clone()?;
            let start = Instant::now();
            let links = kernel.add_endpoint(&plan, Some(descriptor)).await?;
            adds[ports].push(start.elapsed());
            let start = Instant::now();
            remove(&kernel, &plan, &links).await?;
            removes[ports].push(start.elapsed());
            kernel.reap(&[links.host_index]).await?;
        }
    }
    for (what, [without, with]) in [("add", adds), ("remove", removes)] {
        report(&format!("{what}, without a port"), without);
        report(&format!("{what}, with one"), with);
    }

    let start = Instant::now();
    let mut tasks = Vec::new();
    for (number, namespace) in (0..count).zip(&namespaces) {
        let (kernel, descriptor) = (Arc::clone(&kernel), namespace.try_clone()?);
        let plan = plan(number, &families);
        tasks.push(tokio::spawn(async move {
            let links = kernel.add_endpoint(&plan, Some(descriptor)).await;
            (plan, links)
        }));
    }
    let mut made = Vec::new();
    for task in tasks {
        let (plan, links) = task.await?;
        made.push((plan, links?));
    }
    let each = start.elapsed() / u32::from(count);
    println!("{count} at once: {each:.3?} each");
    remove_all(&kernel, &made).await?;

    let mut made = Vec::new();
    let mut adds = Vec::new();
    for (number, namespace) in (0..count).zip(&namespaces) {
        let plan = plan(number, &families);
        let descriptor = namespace.try_clone()?;
        let start = Instant::now();
        let links = kernel.add_endpoint(&plan, Some(descriptor)).await?;
        adds.push(start.elapsed());
        made.push((plan, links));
    }
    let last = adds.split_off(adds.len() - adds.len().div_ceil(10));
    adds.truncate(last.len());
    report("add, the first tenth", adds);
    report("add, the last tenth", last);
    remove_all(&kernel, &made).await
}

/// As the daemon does it: limits go only where there are some.
async fn remove(
    kernel: &Kernel,
    plan: &EndpointPlan,
    links: &EndpointLinks,
) -> Result<(), Failure> {
    let index = links.host_index;
    let ports = plan.host_ports();
    kernel
        .remove_endpoint(&plan.addresses, &ports, Some(index))
        .await?;
    if plan.bandwidth.from_pod.is_some() {
        kernel.remove_limits(index).await?;
    }
    Ok(())
}

async fn remove_all(
    kernel: &Kernel,
    made: &[(EndpointPlan, EndpointLinks)],
) -> Result<(), Failure> {
    let mut removes = Vec::new();
    for (plan, links) in made {
        let start = Instant::now();
        remove(kernel, plan, links).await?;
        removes.push(start.elapsed());
    }
    report("remove, with all there", removes);
    let start = Instant::now();
    let indexes: Vec<u32> = made.iter().map(|(_, links)| links.host_index).collect();
    let left = kernel.reap(&indexes).await?;
    println!(
        "reaped {} in {:.3?}, {} left",
        made.len(),
        start.elapsed(),
        left.len()
    );
    Ok(())
}
