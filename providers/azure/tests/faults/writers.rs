//! Others who write the same NIC, and changes that wait together.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use veni_arm::{Fault, FaultKind, Matcher};
use veni_provider::{ErrorClass, Grant, Provider};
use veni_provider_azure::AzureProvider;

use super::{addresses, class, cloud, id, names, nic, shown, writes};

#[tokio::test(start_paused = true)]
async fn a_write_that_others_overtake_is_computed_anew_and_theirs_stays() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    cloud
        .arm
        .inject(Fault::next(writes(), FaultKind::Rival).times(5));
    let grant = provider
        .assign(&id, addresses(2))
        .await
        .expect("the sixth passes");
    let after = shown(&cloud, "node-0-nic").await;
    let all = names(&after);
    let rivals: Vec<&String> = all
        .iter()
        .filter(|name| name.starts_with("rival-"))
        .collect();
    assert_eq!((rivals.len(), all.len()), (5, 8), "{all:?}");
    assert_eq!(nic(&provider).await.addresses, grant.addresses);

    // What is theirs is neither lent nor given back.
    let theirs: Vec<IpAddr> = after["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| {
            one["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("rival-"))
        })
        .filter_map(|one| one["properties"]["privateIPAddress"].as_str()?.parse().ok())
        .collect();
    let grant = Grant {
        addresses: theirs,
        prefixes: Vec::new(),
    };
    assert_eq!(
        class(provider.release(&id, &grant).await),
        ErrorClass::Invalid
    );
    assert_eq!(names(&shown(&cloud, "node-0-nic").await), all);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_others_writes_ends_as_passing_trouble_that_changed_nothing() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    cloud
        .arm
        .inject(Fault::next(writes(), FaultKind::Rival).times(1_000));
    let refused = class(provider.assign(&id, addresses(2)).await);
    assert_eq!(refused, ErrorClass::Transient);
    assert!(
        cloud.arm.requests("PUT") < 20,
        "a storm is no reason for another"
    );
    let ours = names(&shown(&cloud, "node-0-nic").await);
    assert!(
        !ours.iter().any(|name| name.starts_with("veni-")),
        "{ours:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn everything_else_of_the_nic_is_written_back_as_it_was_read() {
    let cloud = cloud();
    let (machine, nic_name) = cloud.machine(|node| {
        node.security_groups = vec!["web".to_owned(), "all".to_owned()];
    });
    let provider = AzureProvider::connect(cloud.settings(&machine)).await;
    let provider = provider.expect("must connect");
    let before = shown(&cloud, &nic_name).await;
    let id = id(&provider).await;
    let grant = provider.assign(&id, addresses(3)).await.expect("must work");
    let during = shown(&cloud, &nic_name).await;
    let primary = &during["properties"]["ipConfigurations"][0]["properties"];
    for one in during["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list")
    {
        let groups = &one["properties"]["applicationSecurityGroups"];
        assert_eq!(groups, &primary["applicationSecurityGroups"], "{one}");
        assert_eq!(groups.as_array().map(Vec::len), Some(2));
    }
    provider.release(&id, &grant).await.expect("must work");
    let mut after = shown(&cloud, &nic_name).await;
    // The etags are new, and nothing else.
    let etag = before["etag"].clone();
    after["etag"] = etag.clone();
    for one in after["properties"]["ipConfigurations"]
        .as_array_mut()
        .expect("a list")
    {
        one["etag"] = etag.clone();
    }
    assert_eq!(after, before);
    assert_eq!(after["somethingNew"]["of"], "tomorrow");
}

#[tokio::test(start_paused = true)]
async fn changes_that_wait_together_become_one_write() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    let changes = (0..20).map(|_| provider.assign(&id, addresses(5)));
    let grants = futures::future::join_all(changes).await;
    let all: BTreeSet<IpAddr> = grants
        .into_iter()
        .flat_map(|grant| grant.expect("must work").addresses)
        .collect();
    assert_eq!(all.len(), 100);
    assert!(cloud.arm.writes() <= 3, "{} writes", cloud.arm.writes());
    let held: BTreeSet<IpAddr> = nic(&provider).await.addresses.into_iter().collect();
    assert_eq!(held, all);
}

#[tokio::test(start_paused = true)]
async fn a_release_is_not_told_what_another_change_of_its_write_lacked() {
    let code = || "SubnetIsFull".to_owned();
    let at_once = FaultKind::Refuse {
        status: 400,
        code: code(),
        retry_after: None,
    };
    let at_the_end = FaultKind::FailOperation { code: code() };
    for (kind, expected) in [
        (at_once, ErrorClass::Transient),
        (at_the_end, ErrorClass::OutcomeUnknown),
    ] {
        let cloud = cloud();
        let provider = cloud.provider().await;
        let id = id(&provider).await;
        let grant = provider.assign(&id, addresses(1)).await.expect("must work");
        cloud.arm.inject(Fault::next(writes(), kind.clone()));
        let assigning = provider.assign(&id, addresses(2));
        let releasing = provider.release(&id, &grant);
        let (assigned, released) = futures::join!(assigning, releasing);
        assert_eq!(cloud.arm.requests("PUT"), 2, "they share one write");
        let full = class(assigned);
        assert!(matches!(full, ErrorClass::Exhausted { .. }), "{full:?}");
        assert_eq!(class(released), expected, "{kind:?}");
        provider.release(&id, &grant).await.expect("must work");
        assert!(nic(&provider).await.addresses.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_before_the_write_is_sent_takes_nobody_with_it() {
    let cloud = cloud();
    let provider = cloud.provider().await;
    let id = id(&provider).await;
    // Both are taken into one write. It is overtaken, and before it is computed anew the
    // caller that writes goes away.
    cloud.arm.inject(Fault::next(writes(), FaultKind::Rival));
    cloud.arm.inject(Fault {
        of: Matcher::new("GET", "networkInterfaces"),
        skip: 1,
        times: 1,
        kind: FaultKind::Delay(Duration::from_secs(15)),
    });
    let leader = tokio::time::timeout(Duration::from_secs(5), provider.assign(&id, addresses(3)));
    let (left, grant) = futures::join!(leader, provider.assign(&id, addresses(2)));
    assert!(left.is_err(), "it went away: {left:?}");
    let grant = grant.expect("must work");
    assert_eq!(nic(&provider).await.addresses, grant.addresses);
    assert_eq!(grant.addresses.len(), 2);
}
