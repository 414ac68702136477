//! Elements of nftables' sets and maps: what `nft` then lists, and what is refused.

use std::net::IpAddr;

use serde_json::{Value, json};
use veni_dataplane::KernelError;
use veni_dataplane::nft_elements::{Element, Part, SetElements, SetName, TableFamily};

use crate::world::{in_new_node, nft, nft_json};

const TCP: u8 = 6;

fn set(name: &'static str) -> SetName {
    SetName {
        family: TableFamily::Inet,
        table: "ports",
        set: name,
    }
}

/// One element at a time.
trait OneByOne {
    fn add(&mut self, set: &SetName, element: &Element) -> Result<(), KernelError>;
    fn remove(&mut self, set: &SetName, element: &Element) -> Result<(), KernelError>;
}

impl OneByOne for SetElements {
    fn add(&mut self, set: &SetName, element: &Element) -> Result<(), KernelError> {
        self.change(&[], &[(*set, element.clone())])
    }

    fn remove(&mut self, set: &SetName, element: &Element) -> Result<(), KernelError> {
        self.change(&[(*set, element.clone())], &[])
    }
}

fn address(text: &str) -> Part {
    Part::Address(text.parse::<IpAddr>().expect("an address"))
}

fn mapping(host_port: u16, pod: &str, port: u16) -> Element {
    Element {
        key: vec![Part::Protocol(TCP), Part::Port(host_port)],
        value: vec![address(pod), Part::Port(port)],
    }
}

/// A table with a map for ports, and a set for each type of its parts.
fn make_table() {
    nft("table inet ports {
        map v4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
        map v6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
        set addresses_v4 { type ipv4_addr; }
        set addresses_v6 { type ipv6_addr; }
        set services { type inet_service; }
        set protocols { type inet_proto; }
    }");
}

/// The elements of a set or a map, as `nft` lists them.
fn listed(name: &str) -> Value {
    let objects = nft_json("inet ports").into_iter();
    let mut named = objects.flat_map(|object| {
        let kinds = ["set", "map"].map(|kind| object[kind].clone());
        kinds.into_iter().filter(|one| one["name"] == name)
    });
    named.next().expect("it is there")["elem"].clone()
}

#[test]
fn elements_of_a_map_come_and_go_one_by_one() {
    in_new_node(|| async {
        make_table();
        let mut elements = SetElements::try_new().expect("a socket");
        let first = mapping(8080, "10.0.1.7", 80);
        for _ in 0..2 {
            elements.add(&set("v4"), &first).expect("added");
        }
        let second = mapping(8443, "10.0.1.8", 443);
        elements.add(&set("v4"), &second).expect("added");
        let in_nft =
            |key: [Value; 2], value: [Value; 2]| json!([{"concat": key}, {"concat": value}]);
        let of_first = in_nft(["tcp".into(), 8080.into()], ["10.0.1.7".into(), 80.into()]);
        let of_second = in_nft(["tcp".into(), 8443.into()], ["10.0.1.8".into(), 443.into()]);
        let both = listed("v4");
        let both = both.as_array().expect("a list");
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(
            both.contains(&of_first) && both.contains(&of_second),
            "{both:?}"
        );
        let value = elements.value_of(&set("v4"), &first).expect("looked up");
        assert_eq!(value, Some(vec![10, 0, 1, 7, 0, 80, 0, 0]));
        elements.remove(&set("v4"), &first).expect("removed");
        assert_eq!(listed("v4"), json!([of_second]));
        let value = elements.value_of(&set("v4"), &first).expect("looked up");
        assert_eq!(value, None);
        let error = elements.remove(&set("v4"), &first).expect_err("it is gone");
        assert!(matches!(error, KernelError::Refused { .. }), "{error}");
        let key = vec![6, 0, 0, 0, 0x20, 0xfb, 0, 0];
        let left = elements.list(&set("v4")).expect("listed");
        assert_eq!(left, [(key, vec![10, 0, 1, 8, 1, 0xbb, 0, 0])]);
        elements.remove(&set("v4"), &second).expect("removed");
        assert_eq!(listed("v4"), Value::Null);
    });
}

#[test]
fn every_type_of_part_is_what_nft_calls_it() {
    in_new_node(|| async {
        make_table();
        let mut elements = SetElements::try_new().expect("a socket");
        for (name, part, expected) in [
            ("addresses_v4", address("10.0.1.7"), json!("10.0.1.7")),
            ("addresses_v6", address("fd00::7"), json!("fd00::7")),
            ("services", Part::Port(443), json!(443)),
            ("protocols", Part::Protocol(17), json!("udp")),
        ] {
            let element = Element {
                key: vec![part],
                value: Vec::new(),
            };
            elements.add(&set(name), &element).expect("added");
            assert_eq!(listed(name), json!([expected]));
            elements.remove(&set(name), &element).expect("removed");
            assert_eq!(listed(name), Value::Null);
        }
        elements
            .add(&set("v6"), &mapping(53, "fd00::8", 5353))
            .expect("added");
        let expected = json!([[{"concat": ["tcp", 53]}, {"concat": ["fd00::8", 5353]}]]);
        assert_eq!(listed("v6"), expected);
    });
}

#[test]
fn a_key_that_leads_elsewhere_already_is_refused_and_stays() {
    in_new_node(|| async {
        make_table();
        let mut elements = SetElements::try_new().expect("a socket");
        let first = mapping(8080, "10.0.1.7", 80);
        elements.add(&set("v4"), &first).expect("added");
        let before = listed("v4");
        let other = mapping(8080, "10.0.1.9", 80);
        let error = elements.add(&set("v4"), &other).expect_err("refused");
        let text = error.to_string();
        let named =
            "failed to add element 6 . 8080 : 10.0.1.9 . 80 of set v4 of table inet ports: ";
        assert!(text.starts_with(named), "{text}");
        assert_eq!(listed("v4"), before);
        elements
            .remove(&set("v4"), &first)
            .expect("the socket is still of use");
        elements.add(&set("v4"), &other).expect("added");
    });
}

#[test]
fn what_is_missing_is_named() {
    in_new_node(|| async {
        let mut elements = SetElements::try_new().expect("a socket");
        let element = mapping(8080, "10.0.1.7", 80);
        let no_table = "nftables has no table inet ports";
        for error in [
            elements.add(&set("v4"), &element).expect_err("no table"),
            elements.remove(&set("v4"), &element).expect_err("no table"),
        ] {
            assert!(matches!(error, KernelError::NoSuchSet(_)), "{error}");
            assert_eq!(error.to_string(), no_table);
        }
        make_table();
        let no_set = "nftables has no set v5 of table inet ports";
        for error in [
            elements.add(&set("v5"), &element).expect_err("no set"),
            elements.remove(&set("v5"), &element).expect_err("no set"),
        ] {
            assert!(matches!(error, KernelError::NoSuchSet(_)), "{error}");
            assert_eq!(error.to_string(), no_set);
        }
        let value = elements.value_of(&set("v4"), &element).expect("looked up");
        assert_eq!(value, None, "the set has no such element");
        elements.add(&set("v4"), &element).expect("added");
    });
}

#[test]
fn an_element_that_does_not_fit_its_set_is_refused() {
    in_new_node(|| async {
        make_table();
        let mut elements = SetElements::try_new().expect("a socket");
        let misfit = mapping(8080, "fd00::7", 80);
        let error = elements
            .add(&set("v4"), &misfit)
            .expect_err("IPv6 into IPv4");
        assert!(matches!(error, KernelError::Refused { .. }), "{error}");
        assert_eq!(listed("v4"), Value::Null);
    });
}

#[test]
fn a_socket_serves_its_own_network_namespace() {
    in_new_node(|| async {
        make_table();
        let pod = crate::world::Namespace::new();
        let mut elsewhere = pod.within(|| SetElements::try_new().expect("a socket"));
        let element = mapping(8080, "10.0.1.7", 80);
        let error = elsewhere.add(&set("v4"), &element).expect_err("no table");
        assert!(matches!(error, KernelError::NoSuchSet(_)), "{error}");
    });
}
