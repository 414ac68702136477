//! Who may ask, by which version, how often.

use veni_arm::{Bucket, Buckets, Config};

use super::client::{Served, instant};

#[tokio::test]
async fn a_request_needs_a_token_that_is_good() {
    let mut served = Served::new(instant()).await;
    let path = format!("{}?api-version=2024-05-01", Served::nic());
    let missing = served.bare("GET", &path, &[]).await;
    assert_eq!(
        (missing.status.as_u16(), missing.code()),
        (401, "AuthenticationFailed")
    );
    let wrong = served
        .bare("GET", &path, &[("Authorization", "Bearer x")])
        .await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code()),
        (401, "InvalidAuthenticationToken")
    );
    assert_eq!(served.get(&Served::nic()).await.status, 200);
    served.arm.expire_tokens();
    let expired = served.get(&Served::nic()).await;
    assert_eq!(
        (expired.status.as_u16(), expired.code()),
        (401, "ExpiredAuthenticationToken")
    );
    served.renew().await;
    assert_eq!(served.get(&Served::nic()).await.status, 200);
}

#[tokio::test]
async fn a_request_needs_a_version_of_the_api() {
    let served = Served::new(instant()).await;
    let bearer = format!("Bearer {}", served.token);
    let headers = [("Authorization", bearer.as_str())];
    let missing = served.bare("GET", &Served::nic(), &headers).await;
    assert_eq!(
        (missing.status.as_u16(), missing.code()),
        (400, "MissingApiVersionParameter")
    );
    for version in ["tomorrow", "2010-01-01", "20240501"] {
        let invalid = served.get_by(&Served::nic(), version).await;
        let seen = (invalid.status.as_u16(), invalid.code());
        assert_eq!(seen, (400, "InvalidApiVersionParameter"), "{version}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_case_does_not_matter() {
    let served = Served::new(instant()).await;
    let nobody = Served::path("Microsoft.Network/networkInterfaces/nobody");
    let answer = served.get(&nobody).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (404, "ResourceNotFound")
    );
    assert_eq!(served.get(&Served::nic().to_uppercase()).await.status, 200);
    let machine = Served::path("Microsoft.Compute/virtualMachines/node");
    let answer = served.get(&machine).await;
    let nic = &answer.body["properties"]["networkProfile"]["networkInterfaces"][0]["id"];
    assert_eq!(nic, Served::nic().as_str());
}

#[tokio::test]
async fn a_bucket_that_is_empty_refuses_and_says_for_how_long() {
    let slow = Bucket {
        burst: 2,
        per_second: 0.01,
    };
    let served = Served::new(Config {
        buckets: Some(Buckets {
            reads: slow,
            ..Buckets::default()
        }),
        ..instant()
    })
    .await;
    let first = served.get(&Served::nic()).await;
    let left = first.header("x-ms-ratelimit-remaining-subscription-reads");
    assert_eq!(left, Some("1"));
    assert_eq!(served.get(&Served::nic()).await.status, 200);
    let refused = served.get(&Served::nic()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (429, "TooManyRequests")
    );
    let wait = refused
        .header("retry-after")
        .and_then(|text| text.parse::<u64>().ok());
    assert!(
        wait.is_some_and(|seconds| (1..=100).contains(&seconds)),
        "{wait:?}"
    );
    // Writes have a bucket of their own.
    assert_eq!(served.put(&first.body, None).await.status, 200);
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let served = Served::new(Config {
        page: 2,
        ..instant()
    })
    .await;
    for name in ["a", "b", "c", "d"] {
        let node = veni_arm::NodeConfig::new(name, "nodes-a");
        served.arm.add_node(node).expect("there is room");
    }
    let path = Served::path("Microsoft.Network/networkInterfaces");
    let mut page = served.get(&path).await.body;
    let mut names = Vec::new();
    loop {
        let all = page["value"].as_array().expect("a list");
        assert!(all.len() <= 2);
        names.extend(
            all.iter()
                .filter_map(|nic| nic["name"].as_str().map(str::to_owned)),
        );
        let Some(next) = page["nextLink"].as_str().map(str::to_owned) else {
            break;
        };
        page = served.follow(&next).await.body;
    }
    assert_eq!(names, ["a-nic", "b-nic", "c-nic", "d-nic", "node-nic"]);
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let served = Served::new(instant()).await;
    let nic = served.get(&Served::nic()).await.body;
    served.arm.deny("Microsoft.Network/networkInterfaces/write");
    let refused = served.put(&nic, None).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "AuthorizationFailed")
    );
    served.arm.allow_all();
    let join = "Microsoft.Network/virtualNetworks/subnets/join/action";
    served.arm.deny(join);
    let refused = served.put(&nic, None).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "LinkedAuthorizationFailed")
    );
    let message = refused.body["error"]["message"].as_str().expect("a text");
    assert!(message.contains(join), "{message}");

    served.arm.allow_all();
    let accepted = served.put(&nic, None).await;
    let url = accepted.header("azure-asyncoperation").expect("a URL");
    for kind in ["operations", "operationResults"] {
        let url = url.replace("/operations/", &format!("/{kind}/"));
        assert_eq!(served.follow(&url).await.status, 200);
        let ask = format!("Microsoft.Network/locations/{kind}/read");
        served.arm.deny(&ask);
        let refused = served.follow(&url).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (403, "AuthorizationFailed")
        );
    }
}
