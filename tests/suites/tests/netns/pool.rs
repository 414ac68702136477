//! Addresses: distinct, waited for in order, refused at once when none can come.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use veni_provider::ErrorClass;
use veni_testbed::cloudlab::Operation;
use veni_testbed::cloudlab::mock::{Fault, FaultKind};
use veni_testbed::{Bed, BedConfig, Death, TestPod, binaries, eventually};

/// What the daemon tells of its pool.
async fn pool(bed: &Bed) -> veni_api::v1::PoolResponse {
    let mut operator = bed.daemon(0).operator().await.expect("the daemon answers");
    operator
        .pool(veni_api::v1::PoolRequest {})
        .await
        .expect("the pool")
        .into_inner()
}

/// Waits until the pool has nothing under way.
async fn quiet(bed: &Bed) {
    eventually("a quiet pool", async || {
        let mut operator = bed.daemon(0).operator().await?;
        let plan = operator
            .plan(veni_api::v1::PlanRequest {})
            .await
            .map_err(|error| error.to_string())?;
        let plan = plan.into_inner();
        let attached = pool(bed)
            .await
            .interfaces
            .iter()
            .all(|interface| interface.state == "attached");
        if plan.actions.is_empty() && attached {
            Ok(())
        } else {
            Err(format!("{plan:?}"))
        }
    })
    .await;
}

/// Pods that have all addresses that are free now.
async fn drain(bed: &Bed) -> Vec<TestPod> {
    let mut pods = Vec::new();
    for number in 0..pool(bed).await.free {
        pods.push(bed.running(0, &format!("drain{number}")).await.0);
    }
    assert_eq!(pool(bed).await.free, 0);
    pods
}

/// Waits until so many ADDs wait for an address.
async fn waiting(bed: &Bed, count: u32) {
    eventually(&format!("{count} waiting ADDs"), async || {
        match pool(bed).await.waiting {
            waiting if waiting == count => Ok(()),
            waiting => Err(format!("{waiting} wait")),
        }
    })
    .await;
}

fn break_growth(bed: &Bed, class: ErrorClass) {
    for operation in [Operation::Assign, Operation::AttachInterface] {
        let kind = FaultKind::Error {
            class: class.clone(),
            reason: "out of order".to_owned(),
        };
        bed.lab().cloud().inject(Fault::always(kind).on(operation));
    }
}

#[tokio::test]
async fn sixty_adds_at_once_get_sixty_addresses() {
    let bed = Bed::start(BedConfig::new(1).instance_type("m5.4xlarge")).await;
    let names: Vec<String> = (1..=60).map(|number| format!("burst{number}")).collect();
    let pods = join_all(names.iter().map(|name| bed.pod(0, name))).await;
    let added = join_all(pods.iter().map(|pod| bed.add(pod))).await;
    let addresses: BTreeSet<_> = added
        .iter()
        .map(|added| {
            added
                .as_ref()
                .unwrap_or_else(|error| panic!("{error}"))
                .address()
        })
        .collect();
    assert_eq!(addresses.len(), 60);
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    for deleted in join_all(pods.iter().map(|pod| bed.del(pod))).await {
        deleted.expect("DEL");
    }
    bed.nothing_of_pods(0).await;
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn adds_wait_in_order_for_what_is_released_and_for_what_the_cloud_gives() {
    let bed = Arc::new(
        Bed::start(
            BedConfig::new(1)
                .instance_type("t3.small")
                .set("WARM_IP_TARGET", "1")
                // The cloud is asked less and less often while it refuses.
                .set("VENI_ADD_WAIT", "85"),
        )
        .await,
    );
    quiet(&bed).await;
    break_growth(&bed, ErrorClass::Transient);
    let pods = drain(&bed).await;
    let mut line = Vec::new();
    for number in 1..=3 {
        let pod = Arc::new(bed.pod(0, &format!("waits{number}")).await);
        let (bed_of_task, pod_of_task) = (Arc::clone(&bed), Arc::clone(&pod));
        let task = tokio::spawn(async move { bed_of_task.add(&pod_of_task).await });
        waiting(&bed, number).await;
        line.push((pod, task));
    }
    bed.del(&pods[0]).await.expect("DEL");
    let (first, task) = line.remove(0);
    task.await
        .expect("no panic")
        .expect("the first in line gets the address that was released");
    assert_eq!(pool(&bed).await.waiting, 2, "the others wait on");
    bed.lab().cloud().clear_faults();
    let mut late = Vec::new();
    for (pod, task) in line {
        task.await
            .expect("no panic")
            .expect("the cloud gives again");
        late.push(pod);
    }
    let mut all: Vec<&TestPod> = pods.iter().collect();
    all.push(&first);
    all.extend(late.iter().map(Arc::as_ref));
    bed.sound(&all).await;
    Arc::into_inner(bed).expect("no task is left").end().await;
}

#[tokio::test]
async fn an_add_fails_at_once_with_the_cloud_s_reason_when_the_subnet_is_full() {
    let bed = Bed::start(
        BedConfig::new(1)
            .instance_type("t3.small")
            .set("WARM_IP_TARGET", "1"),
    )
    .await;
    quiet(&bed).await;
    for subnet in &bed.lab().cloud().config().subnets {
        bed.lab()
            .cloud()
            .fill_subnet(&subnet.id, 0)
            .expect("the subnet can be filled");
    }
    let pods = drain(&bed).await;
    let pod = bed.pod(0, "refused").await;
    let error = bed.add(&pod).await.expect_err("no address can come");
    assert_eq!(error.code, 100, "{error}");
    assert!(
        error.to_string().contains("subnet"),
        "the cloud's reason is missing: {error}"
    );
    let mut all: Vec<&TestPod> = pods.iter().collect();
    all.push(&pod);
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn an_add_fails_at_once_with_the_cloud_s_reason_when_the_node_may_not_ask() {
    let bed = Bed::start(
        BedConfig::new(1)
            .instance_type("t3.small")
            .set("WARM_IP_TARGET", "1"),
    )
    .await;
    quiet(&bed).await;
    for operation in [Operation::Assign, Operation::AttachInterface] {
        bed.lab().cloud().deny(operation);
    }
    let pods = drain(&bed).await;
    let pod = bed.pod(0, "refused").await;
    let error = bed.add(&pod).await.expect_err("no address can come");
    assert_eq!(error.code, 100, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("AssignPrivateIpAddresses") || text.contains("CreateNetworkInterface"),
        "{text}"
    );
    let mut all: Vec<&TestPod> = pods.iter().collect();
    all.push(&pod);
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn an_add_beyond_the_node_s_limit_fails_at_once_and_works_when_a_pod_has_gone() {
    // Two interfaces with one address each.
    let bed = Bed::start(BedConfig::new(1).instance_type("t3.micro")).await;
    let (one, _) = bed.running(0, "one").await;
    let (two, _) = bed.running(0, "two").await;
    let three = bed.pod(0, "three").await;
    let error = bed.add(&three).await.expect_err("the node is full");
    assert_eq!(error.code, 100, "{error}");
    bed.del(&one).await.expect("DEL");
    bed.add(&three)
        .await
        .expect("an address that cools is waited for");
    bed.sound(&[&one, &two, &three]).await;
    bed.end().await;
}

#[tokio::test]
async fn an_add_whose_plugin_is_killed_while_it_waits_gives_up_its_place() {
    let config = BedConfig::new(1).instance_type("t3.small");
    let bed = Bed::start(config.set("WARM_IP_TARGET", "1")).await;
    quiet(&bed).await;
    break_growth(&bed, ErrorClass::Transient);
    let mut pods = drain(&bed).await;
    let killed = bed.pod(0, "killed").await;
    let call = bed.call("ADD", &killed);
    let mut plugin = call.start(bed.exec(0, binaries::plugin())).await;
    waiting(&bed, 1).await;
    plugin.kill().await.expect("the plugin can be killed");
    waiting(&bed, 0).await;
    pods.push(killed);
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn a_del_ends_an_add_that_waits_and_nothing_is_left_of_it() {
    let config = BedConfig::new(1).instance_type("t3.small");
    let bed = Bed::start(config.set("WARM_IP_TARGET", "1")).await;
    quiet(&bed).await;
    break_growth(&bed, ErrorClass::Transient);
    let mut pods = drain(&bed).await;
    let pod = bed.pod(0, "deleted").await;
    let delete = async {
        waiting(&bed, 1).await;
        bed.del(&pod).await.expect("DEL");
    };
    let (added, ()) = tokio::join!(bed.add(&pod), delete);
    assert_eq!(added.expect_err("it was deleted").code, 11);
    assert_eq!(pool(&bed).await.waiting, 0);
    pods.push(pod);
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn a_daemon_that_is_stopped_while_adds_wait_ends_in_order_and_the_next_one_serves_them() {
    let config = BedConfig::new(1).instance_type("t3.small");
    let bed = Bed::start(config.set("WARM_IP_TARGET", "1")).await;
    quiet(&bed).await;
    break_growth(&bed, ErrorClass::Transient);
    let mut pods = drain(&bed).await;
    let pod = bed.pod(0, "waits").await;
    let restart = async {
        waiting(&bed, 1).await;
        let death = bed.daemon(0).terminate().await;
        assert_eq!(death, Death::Exited(0), "{}", bed.daemon(0).log_tail());
        bed.lab().cloud().clear_faults();
        bed.daemon(0).start().await;
    };
    let (added, ()) = tokio::join!(bed.add(&pod), restart);
    if let Err(error) = added {
        assert_eq!(error.code, 11, "the runtime is told to come again: {error}");
        bed.add(&pod).await.expect("ADD again");
    }
    pods.push(pod);
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}
