//! A served cloud and its users in real time: what a socket adds to the cloud.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use veni_provider::{AddressSlots, ErrorClass, Family, Operation, Provider, SubnetId};
use veni_provider_mock::config::{Latency, Throttle};
use veni_provider_mock::{
    AdminClient, AdminError, Change, CloudConfig, CloudError, Fault, FaultKind, FollowError,
    MockCloud, MockSettings, NodeConfig, RemoteMock, Server, connect,
};

const ONE: AddressSlots = AddressSlots::Addresses {
    family: Family::V4,
    count: 1,
};
/// Longer than anything here takes on a loaded machine.
const LONG: Duration = Duration::from_secs(30);

struct Running {
    folder: tempfile::TempDir,
    cancellation: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(cloud: &MockCloud) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (cancellation, task) = serve(cloud, &folder.path().join("cloud.sock"));
        Self {
            folder,
            cancellation,
            task,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cloud.sock")
    }

    async fn stop(self) -> tempfile::TempDir {
        self.cancellation.cancel();
        self.task.await.expect("the server must end");
        self.folder
    }
}

fn serve(cloud: &MockCloud, path: &Path) -> (CancellationToken, JoinHandle<()>) {
    let server = Server::bind(cloud.clone(), path).expect("must bind");
    let cancellation = CancellationToken::new();
    let task = tokio::spawn(server.run(cancellation.clone()));
    (cancellation, task)
}

fn cloud() -> MockCloud {
    let cloud = MockCloud::new(CloudConfig::aws().instant()).expect("must fit");
    let node = NodeConfig::new("i-1", "m5.large", "subnet-a");
    cloud.add_node(node).expect("must fit");
    cloud
}

#[tokio::test]
async fn a_slow_call_delays_no_other() {
    let cloud = cloud();
    cloud.set_latency(
        Some(Operation::Assign),
        Latency::fixed(Duration::from_secs(3600)),
    );
    let running = Running::start(&cloud);
    let remote = RemoteMock::connect(running.path(), "i-1")
        .await
        .expect("connects");
    let primary = remote.inventory().await.expect("answers").interfaces[0]
        .id
        .clone();
    tokio::select! {
        _ = remote.assign(&primary, ONE) => panic!("must be slow"),
        read = timeout(LONG, async {
            for _ in 0..20 {
                remote.inventory().await.expect("answers");
            }
        }) => read.expect("must not wait for the slow one"),
    }
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_a_change_in_doubt_and_a_read_without_harm() {
    let cloud = cloud();
    let running = Running::start(&cloud);
    let remote = RemoteMock::connect(running.path(), "i-1")
        .await
        .expect("connects");
    let primary = remote.inventory().await.expect("answers").interfaces[0]
        .id
        .clone();
    cloud.set_latency(None, Latency::fixed(Duration::from_secs(3600)));
    let cancellation = running.cancellation.clone();
    let stop = async {
        sleep(Duration::from_millis(200)).await;
        cancellation.cancel();
    };
    let (change, read, ()) = tokio::join!(remote.assign(&primary, ONE), remote.inventory(), stop);
    assert_eq!(
        change.expect_err("no answer").class,
        ErrorClass::OutcomeUnknown
    );
    assert_eq!(read.expect_err("no answer").class, ErrorClass::Transient);
    running.stop().await;
}

#[tokio::test]
async fn an_unreachable_cloud_is_passing_trouble_and_is_found_again() {
    let cloud = cloud();
    let running = Running::start(&cloud);
    let path = running.path();
    let remote = RemoteMock::connect(&path, "i-1").await.expect("connects");
    let primary = remote.inventory().await.expect("answers").interfaces[0]
        .id
        .clone();
    let folder = running.stop().await;
    // The broken connection may still be the one in use for the first call.
    let _ = remote.inventory().await;
    let error = remote
        .assign(&primary, ONE)
        .await
        .expect_err("nobody serves");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    let (cancellation, task) = serve(&cloud, &path);
    let grant = remote.assign(&primary, ONE).await.expect("is served again");
    assert_eq!(grant.addresses.len(), 1);
    cancellation.cancel();
    task.await.expect("the server must end");
    drop(folder);
}

#[tokio::test]
async fn a_change_goes_on_when_its_caller_goes_away() {
    let cloud = cloud();
    cloud.set_latency(
        Some(Operation::Assign),
        Latency::fixed(Duration::from_secs(2)),
    );
    let running = Running::start(&cloud);
    let mut changes = cloud.subscribe();
    let remote = RemoteMock::connect(running.path(), "i-1")
        .await
        .expect("connects");
    let primary = remote.inventory().await.expect("answers").interfaces[0]
        .id
        .clone();
    let early = timeout(Duration::from_millis(500), remote.assign(&primary, ONE)).await;
    drop(remote);
    early.expect_err("must be slow");
    let change = timeout(LONG, changes.recv()).await.expect("must come");
    assert!(
        matches!(change, Ok(Change::SourcesChanged { .. })),
        "{change:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_follower_gets_the_truth_and_then_every_change() {
    let cloud = cloud();
    let running = Running::start(&cloud);
    let admin = AdminClient::new(running.path());
    let (dump, mut follower) = admin.follow().await.expect("answers");
    assert_eq!(dump, cloud.dump());
    assert_eq!(dump.as_changes().len(), 2, "a node and its interface");
    let node = NodeConfig::new("i-2", "t3.small", "subnet-b");
    let primary = admin.add_node(node).await.expect("must fit");
    let next = follower.next().await.expect("must come");
    let wanted = Change::NodeAdded {
        instance: "i-2".to_owned(),
        instance_type: "t3.small".to_owned(),
    };
    assert_eq!(next, wanted);
    let next = follower.next().await.expect("must come");
    assert!(matches!(next, Change::InterfaceAttached { interface, .. } if interface == primary));
    let folder = running.stop().await;
    assert_eq!(follower.next().await, Err(FollowError::Broken));
    drop(folder);
}

#[tokio::test]
async fn the_weather_is_made_over_the_socket() {
    let cloud = cloud();
    let running = Running::start(&cloud);
    let admin = AdminClient::new(running.path());
    let remote = RemoteMock::connect(running.path(), "i-1")
        .await
        .expect("connects");
    let primary = remote.inventory().await.expect("answers").interfaces[0]
        .id
        .clone();
    let subnet = SubnetId::new("subnet-a");

    admin.deny(Operation::Assign).await.expect("answers");
    let error = remote.assign(&primary, ONE).await.expect_err("denied");
    assert_eq!(error.class, ErrorClass::Denied);
    admin.allow(Operation::Assign).await.expect("answers");

    let fault = Fault::always(FaultKind::AnswerLost).on(Operation::Assign);
    let id = admin.inject(fault.clone()).await.expect("answers");
    let error = remote.assign(&primary, ONE).await.expect_err("lost");
    assert_eq!(error.class, ErrorClass::OutcomeUnknown);
    admin.remove_fault(id).await.expect("answers");
    admin.inject(fault).await.expect("answers");
    admin.clear_faults().await.expect("answers");
    remote.assign(&primary, ONE).await.expect("passes again");

    admin.fragment_subnet(&subnet).await.expect("answers");
    admin.fill_subnet(&subnet, 0).await.expect("answers");
    let error = remote.assign(&primary, ONE).await.expect_err("full");
    assert!(matches!(error.class, ErrorClass::Exhausted { .. }));
    admin.unfill(&subnet).await.expect("answers");

    let none: Option<Throttle> = None;
    admin.set_throttle(none).await.expect("answers");
    admin
        .set_consistency_delay(Latency::ZERO)
        .await
        .expect("answers");
    admin
        .set_latency(None, Latency::ZERO)
        .await
        .expect("answers");
    assert_eq!(admin.config().await.expect("answers"), cloud.config());
    assert_eq!(admin.dump().await.expect("answers"), cloud.dump());

    admin.terminate_node("i-1").await.expect("answers");
    let error = admin.terminate_node("i-1").await.expect_err("is gone");
    let gone = CloudError::NoSuchNode("i-1".to_owned());
    assert_eq!(error, AdminError::Cloud(gone));
    running.stop().await;
}

#[tokio::test]
async fn many_calls_at_once_get_each_their_own_answer() {
    let cloud = cloud();
    cloud.set_latency(None, Latency::millis(0, 5, 50));
    for number in 2..30 {
        let node = NodeConfig::new(&format!("i-{number}"), "m5.large", "subnet-a");
        cloud.add_node(node).expect("must fit");
    }
    let running = Running::start(&cloud);
    let path = running.path();
    let calls = (1..30).map(async |number| {
        let instance = format!("i-{number}");
        let remote = RemoteMock::connect(&path, &instance)
            .await
            .expect("connects");
        let (first, second) = tokio::join!(remote.node(), remote.node());
        assert_eq!(first.expect("answers").instance_id, instance);
        assert_eq!(second.expect("answers").instance_id, instance);
    });
    futures::future::join_all(calls).await;
    running.stop().await;
}

#[tokio::test]
async fn two_servers_do_not_share_a_socket_and_a_dead_ones_is_replaced() {
    let cloud = cloud();
    let running = Running::start(&cloud);
    let path = running.path();
    let error = Server::bind(cloud.clone(), &path).expect_err("is in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let folder = running.stop().await;
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("must bind"));
    assert!(path.exists());
    let (cancellation, task) = serve(&cloud, &path);
    RemoteMock::connect(&path, "i-1").await.expect("connects");
    cancellation.cancel();
    task.await.expect("the server must end");
    drop(folder);
}

#[tokio::test]
async fn a_line_that_is_not_understood_is_answered_and_changes_nothing() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let running = Running::start(&cloud());
    let stream = tokio::net::UnixStream::connect(running.path())
        .await
        .expect("connects");
    let (reader, mut writer) = stream.into_split();
    let line = b"{\"id\":9,\"request\":{\"make_coffee\":{}}}\n";
    writer.write_all(line).await.expect("writes");
    let mut answers = BufReader::new(reader).lines();
    let answer = answers.next_line().await.expect("reads").expect("answers");
    assert!(
        answer.starts_with("{\"id\":9,\"message\":{\"not_understood\":"),
        "{answer}"
    );
    running.stop().await;
}

#[tokio::test]
async fn settings_with_an_endpoint_lead_to_the_served_cloud() {
    let cloud = cloud();
    let running = Running::start(&cloud);
    let mut settings = MockSettings::new("i-1");
    settings.endpoint = Some(running.path());
    let provider = connect(&settings).await.expect("connects");
    assert_eq!(*provider.capabilities(), cloud.capabilities());
    assert_eq!(provider.node().await.expect("answers").instance_id, "i-1");
    running.stop().await;
}

#[tokio::test]
async fn settings_with_a_silent_endpoint_lead_to_a_provider_that_tries_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cloud.sock");
    let mut settings = MockSettings::new("i-1");
    settings.endpoint = Some(path.clone());
    let provider = connect(&settings).await.expect("is not an error");
    assert!(provider.capabilities().attach_while_running);
    let error = provider.node().await.expect_err("nobody serves");
    assert_eq!(error.class, ErrorClass::Transient);
    let (cancellation, task) = serve(&cloud(), &path);
    provider.node().await.expect("is served now");
    cancellation.cancel();
    task.await.expect("the server must end");
}

#[tokio::test]
async fn settings_without_an_endpoint_lead_to_a_cloud_of_one_node() {
    let mut settings = MockSettings::new("i-9");
    settings.instant = true;
    settings.primary_mac = Some("02:00:00:00:00:09".parse().expect("a mac"));
    settings.primary_address = Some([10, 0, 0, 77].into());
    let provider = connect(&settings).await.expect("must fit");
    let inventory = provider.inventory().await.expect("answers");
    let primary = &inventory.interfaces[0];
    assert_eq!(primary.mac.to_string(), "02:00:00:00:00:09");
    assert_eq!(
        primary.own_addresses,
        [std::net::IpAddr::from([10, 0, 0, 77])]
    );
    settings.instance_type = "unknown".to_owned();
    assert!(
        connect(&settings).await.is_err(),
        "its limits are not known"
    );
}
