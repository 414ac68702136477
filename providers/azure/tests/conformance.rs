//! The suite of behaviours on the fake Resource Manager: in process on a paused clock, with
//! each way in which ARM tells of an operation's end and of its configurations' states, and
//! served over HTTP in real time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use veni_arm::{Arm, Config, PollingStyle, serve};
use veni_provider::conformance::{Fixture, Outcome, TestNode, Verdict, behaviour};
use veni_provider::{InterfaceId, Operation, SubnetId};
use veni_provider_azure::{AzureProvider, AzureSettings};

mod fake;

use fake::Cloud;

/// A fake behind sockets: one of its own for the Resource Manager, and one for the instance
/// metadata of each machine. It is used through nothing else but for what a test does by hand.
struct Served {
    cloud: Cloud,
    endpoint: String,
    cancellation: CancellationToken,
}

async fn listen(arm: &Arm, machine: Option<String>, until: &CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("must bind");
    let address = listener.local_addr().expect("is bound");
    tokio::spawn(serve(arm.clone(), machine, listener, until.clone()));
    format!("http://{address}")
}

impl Served {
    async fn start(operation_time: Duration) -> Self {
        let cloud = Cloud::new(Config {
            operation_time,
            retry_after: Duration::ZERO,
            metadata_lag: Duration::from_millis(20),
            ..Config::default()
        });
        let cancellation = CancellationToken::new();
        Self {
            endpoint: listen(&cloud.arm, None, &cancellation).await,
            cloud,
            cancellation,
        }
    }
}

#[async_trait]
impl Fixture for Served {
    async fn node(&self) -> TestNode {
        let (machine, _) = self.cloud.machine(|_| {});
        let metadata = listen(&self.cloud.arm, Some(machine), &self.cancellation).await;
        let provider = AzureProvider::connect(AzureSettings {
            endpoint: Some(self.endpoint.clone()),
            metadata_endpoint: Some(metadata),
            settle_time: Duration::from_millis(500),
            ..AzureSettings::default()
        });
        TestNode {
            provider: Arc::new(provider.await.expect("must connect")),
            subnet: self.cloud.subnet(),
        }
    }

    async fn neighbour(&self, _: &TestNode) -> Option<TestNode> {
        Some(self.node().await)
    }

    fn unknown_interface(&self) -> InterfaceId {
        self.cloud.unknown_interface()
    }

    async fn fill(&self, subnet: &SubnetId, leave_free: u32) -> bool {
        self.cloud.fill(subnet, leave_free).await
    }

    async fn fragment(&self, subnet: &SubnetId) -> bool {
        self.cloud.fragment(subnet).await
    }

    async fn lose_answer(&self, node: &TestNode, operation: Operation) -> bool {
        self.cloud.lose_answer(node, operation).await
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
    with(
        Config {
            polling,
            ..Config::default()
        },
        name,
    )
    .await;
}

async fn with(config: Config, name: &str) {
    let behaviour = behaviour(name).expect("is in the table");
    judge(name, behaviour.run(&Cloud::new(config)).await);
}

/// The behaviour that looks at a change while it runs.
const LOOKS_MEANWHILE: &str = "an_interface_takes_no_second_change_while_it_is_updating";

async fn served(name: &str) {
    let behaviour = behaviour(name).expect("is in the table");
    // In real time a loaded machine may look late: the change must be running even then.
    let operation_time = match name {
        LOOKS_MEANWHILE => Duration::from_secs(5),
        _ => Duration::from_millis(50),
    };
    let fixture = Served::start(operation_time).await;
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

macro_rules! all_states_alike {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod where_all_configurations_show_the_nic_s_state {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                let config = super::Config {
                    all_show_the_nic_s_state: true,
                    ..super::Config::default()
                };
                super::with(config, stringify!($name)).await;
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
veni_provider::for_each_behaviour!(all_states_alike);
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
