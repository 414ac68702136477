//! Events about pods and pods' annotations.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::annotations::Annotator;
use super::super::availability::{Reason, Trouble};
use super::super::event_queue::Told;
use super::super::pod_events::EventWriter;
use super::{Bed, MINUTE, SECOND};
use crate::attachment::PodName;
use crate::events::{EventKind, Events, PodNews};

fn pod(name: &str) -> PodName {
    PodName {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("u-{name}"),
    }
}

fn fails(events: &Events, name: &str) {
    let news = PodNews::Failed {
        lacks_address: true,
        why: "no address for it; wait".to_owned(),
    };
    let about = Some((pod(name), news));
    events.emit_of_pod(EventKind::Add, "said".to_owned(), about);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_add_fails_again_and_again_has_one_event_a_minute() {
    let bed = Bed::new(false);
    let (_troubles, told) = mpsc::channel(1);
    let writer = EventWriter::new(&bed.writers);
    tokio::spawn(writer.run(bed.events.subscribe(), told));
    for _ in 0..12 {
        fails(&bed.events, "web-0");
        tokio::time::sleep(5 * SECOND).await;
    }
    tokio::time::sleep(SECOND).await;
    let asked = bed.api.take();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        asked[0].path,
        "/apis/events.k8s.io/v1/namespaces/shop/events"
    );
    let event = &asked[0].body;
    assert_eq!(event["regarding"]["uid"], "u-web-0");
    assert_eq!(
        (&event["reason"], &event["type"]),
        (&json!("NoAddress"), &json!("Warning"))
    );
    assert_eq!(event["note"], "no address for it; wait");
    fails(&bed.events, "web-0");
    tokio::time::sleep(SECOND).await;
    let again = bed.api.take();
    assert_eq!(again.len(), 1);
    assert_eq!(
        again[0].method,
        http::Method::PATCH,
        "the same event, counted"
    );
}

#[tokio::test(start_paused = true)]
async fn events_wait_while_the_api_fails_and_what_it_refuses_is_not_repeated() {
    let bed = Bed::new(false);
    let (troubles, told) = mpsc::channel(1);
    let writer = EventWriter::new(&bed.writers);
    tokio::spawn(writer.run(bed.events.subscribe(), told));
    bed.api.refuse("/events", Some(500));
    fails(&bed.events, "web-0");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bed.api.take(), []);
    bed.api.refuse("/events", None);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bed.api.take().len(), 1);
    bed.api.refuse("/events", Some(403));
    fails(&bed.events, "web-1");
    tokio::time::sleep(MINUTE).await;
    bed.api.refuse("/events", None);
    let trouble = Trouble {
        reason: Reason::SubnetExhausted,
        note: "subnet-1 is full".to_owned(),
    };
    let sent = troubles.send(Told::trouble(&trouble)).await;
    sent.expect("somebody listens");
    let began = Instant::now();
    tokio::time::sleep(MINUTE).await;
    let asked = bed.api.take();
    assert_eq!(asked.len(), 1, "{:?}: {asked:?}", began.elapsed());
    let about = &asked[0].body["regarding"];
    assert_eq!(
        (&about["name"], &about["uid"]),
        (&json!("veni-x"), &json!("u-own"))
    );
}

/// Writes pods' annotations from now on.
fn annotate(bed: &Bed) {
    let annotator = Annotator::new(bed.api.client(), bed.writers.health.clone());
    let (known, events) = (bed.writers.known.clone(), bed.events.subscribe());
    let endpoints = Arc::clone(&bed.served.endpoints);
    tokio::spawn(async move { annotator.run(&endpoints, known, events).await });
}

fn tell(bed: &Bed, name: &str, news: PodNews) {
    let about = Some((pod(name), news));
    bed.events
        .emit_of_pod(EventKind::Add, "said".to_owned(), about);
}

fn addresses() -> Vec<IpAddr> {
    vec![[10, 0, 0, 5].into()]
}

#[tokio::test(start_paused = true)]
async fn one_pod_s_annotation_that_cannot_be_written_keeps_no_other_waiting() {
    let bed = Bed::new(false);
    annotate(&bed);
    bed.api.refuse("pods/web-0", Some(500));
    for name in ["web-0", "web-1", "web-2"] {
        tell(&bed, name, PodNews::Added(addresses()));
    }
    tokio::time::sleep(MINUTE).await;
    let paths: Vec<String> = bed.api.take().into_iter().map(|one| one.path).collect();
    let expected = ["web-1", "web-2"].map(|name| format!("/api/v1/namespaces/shop/pods/{name}"));
    assert_eq!(paths, expected);
    bed.api.refuse("pods/web-0", None);
    let path = "/api/v1/namespaces/shop/pods/web-0";
    assert_eq!(bed.written(path, MINUTE).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn annotations_that_lack_a_right_are_written_a_while_after_it_is_granted() {
    let bed = Bed::new(false);
    annotate(&bed);
    bed.api.refuse("pods/web-0", Some(403));
    tell(&bed, "web-0", PodNews::Added(addresses()));
    tokio::time::sleep(SECOND).await;
    bed.api.refuse("pods/web-0", None);
    let path = "/api/v1/namespaces/shop/pods/web-0";
    assert_eq!(bed.written(path, 4 * MINUTE).await.len(), 0);
    assert_eq!(bed.written(path, 2 * MINUTE).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_s_annotation_follows_its_network() {
    let bed = Bed::new(false);
    annotate(&bed);
    let path = "/api/v1/namespaces/shop/pods/web-0";
    for (news, text) in [
        (PodNews::Added(addresses()), "10.0.0.5"),
        (PodNews::Deleted(addresses()), ""),
    ] {
        tell(&bed, "web-0", news);
        let patches = bed.written(path, SECOND).await;
        let expected = json!({ "metadata": {
            "uid": "u-web-0",
            "annotations": { "vpc.amazonaws.com/pod-ips": text },
        } });
        assert_eq!(patches, [expected]);
    }
}
