//! The process that owns a lab: it holds the lab itself, its daemons and its pods'
//! namespaces, and answers on the lab's socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures::future::{join_all, try_join_all};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veni_cloudlab::{Dropped, Lab, Node, Pod, end_of_log};

use super::control::{self, Answer, Description, NodeDescription, PodDescription, Request};
use super::daemon::{Daemon, Recipe};
use super::{UpArguments, binaries, cloud, readiness};

/// How long the daemons may take to become ready.
const READY: Duration = Duration::from_secs(30);

/// How long to wait for the cloud to say what must be plugged in.
const CLOUD_PATIENCE: Duration = Duration::from_secs(5);

/// Lines of a daemon's log that an error quotes.
const LAST_WORDS: usize = 15;

/// A lab that can be asked.
pub(crate) struct Server {
    options: UpArguments,
    lab: Lab,
    daemons: BTreeMap<String, Daemon>,
    pods: Mutex<BTreeMap<String, (Pod, PodDescription)>>,
    listener: UnixListener,
    plugin: Option<std::path::PathBuf>,
}

impl Server {
    /// Brings a lab up. When this returns, all daemons are ready. After an error, nothing is
    /// left.
    pub(crate) async fn start(name: &str, options: UpArguments) -> anyhow::Result<Self> {
        let folder = options.bin_dir.as_deref();
        // Look for the programs first: a lab that cannot run them need not come up.
        let programs = if options.without_daemons {
            None
        } else {
            Some((
                binaries::find("ipamd", folder)?,
                binaries::find("veni-cni", folder)?,
            ))
        };
        let lab = Lab::start(cloud::config(name, &options).await?).await?;
        let socket = lab.folder().join(control::SOCKET);
        let listener = UnixListener::bind(&socket);
        let mut server = Self {
            listener: listener
                .with_context(|| format!("failed to listen on {}", socket.display()))?,
            daemons: BTreeMap::new(),
            pods: Mutex::default(),
            plugin: programs.as_ref().map(|(_, plugin)| plugin.clone()),
            options,
            lab,
        };
        let Some((ipamd, _)) = programs else {
            return Ok(server);
        };
        match server.start_daemons(&ipamd).await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.tear_down().await.context("failed to clean up")?;
                Err(error)
            }
        }
    }

    async fn start_daemons(&mut self, ipamd: &Path) -> anyhow::Result<()> {
        // Start all before waiting for any: nodes of a cloud do not boot one by one either.
        for node in self.lab.nodes() {
            let recipe = recipe(&self.lab, node, ipamd, &self.options);
            let daemon = Daemon::start(recipe, Arc::clone(self.lab.processes()))?;
            self.daemons.insert(node.name().to_owned(), daemon);
        }
        let daemons = &self.daemons;
        let waits = self.lab.nodes().iter().map(|node| async move {
            let socket = node.run_dir().join(veni_api::OPERATOR_SOCKET);
            let daemon = daemons.get(node.name()).context("no daemon")?;
            let ready = tokio::select! {
                ready = readiness::wait(&socket, READY) => ready,
                () = daemon.ended() => Err(anyhow!("it ended before it was ready")),
            };
            ready.map_err(|error| {
                let (name, end) = (node.name(), end_of_log(&log_of(node), LAST_WORDS));
                anyhow!("the ipamd of {name}: {error:#}; {end}")
            })
        });
        try_join_all(waits).await?;
        Ok(())
    }

    /// Answers until told to stop, by the token or by a request; then takes
    /// everything down.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let server = Arc::new(self);
        let tasks = TaskTracker::new();
        let (stopping, mut stopped) = mpsc::channel::<UnixStream>(1);
        let asked_by = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break None,
                asker = stopped.recv() => break asker,
                accepted = server.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tasks.spawn(Arc::clone(&server).attend(stream, stopping.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a request");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        };
        tasks.close();
        tasks.wait().await;
        let server = Arc::into_inner(server).context("a request is still being answered")?;
        let outcome = server.tear_down().await;
        if let Some(mut asker) = asked_by {
            let answer = match &outcome {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Failed(format!("{error:#}")),
            };
            // Ignored: the lab is down, even if the command that asked has gone.
            let _unheard = write(&mut asker, &answer).await;
        }
        outcome
    }

    async fn tear_down(self) -> anyhow::Result<()> {
        join_all(self.daemons.into_values().map(Daemon::stop)).await;
        let pods = self.pods.into_inner().into_values();
        for gone in join_all(pods.map(|(pod, _)| pod.remove())).await {
            gone?;
        }
        drop(self.listener);
        let name = self.lab.name().to_owned();
        let cloud = cloud::describe(&self.lab, &self.options);
        let outcome = self.lab.shutdown().await;
        outcome.map_err(|error| cloud::left_over(&name, &cloud, error))
    }

    async fn attend(self: Arc<Self>, mut stream: UnixStream, stopping: mpsc::Sender<UnixStream>) {
        let mut line = String::new();
        let request = match BufReader::new(&mut stream).read_line(&mut line).await {
            Ok(_) => serde_json::from_str(&line),
            Err(_) => return,
        };
        let answer = match request {
            Ok(Request::Stop) => {
                // Ignored: without a receiver the lab is stopping already.
                let _stopping = stopping.send(stream).await;
                return;
            }
            Ok(request) => self
                .answer(request)
                .await
                .unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))),
            Err(error) => Answer::Failed(format!(
                "the lab's process does not know this request: {error}"
            )),
        };
        if let Err(error) = write(&mut stream, &answer).await {
            tracing::debug!(%error, "nobody waits for an answer");
        }
    }

    async fn answer(&self, request: Request) -> anyhow::Result<Answer> {
        match request {
            Request::Describe => Ok(Answer::Lab(Box::new(self.describe().await?))),
            Request::CreatePods { node, names } => self.create_pods(&node, &names).await,
            Request::Record { pod, attached } => {
                let mut pods = self.pods.lock().await;
                let (_, description) = pods.get_mut(&pod).with_context(|| no_pod(&pod))?;
                description.attached = Some(attached);
                Ok(Answer::Done)
            }
            Request::RemovePods { names } => self.remove_pods(&names).await,
            Request::Kill { node, stay_dead } => {
                self.daemon(&node)?.kill(stay_dead).await?;
                Ok(Answer::Done)
            }
            Request::Restart { node } => {
                self.daemon(&node)?.restart().await?;
                Ok(Answer::Done)
            }
            Request::Stop => bail!("stopping is not answered here"),
        }
    }

    fn daemon(&self, node: &str) -> anyhow::Result<&Daemon> {
        let name = self.lab.node_named(node)?.name();
        self.daemons
            .get(name)
            .ok_or_else(|| anyhow!("{name} has no daemon: this lab was started without"))
    }

    async fn create_pods(&self, node: &str, names: &[String]) -> anyhow::Result<Answer> {
        let node = self.lab.node_named(node)?;
        let mut pods = self.pods.lock().await;
        if let Some(taken) = names.iter().find(|name| pods.contains_key(*name)) {
            bail!("there is a pod {taken} already: delete it first, or choose another name");
        }
        let made = try_join_all(names.iter().map(|name| self.lab.pod(node, name))).await?;
        let mut answer = Vec::new();
        for pod in made {
            let holder = pod.namespace().holder();
            let description = PodDescription {
                name: pod.name().to_owned(),
                node: node.name().to_owned(),
                namespace: pod.namespace().path().to_owned(),
                holder,
                // The holder's process id makes the container id a new one each time, as
                // with a runtime.
                container_id: format!("{}-{}-{holder}", self.lab.name(), pod.name()),
                host_ports: Vec::new(),
                attached: None,
            };
            answer.push(description.clone());
            pods.insert(pod.name().to_owned(), (pod, description));
        }
        Ok(Answer::Pods(answer))
    }

    async fn remove_pods(&self, names: &[String]) -> anyhow::Result<Answer> {
        let mut pods = self.pods.lock().await;
        let mut gone = Vec::new();
        for name in names {
            let (pod, _) = pods.remove(name).with_context(|| no_pod(name))?;
            gone.push(pod.remove());
        }
        try_join_all(gone).await?;
        Ok(Answer::Done)
    }

    async fn describe(&self) -> anyhow::Result<Description> {
        let wires = self.lab.wires(CLOUD_PATIENCE).await?;
        let counters = self.lab.counters_of(&wires.wiring).await?;
        let mut dropped: BTreeMap<u32, Dropped> = BTreeMap::new();
        for interface in wires.wiring.0.values() {
            let counter = counters.get(&interface.id).copied().unwrap_or_default();
            let sum = dropped.entry(interface.node).or_default();
            sum.forged += counter.forged;
            sum.untranslatable += counter.untranslatable;
            sum.refused += counter.refused;
        }
        let node = |node: &Node| NodeDescription {
            name: node.name().to_owned(),
            number: node.number(),
            instance_id: node.instance_id().to_owned(),
            namespace: node.namespace().path().to_owned(),
            run_dir: node.run_dir(),
            log: log_of(node),
            addresses: node.addresses().to_vec(),
            daemon: self.daemons.get(node.name()).and_then(Daemon::pid),
            dropped: dropped.get(&node.number()).copied().unwrap_or_default(),
        };
        let pods = self.pods.lock().await;
        Ok(Description {
            name: self.lab.name().to_owned(),
            folder: self.lab.folder().to_owned(),
            pid: std::process::id(),
            cloud: cloud::describe(&self.lab, &self.options),
            cloud_silence: wires.silence,
            instance_type: self.options.instance_type().to_owned(),
            vpc: self.lab.vpc().to_owned(),
            internet: self.lab.internet().path().to_owned(),
            internet_addresses: self.lab.internet_addresses(),
            plugin: self.plugin.clone(),
            nodes: self.lab.nodes().iter().map(node).collect(),
            pods: pods.values().map(|(_, pod)| pod.clone()).collect(),
        })
    }
}

fn no_pod(name: &str) -> String {
    format!("there is no pod {name}: see `veni lab pod list`")
}

fn log_of(node: &Node) -> std::path::PathBuf {
    node.folder().join("ipamd.log")
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

async fn write(stream: &mut UnixStream, answer: &Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    Ok(())
}

fn recipe(lab: &Lab, node: &Node, ipamd: &Path, options: &UpArguments) -> Recipe {
    let mut environment = lab.environment(node);
    environment.extend([
        (
            "ENABLE_PREFIX_DELEGATION".to_owned(),
            options.prefix_delegation.to_string(),
        ),
        ("ENABLE_IPv6".to_owned(), options.ipv6.to_string()),
    ]);
    let state = node.run_dir().join("state").display().to_string();
    environment.push(("VENI_STATE_DIR".to_owned(), state));
    environment.extend(options.environment.iter().cloned());
    Recipe {
        node: node.name().to_owned(),
        namespace: node.namespace().path().to_owned(),
        program: ipamd.to_owned(),
        run_dir: node.run_dir(),
        log: log_of(node),
        environment,
    }
}
