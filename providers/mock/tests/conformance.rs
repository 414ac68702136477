//! The suite of behaviours against both profiles: in process on a paused
//! clock with the profile's own latencies and lag, and served over a socket in
//! real time with short ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use veni_provider::conformance::{Fixture, TestNode, Verdict, behaviour};
use veni_provider::{InterfaceId, Operation, Provider, SubnetId};
use veni_provider_mock::config::{Latencies, Latency};
use veni_provider_mock::{
    AdminClient, Fault, FaultKind, MockCloud, NodeConfig, Profile, RemoteMock, Server,
};

mod in_process;

use in_process::{InProcess, instance_type, network, unknown_interface};

/// A cloud behind a socket, used through nothing else.
struct Served {
    admin: AdminClient,
    path: PathBuf,
    profile: Profile,
    nodes: AtomicU32,
}

#[async_trait]
impl Fixture for Served {
    async fn node(&self) -> TestNode {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let instance = format!("i-{number}");
        let node = NodeConfig::new(&instance, instance_type(self.profile), "subnet-a");
        self.admin.add_node(node).await.expect("must fit");
        let provider = RemoteMock::connect(&self.path, &instance).await;
        let provider: Arc<dyn Provider> = Arc::new(provider.expect("must connect"));
        TestNode {
            provider,
            subnet: SubnetId::new("subnet-a"),
        }
    }

    async fn neighbour(&self, _: &TestNode) -> Option<TestNode> {
        Some(self.node().await)
    }

    fn unknown_interface(&self) -> InterfaceId {
        unknown_interface()
    }

    async fn fill(&self, subnet: &SubnetId, leave_free: u32) -> bool {
        self.admin.fill_subnet(subnet, leave_free).await.is_ok()
    }

    async fn fragment(&self, subnet: &SubnetId) -> bool {
        self.admin.fragment_subnet(subnet).await.is_ok()
    }

    async fn lose_answer(&self, _: &TestNode, operation: Operation) -> bool {
        let fault = Fault::next(operation, FaultKind::AnswerLost);
        self.admin.inject(fault).await.is_ok()
    }

    async fn finish(&self, node: TestNode) {
        drop(node);
    }
}

#[expect(clippy::print_stdout, reason = "to the runner of the test")]
fn judge(name: &str, outcome: veni_provider::conformance::Outcome) {
    match outcome {
        Ok(Verdict::Shown) => {}
        Ok(Verdict::NotApplicable(reason)) => println!("{name}: not applicable: {reason}"),
        Err(error) => panic!("{name}: {error}"),
    }
}

async fn show(profile: Profile, name: &str) {
    let behaviour = behaviour(name).expect("is in the table");
    judge(
        name,
        behaviour.run(&InProcess::new(profile, |node| node)).await,
    );
}

async fn served(profile: Profile, name: &str) {
    let mut config = network(profile);
    config.latency = Latencies::all(Latency::millis(0, 5, 20));
    config.consistency_delay = Latency::millis(0, 20, 60);
    config.settle_time = std::time::Duration::from_millis(100);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cloud.sock");
    let cloud = MockCloud::new(config).expect("must fit");
    let server = Server::bind(cloud, &path).expect("must bind");
    let cancellation = CancellationToken::new();
    let serving = tokio::spawn(server.run(cancellation.clone()));
    let fixture = Served {
        admin: AdminClient::new(&path),
        path: path.clone(),
        profile,
        nodes: AtomicU32::new(0),
    };
    let behaviour = behaviour(name).expect("is in the table");
    let outcome = behaviour.run(&fixture).await;
    cancellation.cancel();
    serving.await.expect("the server must end");
    assert!(!path.exists(), "the server removes its socket");
    judge(name, outcome);
}

macro_rules! aws_in_process {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod aws_in_process {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::show(super::Profile::Aws, stringify!($name)).await;
            })*
        }
    };
}

macro_rules! azure_in_process {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod azure_in_process {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::show(super::Profile::Azure, stringify!($name)).await;
            })*
        }
    };
}

macro_rules! aws_served {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod aws_served {
            $(#[tokio::test]
            async fn $name() {
                super::served(super::Profile::Aws, stringify!($name)).await;
            })*
        }
    };
}

macro_rules! azure_served {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod azure_served {
            $(#[tokio::test]
            async fn $name() {
                super::served(super::Profile::Azure, stringify!($name)).await;
            })*
        }
    };
}

/// Changes of both profiles that run for three minutes.
mod long_changes {
    use super::{InProcess, Profile, Verdict, behaviour};

    async fn shown(name: &str) {
        for profile in [Profile::Aws, Profile::Azure] {
            let fixture = InProcess::new(profile, |node| node);
            fixture.let_changes_run(std::time::Duration::from_secs(180));
            let behaviour = behaviour(name).expect("is in the table");
            let outcome = behaviour.run(&fixture).await;
            assert_eq!(outcome, Ok(Verdict::Shown), "{profile:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_runs_for_minutes_is_brought_to_its_end() {
        shown("a_change_that_was_begun_is_brought_to_its_end").await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_interface_takes_no_second_change_while_it_is_updating() {
        shown("an_interface_takes_no_second_change_while_it_is_updating").await;
    }
}

veni_provider::for_each_behaviour!(aws_in_process);
veni_provider::for_each_behaviour!(azure_in_process);
veni_provider::for_each_behaviour!(aws_served);
veni_provider::for_each_behaviour!(azure_served);
