use veni_dataplane::ObservedEndpoint;

use super::*;

const INDEX: u32 = 7;
const ADDRESS: &str = "10.0.1.7";
const MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 9];

fn record(links: bool) -> Record {
    let text = format!(
        r#"{{
            "id": "1", "state": "ready", "cloud_interface": "eni-1", "created_ms": 1,
            "key": {{ "network": "veni", "container_id": "c1", "interface_name": "eth0" }},
            "pod": {},
            "plan": {{
                "pod_link": "eth0", "host_link": "eni1", "mtu": 9001,
                "pod_mac": [2, 0, 0, 0, 1, 1], "host_mac": [2, 0, 0, 0, 2, 1],
                "addresses": [{{ "address": "{ADDRESS}" }}], "node_addresses": []
            }},
            "links": null, "add_micros": 0, "waited_micros": 0, "released_boot_ms": null
        }}"#,
        serde_json::to_string(&PodName::default()).expect("JSON")
    );
    let mut record: Record = serde_json::from_str(&text).expect("a record");
    record.links = links.then_some(EndpointLinks {
        host_index: INDEX,
        pod_index: 2,
        namespace_cookie: 1,
    });
    record
}

/// A kernel with one link of ours, and perhaps a route to it.
fn observed(index: u32, name: &str, mac: [u8; 6], routed: bool) -> Observed {
    let route = ObservedEndpoint {
        address: ADDRESS.parse().expect("an address"),
        link_index: index,
    };
    Observed {
        endpoints: routed.then_some(route).into_iter().collect(),
        links: vec![ObservedLink {
            index,
            name: name.to_owned(),
            mac,
            dying: false,
            routes_loopback: false,
        }],
        interface_tables: Vec::new(),
        stray_ifbs: Vec::new(),
        host_ports: Vec::new(),
        half_ports: Vec::new(),
    }
}

#[test]
fn a_link_of_the_same_index_is_the_records_when_name_mac_or_route_agrees() {
    for (name, mac, routed, same) in [
        ("eni1", MAC, true, true),
        ("eni1", OTHER_MAC, false, true),
        ("renamed", MAC, false, true),
        ("renamed", OTHER_MAC, true, true),
        ("eni2", OTHER_MAC, false, false),
    ] {
        let found = observed(INDEX, name, mac, routed);
        let link = record(true).link_in(&found).is_some();
        assert_eq!(link, same, "{name} {mac:?} {routed}");
    }
}

#[test]
fn a_link_of_another_index_is_not_the_records_whatever_else_agrees() {
    let found = observed(INDEX + 1, "eni1", MAC, true);
    assert_eq!(record(true).link_in(&found), None);
}

#[test]
fn until_the_kernel_has_answered_an_index_name_and_mac_tell_together() {
    let own = |name: &str, mac| {
        let found = observed(INDEX, name, mac, true);
        record(false).link_in(&found).is_some()
    };
    assert!(own("eni1", MAC));
    assert!(!own("eni1", OTHER_MAC), "a later ADD has made it");
    assert!(!own("eni2", MAC));
    let unanswered = record(false);
    assert_eq!(unanswered.link_key(), LinkKey::Name("eni1".to_owned()));
    assert_eq!(record(true).link_key(), LinkKey::Index(INDEX));
}
