//! `veni lab burst`: starts many pods at the same instant and records what the pool does
//! meanwhile.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use veni_api::client::connect_operator;
use veni_api::v1::{EventsRequest, PoolRequest};
use veni_terminal::{print, printable, println};

use super::control::{Control, Description};
use super::picture::{Sample, draw};
use super::pods;
use super::statistics::Statistics;

/// Pause between two samples of the pool's levels; its events come besides.
const LOOK: Duration = Duration::from_millis(50);
/// How long the recording goes on after the last pod has its network, to show the refill.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// Most failed pods whose reasons are printed.
const FAILURES_SHOWN: usize = 3;

/// How many pods, and where.
#[derive(Debug, Args)]
pub(crate) struct BurstArguments {
    /// How many pods
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000), required_unless_present = "delete")]
    pods: Option<u32>,
    /// The node: name or number
    #[arg(long, default_value = "1")]
    node: String,
    /// Delete the pods again; without a number of pods, delete those that bursts have
    /// left on all nodes
    #[arg(long)]
    delete: bool,
}

/// What a burst has shown.
#[derive(Debug)]
pub(crate) struct Burst {
    /// The pods that have their network.
    pub(crate) names: Vec<String>,
    /// Why others have none.
    pub(crate) failures: Vec<String>,
    pub(crate) times: Statistics,
    /// From the start of the first plugin to the end of the last.
    pub(crate) wall: Duration,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) async fn run(control: &Control, arguments: &BurstArguments) -> anyhow::Result<ExitCode> {
    let Some(count) = arguments.pods else {
        delete(control, &left_by_bursts(&control.describe().await?)).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let burst = burst(control, &arguments.node, count).await?;
    print!("{}", burst.as_text());
    if arguments.delete {
        delete(control, &burst.names).await?;
    }
    Ok(if burst.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The pods of bursts.
fn left_by_bursts(lab: &Description) -> Vec<String> {
    let names = lab.pods.iter().map(|pod| pod.name.clone());
    names.filter(|name| is_of_a_burst(name)).collect()
}

/// Whether a pod's name is one that a burst has given: `burst2-17`.
fn is_of_a_burst(name: &str) -> bool {
    let numbers = name
        .strip_prefix("burst")
        .and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(burst, pod)| burst.parse::<u32>().is_ok() && pod.parse::<u32>().is_ok())
}

async fn delete(control: &Control, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        println!("no pod of a burst is there to delete");
        return Ok(());
    }
    let lab = control.describe().await?;
    let began = Instant::now();
    let deleted = pods::delete(control, &lab, names).await?;
    let took = began.elapsed().as_secs_f64();
    let good = deleted.iter().filter(|(_, outcome)| outcome.is_ok());
    println!("{} pods deleted in {took:.2} s", good.count());
    for (name, outcome) in deleted {
        outcome.with_context(|| format!("pod {name} is not deleted"))?;
    }
    Ok(())
}

/// Starts pods on a node, all at the same instant.
pub(crate) async fn burst(control: &Control, node: &str, count: u32) -> anyhow::Result<Burst> {
    let lab = control.describe().await?;
    let number = (1..)
        .find(|number| {
            let prefix = format!("burst{number}-");
            !lab.pods.iter().any(|pod| pod.name.starts_with(&prefix))
        })
        .unwrap_or_default();
    let names = (1..=count)
        .map(|pod| format!("burst{number}-{pod}"))
        .collect();
    lab.plugin()?;
    let (name, socket) = (&lab.node(node)?.name, lab.node(node)?.operator_socket());
    // Check this before making the pods, or an error would leave pods without a network.
    look(&socket, Duration::ZERO).await.with_context(|| {
        format!("the ipamd of {name} does not answer; `veni lab restart {name}` starts it")
    })?;
    let made = control.create_pods(name, names).await?;
    let recorder = Recorder::start(socket).await?;
    let began = Instant::now();
    let added = pods::attach(control, &lab, node, made).await?;
    let wall = began.elapsed();
    tokio::time::sleep(AFTERMATH).await;
    let samples = recorder.finish().await?;
    let mut burst = Burst {
        names: Vec::new(),
        failures: Vec::new(),
        times: Statistics::new([]),
        wall,
        samples,
    };
    let mut times = Vec::new();
    for (pod, outcome) in added {
        match outcome {
            Ok(attached) => {
                times.push(attached.milliseconds);
                burst.names.push(pod.name);
            }
            Err(error) => burst.failures.push(format!("{error:#}")),
        }
    }
    burst.times = Statistics::new(times);
    Ok(burst)
}

impl Burst {
    pub(crate) fn as_text(&self) -> String {
        let mut text = draw(&self.samples);
        if self.names.is_empty() {
            text.push_str("\nno pod has its network\n");
        } else {
            text.push_str(&format!(
                "\n{} pods have their network after {:.2} s; ADD took {}\n",
                self.names.len(),
                self.wall.as_secs_f64(),
                self.times
            ));
        }
        for failure in self.failures.iter().take(FAILURES_SHOWN) {
            text.push_str(&format!("failed: {}\n", printable::line(failure)));
        }
        if self.failures.len() > FAILURES_SHOWN {
            text.push_str(&format!("failed in all: {} pods\n", self.failures.len()));
        }
        text
    }
}

/// Records a daemon's events and samples of its pool's levels.
struct Recorder {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<Vec<Sample>>>,
}

impl Recorder {
    async fn start(socket: PathBuf) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let first = look(&socket, Duration::ZERO).await?;
        Ok(Self {
            stop,
            task: tokio::spawn(record(socket, first, stopped)),
        })
    }

    async fn finish(self) -> anyhow::Result<Vec<Sample>> {
        // The task has ended already if the daemon went away; the join below says so.
        let _gone = self.stop.send(());
        self.task.await.context("the recorder panicked")?
    }
}

async fn record(
    socket: PathBuf,
    first: Sample,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<Vec<Sample>> {
    let began = Instant::now();
    let mut samples = vec![first];
    let mut client = connect_operator(&socket).await?;
    let mut events = client.events(EventsRequest::default()).await?.into_inner();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = &mut stopped => {
                samples.push(look(&socket, began.elapsed()).await?);
                return Ok(samples);
            }
            event = events.message() => {
                let event = event?.context("the daemon ended its stream of events")?;
                samples.push(Sample {
                    at: began.elapsed(),
                    free: event.free,
                    assigned: event.assigned,
                    waiting: event.waiting,
                    cloud_calls: event.cloud_calls,
                });
            }
            _ = looks.tick() => samples.push(look(&socket, began.elapsed()).await?),
        }
    }
}

async fn look(socket: &Path, at: Duration) -> anyhow::Result<Sample> {
    let mut client = connect_operator(socket).await?;
    let pool = client.pool(PoolRequest {}).await?.into_inner();
    Ok(Sample {
        at,
        free: pool.free,
        assigned: pool.assigned,
        waiting: pool.waiting,
        cloud_calls: pool.cloud_calls,
    })
}
