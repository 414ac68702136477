//! Everything that takes part in a run: the node, the daemon, the contenders.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use veni_terminal::eprintln;

use crate::arguments::{Arguments, Scale};
use crate::command::run;
use crate::contender::{Contender, Kind, floor_socket, host_port};
use crate::daemon::Daemon;
use crate::node::Node;
use crate::starter::{Job, Order, Outcome, Starter};
use crate::verify;

/// Addresses that the pool holds beyond the most that are in use at a time, because those
/// that pods have just left are cooling.
const SPARE_ADDRESSES: usize = 400;

/// The run.
#[derive(Debug)]
pub(crate) struct World {
    /// The node.
    pub(crate) node: Node,
    /// Veni's daemon.
    pub(crate) daemon: Daemon,
    /// In the order in which they take turns.
    pub(crate) contenders: Vec<Contender>,
    /// Most pods of the peers at a time.
    pub(crate) peers_pods: usize,
    /// Address of Veni's pod 0 as last added.
    pub(crate) first_address: Cell<Option<Ipv4Addr>>,
    starter: Starter,
    floor: String,
    responder: Child,
}

impl World {
    /// Builds everything and waits until the pool is warm.
    pub(crate) fn try_new(arguments: &Arguments, scale: &Scale) -> anyhow::Result<Self> {
        let binaries = arguments.binaries()?;
        let starter = Starter::new(binaries.join("starter"));
        let node = Node::try_new(&starter)?;
        let addresses = scale.most_pods() + SPARE_ADDRESSES;
        let mut daemon = Daemon::start(&binaries.join("ipamd"), &node, addresses)?;
        eprintln!("making namespaces for the pods");
        let contenders = Kind::ALL
            .into_iter()
            .map(|kind| Contender::try_new(kind, arguments, scale, &node, &starter))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let floor = binaries.join("floor").display().to_string();
        let responder = Command::new(&floor)
            .arg("serve")
            .arg(floor_socket(&node))
            .args(["10.65.0.1", "10.0.0.4"])
            .spawn()
            .context("failed to start the floor's responder")?;
        eprintln!("waiting for a warm pool of {addresses} addresses");
        daemon.warm(&node, addresses)?;
        Ok(Self {
            node,
            daemon,
            contenders,
            peers_pods: scale.peers_pods(),
            first_address: Cell::new(None),
            starter,
            floor,
            responder,
        })
    }

    /// One of the contenders.
    pub(crate) fn contender(&self, kind: Kind) -> &Contender {
        let position = Kind::ALL.iter().position(|one| *one == kind);
        &self.contenders[position.unwrap_or_default()]
    }

    /// Runs jobs. A job that fails ends the run.
    pub(crate) fn start(&self, order: Order, jobs: &[Job]) -> anyhow::Result<Vec<Outcome>> {
        let outcomes = self.starter.start(order, jobs)?;
        for (outcome, job) in outcomes.iter().zip(jobs) {
            ensure!(
                outcome.code == 0,
                "{} {} ended with {}: {}",
                job.program.display(),
                job.environment.get(1).map_or("", String::as_str),
                outcome.code,
                outcome.answer.trim()
            );
        }
        Ok(outcomes)
    }

    /// Checks that ADDs did what their results say, and that `present` pods of that kind are
    /// there.
    pub(crate) fn verify_added(
        &self,
        kind: Kind,
        pods: &[usize],
        outcomes: &[Outcome],
        present: usize,
    ) -> anyhow::Result<()> {
        let contender = self.contender(kind);
        let addresses = verify::added(contender, &self.node, pods, outcomes, present)?;
        if kind == Kind::Veni && pods.first() == Some(&0) {
            self.first_address.set(addresses.first().copied());
        }
        Ok(())
    }

    /// Makes network namespaces that belong to no contender.
    pub(crate) fn namespaces(&self, owner: &str, count: usize) -> anyhow::Result<PathBuf> {
        self.node.pod_namespaces(&self.starter, owner, count)
    }

    /// Checks that exactly these pods have their ports of the node.
    pub(crate) fn verify_ports(&self, pods: impl Iterator<Item = usize>) -> anyhow::Result<()> {
        let listed = run(&["nft", "list", "map", "inet", "veni_host_ports", "all_v4"])?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        let (mut count, all) = (0, listed.matches("tcp . ").count());
        for pod in pods {
            let element = format!("tcp . {} ", host_port(pod));
            ensure!(
                listed.contains(&element),
                "pod {pod} has no port:\n{listed}"
            );
            count += 1;
        }
        ensure!(all == count, "{all} ports of {count} pods:\n{listed}");
        Ok(())
    }

    /// Waits until the work that DELs leave for later is done. Then checks that nothing is
    /// left of those pods, and that `left` others are there.
    pub(crate) fn settle(&self, kind: Kind, gone: &[usize], left: usize) -> anyhow::Result<()> {
        if kind == Kind::Floor {
            run(&[&self.floor, "reap"])?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match verify::gone(self.contender(kind), gone, left) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until Veni's pool has so many addresses in use and enough others
    /// out of cooldown.
    pub(crate) fn pool_settles(&self, assigned: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let pool = self.daemon.pool()?;
            if pool.assigned as usize == assigned && pool.cooling == 0 && pool.waiting == 0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the pool has {} addresses assigned and {} cooling, {assigned} and 0 are right",
                pool.assigned,
                pool.cooling
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Ignored: at the latest it ends with the namespaces.
        drop(self.responder.kill());
        drop(self.responder.wait());
    }
}
