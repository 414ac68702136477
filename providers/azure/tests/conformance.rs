//! The suite of behaviours on the fake Resource Manager: in process on a paused clock, with
//! each way in which ARM tells of an operation's end, and served over HTTP in real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use veni_arm::{Arm, Config, NodeConfig, PollingStyle, serve};
use veni_provider::conformance::{Fixture, Outcome, TestNode, Verdict, behaviour};
use veni_provider::{InterfaceId, Operation, SubnetId};
use veni_provider_azure::{AzureProvider, AzureSettings};

mod fake;

use fake::{Cloud, SUBNET, lose_answer, unknown_interface};

/// A fake behind sockets: one of its own for the Resource Manager, and one for the instance
/// metadata of each machine. It is used through nothing else but for what a test does by hand.
struct Served {
    arm: Arm,
    endpoint: String,
    nodes: AtomicU32,
    cancellation: CancellationToken,
}

async fn listen(arm: &Arm, machine: Option<String>, until: &CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("must bind");
    let address = listener.local_addr().expect("is bound");
    tokio::spawn(serve(arm.clone(), machine, listener, until.clone()));
    format!("http://{address}")
}

impl Served {
    async fn start() -> Self {
        let arm = Arm::new(Config {
            operation_time: Duration::from_millis(50),
            retry_after: Duration::ZERO,
            metadata_lag: Duration::from_millis(20),
            ..Config::default()
        });
        let cancellation = CancellationToken::new();
        Self {
            endpoint: listen(&arm, None, &cancellation).await,
            arm,
            nodes: AtomicU32::new(0),
            cancellation,
        }
    }
}

#[async_trait]
impl Fixture for Served {
    async fn node(&self) -> TestNode {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let machine = format!("node-{number}");
        let added = self.arm.add_node(NodeConfig::new(&machine, SUBNET));
        added.expect("there is room");
        let metadata = listen(&self.arm, Some(machine), &self.cancellation).await;
        let provider = AzureProvider::connect(AzureSettings {
            endpoint: Some(self.endpoint.clone()),
            metadata_endpoint: Some(metadata),
            settle_time: Duration::from_millis(500),
            ..AzureSettings::default()
        });
        TestNode {
            provider: Arc::new(provider.await.expect("must connect")),
            subnet: SubnetId::new(self.arm.subnet_id(SUBNET)),
        }
    }

    async fn neighbour(&self, _: &TestNode) -> Option<TestNode> {
        Some(self.node().await)
    }

    fn unknown_interface(&self) -> InterfaceId {
        unknown_interface()
    }

    async fn fill(&self, _: &SubnetId, leave_free: u32) -> bool {
        self.arm.fill(SUBNET, leave_free).is_ok()
    }

    async fn fragment(&self, _: &SubnetId) -> bool {
        self.arm.fragment(SUBNET).is_ok()
    }

    async fn lose_answer(&self, _: &TestNode, operation: Operation) -> bool {
        lose_answer(&self.arm, operation)
    }

    async fn finish(&self, node: TestNode) {
        drop(node);
    }
}

#[expect(clippy::print_stdout, reason = "to the runner of the test")]
fn judge(name: &str, outcome: Outcome) {
    match outcome {
        Ok(Verdict::Shown) => {}
        Ok(Verdict::NotApplicable(reason)) => println!("{name}: not applicable: {reason}"),
        Err(error) => panic!("{name}: {error}"),
    }
}

async fn in_process(polling: PollingStyle, name: &str) {
    let behaviour = behaviour(name).expect("is in the table");
    let cloud = Cloud::new(Config {
        polling,
        ..Config::default()
    });
    judge(name, behaviour.run(&cloud).await);
}

/// Looks at a change while it runs: on the paused clocks alone, as in real time a loaded
/// machine may look when it has ended.
const LOOKS_MEANWHILE: &str = "an_interface_takes_no_second_change_while_it_is_updating";

async fn served(name: &str) {
    if name == LOOKS_MEANWHILE {
        return;
    }
    let behaviour = behaviour(name).expect("is in the table");
    let fixture = Served::start().await;
    let outcome = behaviour.run(&fixture).await;
    fixture.cancellation.cancel();
    judge(name, outcome);
}

macro_rules! async_operation {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod by_async_operation {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::in_process(super::PollingStyle::AsyncOperation, stringify!($name)).await;
            })*
        }
    };
}

macro_rules! location {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod by_location {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::in_process(super::PollingStyle::Location, stringify!($name)).await;
            })*
        }
    };
}

macro_rules! over_http {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod over_http {
            $(#[tokio::test]
            async fn $name() {
                super::served(stringify!($name)).await;
            })*
        }
    };
}

veni_provider::for_each_behaviour!(async_operation);
veni_provider::for_each_behaviour!(location);
veni_provider::for_each_behaviour!(over_http);

/// Where ARM tells an operation's end by the NIC's state alone, what failed is told as doubt,
/// without a code. All else is as everywhere.
mod by_provisioning_state {
    use super::{PollingStyle, in_process};

    #[tokio::test(start_paused = true)]
    async fn a_change_that_was_begun_is_brought_to_its_end() {
        let name = "a_change_that_was_begun_is_brought_to_its_end";
        in_process(PollingStyle::ProvisioningState, name).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_interface_takes_no_second_change_while_it_is_updating() {
        let name = "an_interface_takes_no_second_change_while_it_is_updating";
        in_process(PollingStyle::ProvisioningState, name).await;
    }
}
