//! Tokens, refusals, lag and faults.

use std::net::IpAddr;
use std::time::Duration;

use hyper::{Request, StatusCode};

use super::super::exchange::Answer;
use super::super::{Instance, Service, Settings, View};
use super::{instance, interface, view};

const PUT: &str = "PUT /latest/api/token";
const GET: &str = "GET /latest/meta-data/instance-id";
const LIFE: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";

async fn ask_from(service: &Service, peer: &str, line: &str, headers: &[(&str, &str)]) -> Answer {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let peer: IpAddr = peer.parse().expect("an address");
    service.answer(peer, &head).await
}

async fn ask(service: &Service, line: &str, headers: &[(&str, &str)]) -> Answer {
    ask_from(service, "10.0.0.9", line, headers).await
}

async fn status(service: &Service, line: &str, headers: &[(&str, &str)]) -> u16 {
    ask(service, line, headers).await.status.as_u16()
}

async fn token(service: &Service, life: &str) -> String {
    let answer = ask(service, PUT, &[(LIFE, life)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.text
}

fn service(change: impl FnOnce(&mut Instance)) -> Service {
    let mut one = instance("i-1");
    change(&mut one);
    Service::new(View::of(one), Settings::default())
}

fn strict() -> Service {
    service(|one| one.options.tokens_required = true)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_until_its_life_ends() {
    let service = strict();
    let token = token(&service, "60").await;
    let answer = ask(&service, GET, &[(TOKEN, &token)]).await;
    assert_eq!((answer.text.as_str(), answer.token_life), ("i-1", Some(60)));
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert_eq!(status(&service, GET, &[(TOKEN, &token)]).await, 200);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(status(&service, GET, &[(TOKEN, &token)]).await, 401);
}

#[tokio::test]
async fn a_token_s_life_is_one_second_to_six_hours() {
    let service = strict();
    for (life, expected) in [
        ("1", 200),
        ("21600", 200),
        ("0", 400),
        ("21601", 400),
        ("-1", 400),
        ("an hour", 400),
        ("", 400),
    ] {
        assert_eq!(
            status(&service, PUT, &[(LIFE, life)]).await,
            expected,
            "{life}"
        );
    }
    assert_eq!(status(&service, PUT, &[]).await, 400);
    let answer = ask(&service, PUT, &[(LIFE, "300")]).await;
    assert_eq!(answer.token_life, Some(300));
}

#[tokio::test]
async fn whoever_was_forwarded_gets_no_token() {
    let forwarded = [(LIFE, "60"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(status(&strict(), PUT, &forwarded).await, 403);
}

#[tokio::test]
async fn only_the_latest_version_gives_tokens() {
    let service = strict();
    for (line, expected) in [
        ("PUT /2021-03-23/api/token", 403),
        ("PUT /latest/meta-data/mac", 405),
        ("POST /latest/api/token", 405),
        ("DELETE /latest/meta-data/mac", 405),
    ] {
        assert_eq!(
            status(&service, line, &[(LIFE, "60")]).await,
            expected,
            "{line}"
        );
    }
    let token = token(&service, "60").await;
    let headers = [(TOKEN, token.as_str())];
    assert_eq!(
        status(&service, "GET /latest/api/token", &headers).await,
        405
    );
}

#[tokio::test]
async fn without_a_token_there_is_an_answer_only_while_tokens_are_optional() {
    assert_eq!(status(&service(|_| ()), GET, &[]).await, 200);
    assert_eq!(status(&strict(), GET, &[]).await, 401);
}

#[tokio::test]
async fn a_wrong_token_is_refused_even_where_none_is_needed() {
    for service in [strict(), service(|_| ())] {
        let good = token(&service, "60").await;
        let mut wrong = vec!["wrong".to_owned(), String::new(), format!("{good}0")];
        wrong.push(good.to_uppercase().replace('0', "1"));
        // The same seal under a longer life.
        wrong.push(format!("f{}", &good[1..]));
        for token in wrong {
            assert_eq!(
                status(&service, GET, &[(TOKEN, &token)]).await,
                401,
                "{token}"
            );
        }
        assert_eq!(status(&service, GET, &[(TOKEN, &good)]).await, 200);
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_instance_alone() {
    let mut both = view();
    let mut other = instance("i-2");
    other.interfaces = vec![interface("eni-3", "0e:00:00:00:00:03", 0, &["10.0.0.99"])];
    both.instances.insert(other.id.clone(), other);
    let service = Service::new(both, Settings::default());
    let token = token(&service, "60").await;
    let headers = [(TOKEN, token.as_str())];
    let answer = ask_from(&service, "10.0.0.99", GET, &headers).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let answer = ask_from(&service, "10.0.0.99", GET, &[]).await;
    assert_eq!(answer.text, "i-2");
}

#[tokio::test]
async fn only_answers_to_requests_for_tokens_have_a_hop_limit() {
    let service = service(|one| one.options.hop_limit = 2);
    assert_eq!(ask(&service, PUT, &[(LIFE, "60")]).await.hop_limit, Some(2));
    assert_eq!(ask(&service, PUT, &[]).await.hop_limit, Some(2));
    assert_eq!(ask(&service, GET, &[]).await.hop_limit, None);
}

#[tokio::test]
async fn a_switched_off_endpoint_forbids_everything() {
    let off = service(|one| one.options.enabled = false);
    assert_eq!(status(&off, GET, &[]).await, 403);
    assert_eq!(status(&off, PUT, &[(LIFE, "60")]).await, 403);
}

#[tokio::test]
async fn ipv6_is_answered_only_when_switched_on() {
    let peer = "2600:1f14:0:1::10";
    let answer = ask_from(&service(|_| ()), peer, GET, &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let answer = ask_from(&service(|one| one.options.ipv6 = true), peer, GET, &[]).await;
    assert_eq!(answer.text, "i-1");
}

#[tokio::test]
async fn strangers_find_nothing_unless_one_instance_is_meant() {
    let answer = ask_from(&strict(), "192.0.2.1", PUT, &[(LIFE, "60")]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let settings = Settings {
        pinned: Some("i-1".to_owned()),
        ..Settings::default()
    };
    let pinned = Service::new(view(), settings);
    assert_eq!(ask_from(&pinned, "192.0.2.1", GET, &[]).await.text, "i-1");
}

#[tokio::test(start_paused = true)]
async fn each_view_becomes_visible_when_its_lag_has_passed() {
    let of_type = |name: &str| {
        let mut one = instance("i-1");
        one.instance_type = name.to_owned();
        View::of(one)
    };
    let service = Service::new(of_type("first"), Settings::default());
    let shown = || service.shown().instances["i-1"].instance_type.clone();
    let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
    service.set_lag(Duration::from_secs(10));
    service.publish(of_type("second"));
    wait(5).await;
    service.publish(of_type("third"));
    assert_eq!(shown(), "first");
    wait(5).await;
    assert_eq!(shown(), "second");
    let told = ask(&service, "GET /latest/meta-data/instance-type", &[]).await;
    assert_eq!(told.text, "second");
    wait(5).await;
    assert_eq!(shown(), "third");
    // A shorter lag overtakes what is still to come.
    service.publish(of_type("overtaken"));
    service.set_lag(Duration::ZERO);
    service.publish(of_type("last"));
    assert_eq!(shown(), "last");
    wait(60).await;
    assert_eq!(shown(), "last");
}

#[tokio::test(start_paused = true)]
async fn faults_come_and_go() {
    let service = strict();
    let before = token(&service, "600").await;
    let headers = [(TOKEN, before.as_str())];

    service.set_unavailable(true);
    assert_eq!(status(&service, GET, &headers).await, 503);
    assert_eq!(status(&service, PUT, &[(LIFE, "60")]).await, 503);
    service.set_unavailable(false);

    service.set_refuse_tokens(true);
    assert_eq!(status(&service, GET, &headers).await, 401);
    assert_eq!(status(&service, PUT, &[(LIFE, "60")]).await, 403);
    service.set_refuse_tokens(false);

    service.set_delay(Duration::from_secs(3));
    let began = tokio::time::Instant::now();
    assert_eq!(status(&service, GET, &headers).await, 200);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    service.set_delay(Duration::ZERO);

    service.revoke_tokens();
    assert_eq!(status(&service, GET, &headers).await, 401);
    let after = token(&service, "600").await;
    assert_eq!(status(&service, GET, &[(TOKEN, &after)]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_when_half_of_their_life_is_over() {
    let service = service(|_| ());
    service.set_credential_life(Duration::from_secs(100));
    let read = async || {
        let path = "GET /latest/meta-data/iam/security-credentials/node";
        ask(&service, path, &[]).await.text
    };
    let first = read().await;
    tokio::time::advance(Duration::from_secs(49)).await;
    assert_eq!(read().await, first);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ne!(read().await, first);
}
