//! Kills the daemon at every crash point that it lists, while pods come and go. What a
//! runtime and a supervisor do afterwards must make everything whole again.

use futures::StreamExt;
use serde_json::{Value, json};
use veni_testbed::traffic::Stream;
use veni_testbed::{Bed, BedConfig, CniError, Death, TestPod, binaries, eventually, kernel};

/// Enough to need the second interface, whose end brings the last points.
const PODS: usize = 5;
/// Labs at the same time.
const SIDE_BY_SIDE: usize = 3;

/// What a runtime does when an ADD has failed.
#[derive(Debug, Clone, Copy)]
enum Runtime {
    /// It repeats the ADD.
    Insists,
    /// It calls DEL and begins anew with another container.
    GivesUp,
}

/// Limits of both directions: one of them is a link of its own on the node.
fn limits() -> Value {
    json!({"bandwidth": {"ingressRate": 1_000_000_000, "egressRate": 1_000_000_000}})
}

/// One daemon that will die at one point, with its supervisor.
struct Story {
    bed: Bed,
    runtime: Runtime,
    deaths: usize,
}

impl Story {
    /// Starts the daemon again if it has died, as its supervisor would.
    async fn tend(&mut self) -> bool {
        let Some(death) = self.bed.daemon(0).has_died().await else {
            return false;
        };
        assert_eq!(death, Death::KILLED, "{}", self.bed.daemon(0).log_tail());
        self.deaths += 1;
        self.bed.daemon(0).start().await;
        true
    }

    /// An error is the daemon's death, or it is a failure of the test. A dying
    /// process closes its sockets a moment before it can be waited for.
    async fn explained(&mut self, error: &CniError) {
        eventually(
            "the daemon's death that explains an error",
            async || match self.tend().await {
                true => Ok(()),
                false => Err(format!("{error}:\n{}", self.bed.daemon(0).log_tail())),
            },
        )
        .await;
    }

    async fn add(&mut self, name: &str) -> TestPod {
        let pod = self.bed.pod(0, name).await.asking_for(limits());
        let Err(error) = self.add_with_port(&pod).await else {
            return pod;
        };
        self.explained(&error).await;
        match self.runtime {
            Runtime::Insists => {
                self.add_with_port(&pod)
                    .await
                    .unwrap_or_else(|error| panic!("the repeated ADD: {error}"));
                pod
            }
            Runtime::GivesUp => {
                self.bed
                    .del(&pod)
                    .await
                    .unwrap_or_else(|error| panic!("the DEL that followed: {error}"));
                self.bed.sound(&[&pod]).await;
                pod.vanish().await;
                let pod = self.bed.pod(0, name).await;
                self.add_with_port(&pod)
                    .await
                    .unwrap_or_else(|error| panic!("the ADD of another container: {error}"));
                pod
            }
        }
    }

    /// Each pod has a port of the node of its own, whatever became of it before.
    async fn add_with_port(&self, pod: &TestPod) -> Result<(), CniError> {
        let mut call = self.bed.call("ADD", pod);
        let port: String = pod.name().matches(char::is_numeric).collect();
        let port = 20_000 + port.parse::<u16>().expect("a number");
        call.config["runtimeConfig"] = json!({ "portMappings": [
            { "hostPort": port, "containerPort": 80, "protocol": "udp" }
        ]});
        self.bed.run(0, &call).await.map(drop)
    }

    async fn del(&mut self, pod: &TestPod) {
        while let Err(error) = self.bed.del(pod).await {
            self.explained(&error).await;
        }
        self.tend().await;
    }
}

async fn tell(point: &str, runtime: Runtime) -> Result<(), String> {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start(
        config
            .set("VENI_RELEASE_DELAY", "0")
            .set("VENI_DETACH_AGE", "0"),
    )
    .await;
    let (steady, _) = bed.running(0, "steady").await;
    let traffic = Stream::start(steady.path(), bed.node_address(0)).await;
    bed.daemon(0).terminate().await;
    bed.daemon(0).start_with(&[("VENI_CRASH_AT", point)]).await;
    let mut story = Story {
        bed,
        runtime,
        deaths: 0,
    };
    eventually("a daemon", async || {
        story.tend().await;
        story.bed.daemon(0).operator().await.map(drop)
    })
    .await;

    let mut pods = Vec::new();
    for number in 0..PODS {
        pods.push(story.add(&format!("p{number}")).await);
    }
    story.tend().await;
    let mut all: Vec<&TestPod> = pods.iter().collect();
    all.push(&steady);
    story.bed.sound(&all).await;
    let ports = kernel::host_ports(story.bed.node(0)).await;
    assert_eq!(ports.len(), PODS, "{point}: {ports:?}");
    for pod in &pods {
        story.del(pod).await;
    }
    eventually("the return of what is not needed", async || {
        story.tend().await;
        match story.bed.lab().cloud().dump().nodes[0].interfaces.len() {
            1 => Ok(()),
            count => Err(format!(
                "{count} interfaces:\n{}",
                story.bed.daemon(0).log_tail()
            )),
        }
    })
    .await;
    story.tend().await;
    story.bed.sound(&all).await;
    let ports = kernel::host_ports(story.bed.node(0)).await;
    assert!(ports.is_empty(), "{point}: {ports:?}");
    traffic.lost_nothing().await;
    story.del(&steady).await;
    story.bed.nothing_of_pods(0).await;
    story.bed.sound(&all).await;
    let deaths = story.deaths;
    story.bed.end().await;
    if deaths == 1 {
        Ok(())
    } else {
        Err(format!(
            "{point} ({runtime:?}): the daemon died {deaths} times there"
        ))
    }
}

#[tokio::test]
async fn killed_at_any_point_the_daemon_leaks_nothing_and_leaves_no_half_built_pod() {
    let points = binaries::crash_points();
    assert!(points.len() > 10, "the daemon lists its points: {points:?}");
    let both = [Runtime::Insists, Runtime::GivesUp];
    let stories = points.iter().flat_map(|point| {
        // Only an ADD's failure is something that runtimes react to differently.
        let which = if point.starts_with("add.") {
            &both[..]
        } else {
            &both[..1]
        };
        which.iter().map(move |runtime| tell(point, *runtime))
    });
    let told: Vec<Result<(), String>> = futures::stream::iter(stories)
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    let unreached: Vec<String> = told.into_iter().filter_map(Result::err).collect();
    assert!(unreached.is_empty(), "{}", unreached.join("\n"));
}
