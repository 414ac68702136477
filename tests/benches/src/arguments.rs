//! The command line, and how much is measured.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

/// Measures ADD and DEL of veni-cni beside the reference plugins (ptp with
/// host-local) and beside the floor, and the packets' way through a node full of
/// pods. Needs root. Changes nothing outside of namespaces of its own.
///
/// Figures of different runs do not compare: other load on the machine moves
/// all of them. Compare within one run.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// A smoke run of half a minute: few samples, small bursts, at most 100 pods.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure limits of pods' bandwidth instead: 10, 100 and 1,000 Mbit/s, in both
    /// directions, by TCP and by UDP, 10 s each [quick: 2 s].
    #[arg(long, conflicts_with_all = ["json", "network_lock"])]
    pub(crate) bandwidth: bool,

    /// Print the figures as JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Folder with ipamd, veni-cni, floor and starter [default: this program's own].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) binaries: Option<PathBuf>,

    /// Folder with the reference plugins ptp and host-local.
    #[arg(long, value_name = "FOLDER", default_value = "/usr/lib/cni")]
    pub(crate) plugins: PathBuf,

    /// ADDs and DELs of each plugin, one at a time [default: 150, quick: 20].
    #[arg(long, value_name = "COUNT")]
    pub(crate) rounds: Option<usize>,

    /// Only what the daemon's kernel threads wait for in a burst, while namespaces are torn
    /// down and not.
    #[arg(long, conflicts_with = "json")]
    pub(crate) network_lock: bool,

    /// How often each burst is repeated [default: 5, quick: 1].
    #[arg(long, value_name = "COUNT")]
    pub(crate) repeats: Option<usize>,
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// Operations per plugin, one at a time.
    pub(crate) rounds: usize,
    /// Pods started at the same instant, one entry per burst.
    pub(crate) bursts: Vec<usize>,
    /// ADDs and as many DELs at the same instant.
    pub(crate) mixed: usize,
    /// Repetitions of each burst.
    pub(crate) burst_repeats: usize,
    /// Pods on the node at which packets are timed; the first is the pod that
    /// they are timed with.
    pub(crate) stages: Vec<usize>,
    /// Round trips of packets per stage.
    pub(crate) round_trips: usize,
}

impl Scale {
    /// Most pods of one plugin at a time.
    pub(crate) fn most_pods(&self) -> usize {
        let bursts = self.bursts.iter().copied().max().unwrap_or(0);
        let stages = self.stages.iter().copied().max().unwrap_or(0);
        bursts.max(stages).max(2 * self.mixed).max(self.rounds)
    }

    /// Most pods of the peers, which are not taken to a thousand.
    pub(crate) fn peers_pods(&self) -> usize {
        let bursts = self.bursts.iter().copied().max().unwrap_or(0);
        bursts.max(2 * self.mixed).max(self.rounds)
    }
}

impl Arguments {
    /// Where the programs of this project are.
    pub(crate) fn binaries(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.binaries {
            return Ok(folder.clone());
        }
        let own = std::env::current_exe().context("failed to find this program")?;
        let folder = own.parent().context("this program is in no folder")?;
        Ok(folder.to_owned())
    }

    /// How much to measure.
    pub(crate) fn scale(&self) -> Scale {
        let mut scale = match self.quick {
            true => Scale {
                rounds: 20,
                bursts: vec![30],
                mixed: 15,
                burst_repeats: 1,
                stages: vec![1, 50, 100],
                round_trips: 5_000,
            },
            false => Scale {
                rounds: 150,
                bursts: vec![30, 100],
                mixed: 50,
                burst_repeats: 5,
                stages: vec![1, 250, 1_000],
                round_trips: 40_000,
            },
        };
        scale.rounds = self.rounds.unwrap_or(scale.rounds).max(1);
        scale.burst_repeats = self.repeats.unwrap_or(scale.burst_repeats).max(1);
        scale
    }
}
