//! Introspection in the form that scripts for the AWS plugin read.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::attachment::PodName;
use crate::journal::endpoint::Record;
use crate::pool::{
    AddressReport, AddressState, InterfaceReport, InterfaceState, PoolReport, PrefixReport,
};
use crate::serve::fixtures::{interface_report, key, pool_report, record};

/// Attached, with one address that a pod has, a free one, and two prefixes.
fn interface() -> InterfaceReport {
    let address = |address: &str, state| AddressReport {
        address: address.parse().expect("an address"),
        state,
    };
    let prefix = |prefix: &str, used| PrefixReport {
        prefix: prefix.parse().expect("a range"),
        free: 0,
        assigned: 0,
        cooling: 0,
        used,
    };
    let left = Duration::from_millis(1500);
    InterfaceReport {
        addresses: vec![
            address("10.0.0.5", AddressState::Assigned(key())),
            address("10.0.0.6", AddressState::Free),
        ],
        prefixes: vec![
            prefix(
                "10.0.1.16/28",
                vec![address("10.0.1.17", AddressState::Cooling { left })],
            ),
            prefix("2001:db8::/80", Vec::new()),
        ],
        ..interface_report(InterfaceState::Attached)
    }
}

fn pool(interface: InterfaceReport) -> PoolReport {
    PoolReport {
        interfaces: vec![interface],
        ..pool_report()
    }
}

/// Has 10.0.0.5.
fn endpoint() -> Record {
    Record {
        created_ms: 951_782_400_000,
        ..record()
    }
}

#[test]
fn interfaces_are_told_in_the_aws_plugin_s_form() {
    let mut pool = pool(interface());
    (pool.counts.total, pool.counts.assigned) = (18, 1);
    let answer = &enis::of(&pool, &[endpoint()])["0"];
    assert_eq!(answer["TotalIPs"], 18);
    assert_eq!(answer["AssignedIPs"], 1);
    let eni = &answer["ENIs"]["eni-1"];
    assert_eq!(eni["DeviceNumber"], 1);
    assert_eq!(eni["RouteTableID"], 22_033);
    assert_eq!(eni["SubnetID"], "subnet-1");
    let single = &eni["AvailableIPv4Cidrs"]["10.0.0.5/32"];
    assert_eq!(
        single["Cidr"],
        json!({"IP": "10.0.0.5", "Mask": "/////w=="})
    );
    assert_eq!(single["IsPrefix"], false);
    let used = &single["IPAddresses"]["10.0.0.5"];
    assert_eq!(
        used["IPAMMetadata"],
        json!({"k8sPodNamespace": "shop", "k8sPodName": "web-0", "interfacesCount": 1})
    );
    assert_eq!(used["AssignedTime"], "2000-02-29T00:00:00.000Z");
    let prefix = &eni["AvailableIPv4Cidrs"]["10.0.1.16/28"];
    assert_eq!(prefix["Cidr"]["Mask"], "////8A==");
    let cooling = &prefix["IPAddresses"]["10.0.1.17"];
    assert_eq!(cooling["State"], "cooling");
    assert_eq!(cooling["CoolingSeconds"], 2, "rounded up");
    assert_eq!(eni["IPv6Cidrs"]["2001:db8::/80"]["IsPrefix"], true);
}

#[test]
fn containers_and_their_interfaces_are_not_named() {
    for answer in [enis::of, pods::of] {
        let text = answer(&pool(interface()), &[endpoint()]).to_string();
        assert!(text.contains("web-0"), "the pod is: {text}");
        assert!(!text.contains("c0ffee") && !text.contains("eth0"), "{text}");
    }
}

#[test]
fn a_pod_is_told_with_its_first_address_its_device_and_all_its_addresses() {
    let mut beside = endpoint();
    beside.key.interface_name = "net1".to_owned();
    beside.plan.addresses[0].address = "10.0.0.9".parse().expect("an address");
    // Older, and yet after the first interface.
    beside.created_ms = 1;
    let mut nameless = endpoint();
    nameless.pod = PodName::default();
    nameless.plan.addresses[0].address = "10.0.0.10".parse().expect("an address");
    nameless.cloud_interface = "eni-gone".to_owned();
    let answer = pods::of(&pool(interface()), &[beside, endpoint(), nameless]);
    let expected = json!({
        "web-0_shop_": {
            "IP": "10.0.0.5",
            "DeviceNumber": 1,
            "Addresses": ["10.0.0.5", "10.0.0.9"],
        },
        "__10.0.0.10": {
            "IP": "10.0.0.10",
            "DeviceNumber": null,
            "Addresses": ["10.0.0.10"],
        },
    });
    assert_eq!(answer, expected);
}

#[test]
fn interfaces_are_told_by_network_card_and_the_first_one_is_always_there() {
    let on_another = InterfaceReport {
        network_card: 2,
        ..interface()
    };
    let answer = enis::of(&pool(on_another), &[]);
    assert_eq!(answer["0"]["ENIs"], json!({}));
    assert_eq!(answer["2"]["TotalIPs"], 0);
    assert_eq!(answer["2"]["ENIs"]["eni-1"]["ID"], "eni-1");
}

#[test]
fn settings_are_told_by_the_aws_plugin_s_names_and_types() {
    let given = [
        ("VENI_PROVIDER", "mock"),
        ("WARM_IP_TARGET", "5"),
        ("ENABLE_PREFIX_DELEGATION", "true"),
        (
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            "10.1.0.0/16, 10.2.0.0/16",
        ),
    ];
    let lookup = |name: &str| {
        let found = given.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let config =
        crate::config::Config::try_new(&crate::app::providers(), &lookup, "node-1").expect("valid");
    let settings = config.settings(&crate::app::providers(), None);
    let ipamd = settings::of_ipamd(&settings);
    assert_eq!(ipamd["WARM_IP_TARGET"], 5);
    assert_eq!(ipamd["MINIMUM_IP_TARGET"], 0);
    assert_eq!(ipamd["ENABLE_PREFIX_DELEGATION"], true);
    assert_eq!(ipamd["ENABLE_SUBNET_DISCOVERY"], true);
    assert_eq!(ipamd["AWS_MANAGE_ENIS_NON_SCHEDULABLE"], false);
    let network = settings::of_network(&settings);
    assert_eq!(network["AWS_VPC_ENI_MTU"], 9001);
    assert_eq!(network["AWS_VPC_K8S_CNI_RANDOMIZESNAT"], "prng");
    assert_eq!(network["AWS_VPC_K8S_CNI_EXTERNALSNAT"], false);
    assert_eq!(
        network["AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"],
        json!(["10.1.0.0/16", "10.2.0.0/16"])
    );
}

#[test]
fn nothing_is_routed_by_an_interface_on_another_network_card() {
    for (network_card, table) in [(0, 22_033), (1, 0)] {
        let interface = InterfaceReport {
            network_card,
            ..interface()
        };
        let shown = enis::of(&pool(interface), &[]);
        let eni = &shown[network_card.to_string()]["ENIs"]["eni-1"];
        assert_eq!(eni["RouteTableID"], table);
    }
}

#[test]
fn an_interface_of_somebody_else_s_is_excluded_and_has_no_table() {
    let interface = InterfaceReport {
        table: None,
        ..interface_report(InterfaceState::Unmanaged)
    };
    let shown = &enis::of(&pool(interface), &[])["0"];
    assert_eq!(shown["ENIs"]["eni-1"]["IsExcludedForPodIPs"], true);
    assert_eq!(shown["ENIs"]["eni-1"]["RouteTableID"], 0);
}
