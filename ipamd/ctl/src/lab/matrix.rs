//! `veni lab matrix`: pings from every pod and node to every other, and shows the address
//! under which the internet sees each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::try_join_all;
use veni_cloudlab::{address_seen_by_internet, ping};
use veni_terminal::print;

use super::control::{Control, Description};
use crate::table::render;

/// How long an answer may take before the pair counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(3);
/// With more ends than this, the matrix is summed up instead of printed.
const WIDEST: usize = 14;

/// A pod or a node.
#[derive(Debug, Clone)]
struct End {
    name: String,
    /// Name of its node; its own for a node.
    node: String,
    namespace: PathBuf,
    address: IpAddr,
}

/// Who reaches whom in one address family.
#[derive(Debug)]
pub(crate) struct Matrix {
    ends: Vec<End>,
    /// Row by row, the round trip of each pair; `None` without an answer.
    trips: Vec<Vec<Option<Duration>>>,
    /// Per end, the address that the internet sees.
    seen: Vec<Result<IpAddr, String>>,
    /// Per end, the addresses of which the internet must see one.
    expected: Vec<BTreeSet<IpAddr>>,
}

pub(crate) async fn run(control: &Control) -> anyhow::Result<ExitCode> {
    let lab = control.describe().await?;
    let mut good = true;
    for matrix in measure(&lab).await? {
        print!("{}", matrix.as_text());
        good &= matrix.problems().is_empty();
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures each family that the lab has.
pub(crate) async fn measure(lab: &Description) -> anyhow::Result<Vec<Matrix>> {
    let mut all = Vec::new();
    for host in &lab.internet_addresses {
        all.push(measure_family(lab, *host).await?);
    }
    Ok(all)
}

async fn measure_family(lab: &Description, host: IpAddr) -> anyhow::Result<Matrix> {
    let of_family = |all: &[IpAddr]| {
        all.iter()
            .find(|one| one.is_ipv4() == host.is_ipv4())
            .copied()
    };
    let mut ends = Vec::new();
    for pod in &lab.pods {
        if let Some(address) = pod
            .attached
            .as_ref()
            .and_then(|got| of_family(&got.addresses))
        {
            let (name, node, namespace) =
                (pod.name.clone(), pod.node.clone(), pod.namespace.clone());
            ends.push(End {
                name,
                node,
                namespace,
                address,
            });
        }
    }
    for node in &lab.nodes {
        if let Some(address) = of_family(&node.addresses) {
            let (name, namespace) = (node.name.clone(), node.namespace.clone());
            ends.push(End {
                node: name.clone(),
                name,
                namespace,
                address,
            });
        }
    }
    let targets: Vec<IpAddr> = ends.iter().map(|end| end.address).collect();
    let pings = ends
        .iter()
        .map(|end| ping(&end.namespace, targets.clone(), PATIENCE));
    let trips = try_join_all(pings).await?;
    let calls = ends.iter().map(|end| async {
        let seen = address_seen_by_internet(&end.namespace, host, PATIENCE).await;
        seen.map_err(|error| error.to_string())
    });
    let seen = futures::future::join_all(calls).await;
    // IPv6 leaves with the pod's own address; IPv4 with the node's, after source NAT.
    let expected = ends
        .iter()
        .map(|end| {
            let nodes = lab.nodes.iter().filter(|node| node.name == end.node);
            let mut expected: BTreeSet<IpAddr> =
                nodes.flat_map(|node| node.addresses.clone()).collect();
            if host.is_ipv6() {
                expected.insert(end.address);
            }
            expected
        })
        .collect();
    Ok(Matrix {
        ends,
        trips,
        seen,
        expected,
    })
}

impl Matrix {
    /// The pairs that do not reach each other, and the ends that the internet sees under a
    /// wrong address.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (from, row) in self.ends.iter().zip(&self.trips) {
            for (to, trip) in self.ends.iter().zip(row) {
                if trip.is_none() {
                    problems.push(format!(
                        "{} does not reach {} ({})",
                        from.name, to.name, to.address
                    ));
                }
            }
        }
        for ((end, seen), expected) in self.ends.iter().zip(&self.seen).zip(&self.expected) {
            match seen {
                Ok(seen) if expected.contains(seen) => {}
                Ok(seen) => problems.push(format!(
                    "the internet sees {} as {seen}, not as its node",
                    end.name
                )),
                Err(reason) => problems.push(format!(
                    "{} does not reach the internet: {reason}",
                    end.name
                )),
            }
        }
        problems
    }

    /// Pairs and ends that were measured.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.ends.len() * self.ends.len(), self.ends.len())
    }

    pub(crate) fn as_text(&self) -> String {
        let mut text = String::new();
        if self.ends.len() <= WIDEST {
            text.push_str(&self.table());
        }
        let problems = self.problems();
        let (pairs, ends) = self.size();
        if problems.is_empty() {
            text.push_str(&format!("all {pairs} pairs of {ends} ends reach each other; each is seen by the internet as its node\n"));
        }
        for problem in problems {
            text.push_str(&format!("wrong: {problem}\n"));
        }
        text
    }

    fn table(&self) -> String {
        let mut headings = vec!["round trips, ms"];
        headings.extend(self.ends.iter().map(|end| end.name.as_str()));
        headings.push("seen by internet as");
        let rows = self
            .ends
            .iter()
            .zip(&self.trips)
            .zip(&self.seen)
            .map(|((end, trips), seen)| {
                let mut row = vec![end.name.clone()];
                row.extend(trips.iter().map(|trip| match trip {
                    Some(trip) => format!("{:.2}", trip.as_secs_f64() * 1e3),
                    None => "LOST".to_owned(),
                }));
                row.push(match seen {
                    Ok(address) => address.to_string(),
                    Err(_) => "NOT AT ALL".to_owned(),
                });
                row
            });
        render(&headings, rows)
    }
}
