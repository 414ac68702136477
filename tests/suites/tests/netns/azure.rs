//! The whole daemon on a Resource Manager with rules: its assignments decide what the virtual
//! network lets through. Nodes find themselves by instance metadata.

use std::time::Duration;

use veni_testbed::cloudlab::veni_arm::{Config, Fault, FaultKind, Matcher};
use veni_testbed::cloudlab::{address_seen_by_internet, enter};
use veni_testbed::traffic::reaches;
use veni_testbed::{Added, Bed, BedConfig, PATIENCE, TestPod, eventually};

/// Writes run for half a second; metadata shows them after another.
fn config() -> Config {
    Config {
        operation_time: Duration::from_millis(500),
        metadata_lag: Duration::from_millis(500),
        ..Config::default()
    }
}

fn arm(bed: &Bed) -> &veni_testbed::cloudlab::veni_arm::Arm {
    bed.lab().arm().expect("this bed has one").arm()
}

/// How many ranges a node's NIC holds beside its primary address.
fn held(bed: &Bed, node: usize) -> usize {
    let cloud = bed.lab().arm().expect("this bed has one");
    let interfaces = cloud.interfaces(bed.lab().node(node).instance_id());
    interfaces
        .iter()
        .map(|one| one.interface.ranges().len() - 1)
        .sum()
}

/// Pods that are all there before the first gets its network, so that their ADDs come at once.
async fn burst(bed: &Bed, node: usize, count: usize, name: &str) -> Vec<(TestPod, Added)> {
    let names: Vec<String> = (0..count).map(|number| format!("{name}{number}")).collect();
    let pods = futures::future::join_all(names.iter().map(|name| bed.pod(node, name))).await;
    let added = futures::future::join_all(pods.iter().map(|pod| bed.add(pod))).await;
    let added = added.into_iter().map(|added| added.expect("ADD"));
    pods.into_iter().zip(added).collect()
}

fn all(pods: &[(TestPod, Added)]) -> Vec<&TestPod> {
    pods.iter().map(|(pod, _)| pod).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_two_nodes_reach_each_other_and_the_internet_by_addresses_of_their_nics() {
    let bed = Bed::start(BedConfig::arm(2, config())).await;
    let mut pods = burst(&bed, 0, 3, "one").await;
    pods.extend(burst(&bed, 1, 3, "two").await);
    let internet = bed.lab().internet_addresses()[0];
    for (from, _) in &pods {
        for (_, to) in &pods {
            assert!(
                reaches(from.path(), to.address()).await,
                "{from:?} to {to:?}"
            );
        }
        let seen = address_seen_by_internet(from.path(), internet, PATIENCE).await;
        let node = bed.node_address(from.node());
        assert_eq!(seen.expect("the internet answers"), node);
    }
    bed.sound(&all(&pods)).await;
    bed.end().await;
}

/// Writes of the Resource Manager since some moment.
fn writes_since(bed: &Bed, before: u64) -> u64 {
    arm(bed).writes() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_100_pods_is_three_writes_at_most_and_replacements_are_none() {
    // All ADDs have come before the first write ends, also on a slow machine. Addresses that
    // cool are not within the pool, and nothing goes back meanwhile.
    let slow = Config {
        operation_time: Duration::from_secs(15),
        ..config()
    };
    let config = BedConfig::arm(1, slow)
        .set("IP_COOLDOWN_PERIOD", "0")
        .set("VENI_RELEASE_DELAY", "3600")
        .set("VENI_ADD_WAIT", "200");
    let bed = Bed::start(config).await;
    bed.sound(&[]).await;
    let before = arm(&bed).writes();
    let mut pods = burst(&bed, 0, 100, "p").await;
    let bought = writes_since(&bed, before);
    assert!((1..=3).contains(&bought), "{bought} writes");
    bed.sound(&all(&pods)).await;
    // Half a batch is spare again, so nothing of the burst is still to be bought.
    eventually("the pool is at rest", async || match held(&bed, 0) {
        enough if enough >= 108 => Ok(()),
        few => Err(format!("{few} are held")),
    })
    .await;
    let before = arm(&bed).writes();
    for number in 0..100 {
        let (gone, _) = pods.remove(0);
        bed.del(&gone).await.expect("DEL");
        pods.push(bed.running(0, &format!("again{number}")).await);
    }
    assert_eq!(writes_since(&bed, before), 0);
    bed.sound(&all(&pods)).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_burst_has_bought_goes_back_when_its_pods_are_gone() {
    let bed = Bed::start(BedConfig::arm(1, config())).await;
    let (stays, _) = bed.running(0, "stays").await;
    let pods = burst(&bed, 0, 40, "p").await;
    let most = held(&bed, 0);
    assert!(most > 40, "{most} held");
    for (pod, _) in &pods {
        bed.del(pod).await.expect("DEL");
    }
    eventually("the excess is given back", async || match held(&bed, 0) {
        few if few <= 32 => Ok(()),
        many => Err(format!("{many} are held")),
    })
    .await;
    bed.sound(&[&stays]).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_outlives_its_daemon_is_not_made_again_and_loses_nothing() {
    let slow = Config {
        operation_time: Duration::from_secs(5),
        ..config()
    };
    // What undone ADDs had would cool, and more be bought in its place.
    let config = BedConfig::arm(1, slow).set("IP_COOLDOWN_PERIOD", "0");
    let bed = Bed::start(config).await;
    let (first, _) = bed.running(0, "first").await;
    bed.sound(&[&first]).await;
    let before = arm(&bed).writes();
    let waiting: Vec<TestPod> = futures::future::join_all(
        ["a", "b", "c"]
            .iter()
            // Whenever they are counted, one block more is needed, and never two.
            .flat_map(|name| (0..7).map(move |number| format!("{name}{number}")))
            .map(async |name| bed.pod(0, &name).await),
    )
    .await;
    let adds = futures::future::join_all(waiting.iter().map(|pod| bed.add(pod)));
    let killed = async {
        eventually("a write has begun", async || {
            match writes_since(&bed, before) {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        bed.daemon(0).kill().await;
        bed.daemon(0).start().await;
    };
    let (outcomes, ()) = futures::future::join(adds, killed).await;
    let mut pods = vec![&first];
    for (pod, outcome) in waiting.iter().zip(outcomes) {
        if outcome.is_err() {
            bed.add(pod).await.expect("the runtime's second try");
        }
        pods.push(pod);
    }
    assert_eq!(writes_since(&bed, before), 1, "one write serves them all");
    bed.sound(&pods).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_writes_into_the_nic_stays_and_serves_no_pod() {
    let bed = Bed::start(BedConfig::arm(1, config())).await;
    let nic = format!("{}-nic", bed.lab().node(0).instance_id());
    let cloud = bed.lab().arm().expect("this bed has one");
    let ranges = || {
        let all = cloud.interfaces(bed.lab().node(0).instance_id());
        all.into_iter()
            .flat_map(|one| one.interface.ranges())
            .collect::<Vec<_>>()
    };
    let before = ranges();
    arm(&bed).write_as_rival(&nic);
    let rival = ranges().into_iter().find(|range| !before.contains(range));
    let rival = rival.expect("somebody else's address");
    // Once more in the middle of a write of the daemon's.
    let of = Matcher::new("PUT", "networkInterfaces");
    arm(&bed).inject(Fault::next(of, FaultKind::Rival));
    let pods = burst(&bed, 0, 40, "p").await;
    for (_, added) in &pods {
        assert!(!rival.contains(&added.address()), "{added:?}");
    }
    assert!(reaches(pods[0].0.path(), pods[39].1.address()).await);
    for (pod, _) in &pods {
        bed.del(pod).await.expect("DEL");
    }
    eventually("the excess is given back", async || match held(&bed, 0) {
        few if few <= 34 => Ok(()),
        many => Err(format!("{many} are held")),
    })
    .await;
    assert!(ranges().contains(&rival), "{rival} in {:?}", ranges());
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_have_addresses_of_blocks_and_single_ones_where_the_subnet_has_no_block() {
    let blocks = || BedConfig::arm(1, config()).set("ENABLE_PREFIX_DELEGATION", "true");
    let held_blocks = |bed: &Bed| {
        let cloud = bed.lab().arm().expect("this bed has one");
        let all = cloud.interfaces(bed.lab().node(0).instance_id());
        all.iter()
            .map(|one| one.interface.prefixes.len())
            .sum::<usize>()
    };
    let bed = Bed::start(blocks()).await;
    let pods = burst(&bed, 0, 20, "p").await;
    assert!(held_blocks(&bed) >= 2, "20 pods need two blocks");
    assert!(reaches(pods[0].0.path(), pods[19].1.address()).await);
    bed.sound(&all(&pods)).await;
    bed.end().await;

    let bed = Bed::start_without_daemons(blocks()).await;
    arm(&bed).fragment("nodes-a").expect("the nodes' subnet");
    bed.daemon(0).start().await;
    let pods = burst(&bed, 0, 3, "p").await;
    assert_eq!(held_blocks(&bed), 0);
    bed.sound(&all(&pods)).await;
    bed.end().await;
}

/// The first line of what instance metadata answers.
async fn metadata_answers(from: &std::path::Path) -> std::io::Result<String> {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpStream};
    enter(from, || {
        let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
        let mut stream = TcpStream::connect_timeout(&metadata, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let asked = "GET /metadata/instance/compute?api-version=2021-01-01 HTTP/1.1\r\n\
                     Host: metadata\r\nMetadata: true\r\nConnection: close\r\n\r\n";
        stream.write_all(asked.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_no_token_of_the_node_unless_metadata_is_opened_to_them() {
    let bed = Bed::start(BedConfig::arm(1, config())).await;
    let (pod, _) = bed.running(0, "pod").await;
    let refused = metadata_answers(pod.path())
        .await
        .expect_err("it is closed");
    assert_eq!(
        refused.kind(),
        std::io::ErrorKind::HostUnreachable,
        "{refused}"
    );
    let node = metadata_answers(bed.node(0)).await;
    assert_eq!(node.expect("the node is answered"), "HTTP/1.1 200 OK");

    bed.daemon(0).terminate().await;
    let open = [("VENI_BLOCK_POD_METADATA", "false")];
    bed.daemon(0).start_with(&open).await;
    bed.daemon(0).ready().await;
    let answered = metadata_answers(pod.path()).await;
    assert_eq!(answered.expect("it is open"), "HTTP/1.1 200 OK");
    let log = bed.daemon(0).log();
    let warned = "every pod can take a token of the node's managed identity";
    assert!(log.contains(warned), "{log}");
    bed.sound(&[&pod]).await;
    bed.end().await;
}
