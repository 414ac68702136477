//! The cloud's rules on a paused clock: nodes, shortages, and the truth that auditors and wires see.

use std::net::IpAddr;

use tokio::time::Instant;
use veni_provider::{
    AddressSlots, AttachRequest, ErrorClass, Family, Grant, InterfaceId, Limit, Operation,
    Provider, SubnetId,
};
use veni_provider_mock::config::{ExistingInterface, Shortage};
use veni_provider_mock::{Change, CloudConfig, MockCloud, MockProvider, NodeConfig, SubnetConfig};

const fn addresses(count: u32) -> AddressSlots {
    AddressSlots::Addresses {
        family: Family::V4,
        count,
    }
}

fn attach(token: &str) -> AttachRequest {
    AttachRequest {
        subnet: None,
        slots: Some(addresses(1)),
        token: token.to_owned(),
    }
}

fn with_node(config: CloudConfig) -> (MockCloud, MockProvider, InterfaceId) {
    let cloud = MockCloud::new(config).expect("must fit");
    let node = NodeConfig::new("i-1", "m5.large", "subnet-a");
    let primary = cloud.add_node(node).expect("must fit");
    let provider = cloud.provider("i-1");
    (cloud, provider, primary.id)
}

#[tokio::test(start_paused = true)]
async fn a_shortage_gives_nothing_or_what_is_there_as_configured() {
    for shortage in [Shortage::AllOrNothing, Shortage::Partial] {
        let mut config = CloudConfig::aws().instant();
        config.shortage = shortage;
        let (cloud, provider, primary) = with_node(config);
        cloud
            .fill_subnet(&SubnetId::new("subnet-a"), 3)
            .expect("exists");
        let answer = provider.assign(&primary, addresses(5)).await;
        let left = cloud.dump().subnets[0].free_ipv4;
        match shortage {
            Shortage::AllOrNothing => {
                answer.expect_err("must fail");
                assert_eq!(left, 3, "nothing is taken");
            }
            Shortage::Partial => {
                assert_eq!(answer.expect("gives some").addresses.len(), 3);
                assert_eq!(left, 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_wires_learn_of_every_change_in_order() {
    let cloud = MockCloud::new(CloudConfig::aws().instant()).expect("must fit");
    let mut changes = cloud.subscribe();
    let node = NodeConfig::new("i-1", "m5.large", "subnet-a");
    let primary = cloud.add_node(node).expect("must fit");
    let provider = cloud.provider("i-1");
    let grant = provider
        .assign(&primary.id, addresses(2))
        .await
        .expect("fits");
    let made = provider.attach_interface(&attach("a")).await.expect("fits");
    provider.release(&primary.id, &grant).await.expect("goes");
    cloud.terminate_node("i-1").expect("exists");
    let mut seen = Vec::new();
    while let Ok(change) = changes.try_recv() {
        seen.push(change);
    }
    let instance = || "i-1".to_owned();
    let groups = vec!["sg-default".to_owned()];
    let sources = |addresses| Change::SourcesChanged {
        instance: instance(),
        interface: primary.id.clone(),
        own: primary.own_addresses.clone(),
        addresses,
        prefixes: Vec::new(),
    };
    let detached = |id: &InterfaceId, mac| Change::InterfaceDetached {
        instance: instance(),
        interface: id.clone(),
        mac,
    };
    let wanted = vec![
        Change::NodeAdded {
            instance: instance(),
            instance_type: "m5.large".to_owned(),
        },
        Change::InterfaceAttached {
            instance: instance(),
            interface: primary.clone(),
            security_groups: groups.clone(),
        },
        sources(grant.addresses),
        Change::InterfaceAttached {
            instance: instance(),
            interface: made.clone(),
            security_groups: groups,
        },
        sources(Vec::new()),
        detached(&primary.id, primary.mac),
        detached(&made.id, made.mac),
        Change::NodeRemoved {
            instance: instance(),
        },
    ];
    assert_eq!(seen, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_terminated_node_leaves_nothing_and_its_calls_fail() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    let before = MockCloud::new(cloud.config())
        .expect("must fit")
        .dump()
        .subnets;
    provider.assign(&primary, addresses(3)).await.expect("fits");
    provider.attach_interface(&attach("a")).await.expect("fits");
    cloud.terminate_node("i-1").expect("exists");
    assert_eq!(cloud.dump().subnets, before);
    let error = provider.inventory().await.expect_err("must fail");
    assert_eq!(error.class, ErrorClass::Fatal);
}

#[tokio::test(start_paused = true)]
async fn filling_and_fragmenting_can_be_undone() {
    let cloud = MockCloud::new(CloudConfig::aws().instant()).expect("must fit");
    let before = cloud.dump();
    let subnet = SubnetId::new("subnet-a");
    cloud.fragment_subnet(&subnet).expect("exists");
    cloud.fill_subnet(&subnet, 40).expect("exists");
    let scarce = cloud.dump().subnets[0].clone();
    assert_eq!((scarce.free_ipv4, scarce.free_ipv4_prefixes), (40, 0));
    cloud.unfill(&subnet).expect("exists");
    assert_eq!(cloud.dump(), before);
}

#[tokio::test(start_paused = true)]
async fn a_node_can_be_born_with_more_interfaces() {
    let cloud = MockCloud::new(CloudConfig::azure().instant()).expect("must fit");
    let mut node = NodeConfig::new("vm", "Standard_D2s_v5", "subnet-a");
    node.primary_address = Some(IpAddr::from([10, 0, 0, 50]));
    node.primary_mac = Some("02:00:00:00:00:01".parse().expect("a mac"));
    node.interfaces.push(ExistingInterface {
        subnet: SubnetId::new("subnet-a"),
        managed: false,
        by_hand: false,
        addresses: 3,
        prefixes: 1,
        mac: None,
        network_card: 0,
    });
    let primary = cloud.add_node(node).expect("must fit");
    assert_eq!(primary.own_addresses, [IpAddr::from([10, 0, 0, 50])]);
    assert_eq!(primary.mac.to_string(), "02:00:00:00:00:01");
    let inventory = cloud.provider("vm").inventory().await.expect("answers");
    let second = &inventory.interfaces[1];
    assert_eq!((second.addresses.len(), second.prefixes.len()), (3, 1));
    assert!(!second.managed && !second.primary);
}

#[tokio::test(start_paused = true)]
async fn interfaces_on_other_network_cards_take_no_place_of_the_default_one() {
    let cloud = MockCloud::new(CloudConfig::aws().instant()).expect("must fit");
    let mut node = NodeConfig::new("i-1", "m5.large", "subnet-a");
    node.interfaces = (1..=5)
        .map(|network_card| ExistingInterface {
            subnet: SubnetId::new("subnet-a"),
            managed: true,
            by_hand: false,
            addresses: 0,
            prefixes: 0,
            mac: None,
            network_card,
        })
        .collect();
    cloud.add_node(node).expect("must fit");
    let provider = cloud.provider("i-1");
    for index in 1..3 {
        let made = provider
            .attach_interface(&attach(&format!("{index}")))
            .await;
        let made = made.expect("there is room");
        assert_eq!((made.network_card, made.device_index), (0, index));
    }
    let refused = provider.attach_interface(&attach("one more")).await;
    let limit = Limit::Interfaces;
    let class = refused.expect_err("3 are all").class;
    assert_eq!(class, ErrorClass::LimitReached { limit });
    let inventory = provider.inventory().await.expect("answers");
    let elsewhere = inventory
        .interfaces
        .iter()
        .filter(|one| one.network_card > 0);
    let elsewhere: Vec<_> = elsewhere
        .map(|one| (one.device_index, one.managed))
        .collect();
    assert_eq!(elsewhere, [(1, false); 5]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_fit_leaves_nothing() {
    let (cloud, _, _) = with_node(CloudConfig::aws().instant());
    let before = cloud.dump();
    let taken = NodeConfig::new("i-1", "m5.large", "subnet-a");
    let unknown = NodeConfig::new("i-2", "z9.huge", "subnet-a");
    let nowhere = NodeConfig::new("i-2", "m5.large", "subnet-z");
    let mut same_address = NodeConfig::new("i-2", "m5.large", "subnet-a");
    same_address.primary_address = Some(before.nodes[0].interfaces[0].interface.own_addresses[0]);
    for node in [taken, unknown, nowhere, same_address] {
        cloud.add_node(node).expect_err("must not fit");
        let after = cloud.dump();
        assert_eq!(
            (&after.nodes, &after.subnets),
            (&before.nodes, &before.subnets)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn subnets_that_do_not_fit_are_refused() {
    let range = |text: &str| text.parse().expect("a range");
    for (subnet, reason) in [
        (
            SubnetConfig::new("subnet-a", "z", [range("10.0.64.0/24")]),
            "its id is taken",
        ),
        (
            SubnetConfig::new("c", "z", [range("192.168.0.0/24")]),
            "outside",
        ),
        (
            SubnetConfig::new("c", "z", [range("10.0.1.0/24")]),
            "overlaps",
        ),
        (
            SubnetConfig::new("c", "z", [range("10.0.64.0/30")]),
            "too small",
        ),
    ] {
        let mut config = CloudConfig::aws();
        config.subnets.push(subnet);
        let error = MockCloud::new(config).expect_err("must be refused");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dump_counts_calls_by_node_operation_and_outcome() {
    let (cloud, provider, primary) = with_node(CloudConfig::aws().instant());
    provider.inventory().await.expect("answers");
    provider.inventory().await.expect("answers");
    let none = Grant {
        addresses: vec![IpAddr::from([10, 0, 0, 9])],
        prefixes: Vec::new(),
    };
    provider.release(&primary, &none).await.expect("is success");
    cloud.deny(Operation::Assign);
    provider
        .assign(&primary, addresses(1))
        .await
        .expect_err("denied");
    let calls = cloud.dump().calls_by("i-1");
    let count = |operation, outcome: &str| calls.get(&(operation, outcome.to_owned())).copied();
    assert_eq!(count(Operation::Inventory, "ok"), Some(2));
    assert_eq!(count(Operation::Release, "ok"), Some(1));
    assert_eq!(count(Operation::Assign, "denied"), Some(1));
    assert_eq!(cloud.dump().calls_of(Operation::Assign), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_the_same_calls_make_the_same_cloud() {
    let run = async || {
        let (cloud, provider, primary) = with_node(CloudConfig::aws().seed(42));
        let start = Instant::now();
        let made = provider.attach_interface(&attach("a")).await.expect("fits");
        let (first, second) = tokio::join!(
            provider.assign(&primary, addresses(4)),
            provider.assign(&made.id, addresses(2)),
        );
        provider
            .release(&primary, &first.expect("fits"))
            .await
            .expect("goes");
        second.expect("fits");
        (cloud.dump(), start.elapsed())
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn a_node_of_an_unknown_security_group_is_refused() {
    let cloud = MockCloud::new(CloudConfig::aws().instant()).expect("must fit");
    let mut node = NodeConfig::new("i-1", "m5.large", "subnet-a");
    node.security_groups = vec!["sg-none".to_owned()];
    let error = cloud.add_node(node).expect_err("must be refused");
    assert!(error.to_string().contains("sg-none"), "{error}");
    assert!(cloud.dump().nodes.is_empty());
}
