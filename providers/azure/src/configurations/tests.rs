//! Reading and changing configurations; the property that nothing but ours is touched.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn only_names_that_we_give_are_ours() {
    let id: ChangeId = "0a1b2c3d".parse().expect("an id");
    assert_eq!(id.name(17), "veni-0a1b2c3d-17");
    assert_eq!(ChangeId::of_name("veni-0a1b2c3d-17"), Some(id));
    for other in [
        "ipconfig1",
        "veni",
        "veni-0a1b2c3d",
        "veni-0a1b2c3d-",
        "veni-0a1b2c3d-x",
        "veni-0A1B2C3D-1",
        "veni-0a1b2c3-1",
        "my-veni-0a1b2c3d-1",
        "veni-lb-frontend-1",
    ] {
        assert_eq!(ChangeId::of_name(other), None, "{other}");
    }
}

fn read(properties: Value) -> Configuration {
    let value = json!({"name": "veni-0a1b2c3d-0", "properties": properties});
    Configuration::of(&value).expect("a configuration")
}

#[test]
fn a_block_is_read_in_each_of_its_spellings() {
    let expected: Option<IpNet> = "10.0.0.16/28".parse().ok();
    for properties in [
        json!({"privateIPAddress": "10.0.0.16/28", "privateIPAddressPrefixLength": 28}),
        json!({"privateIPAddress": "10.0.0.16/28"}),
        json!({"privateIPAddress": "10.0.0.21", "privateIPAddressPrefixLength": 28}),
        json!({"privateIPAddress": "10.0.0.21/28"}),
    ] {
        assert_eq!(read(properties.clone()).range, expected, "{properties}");
    }
    let single = read(json!({"privateIPAddress": "10.0.0.21"}));
    assert_eq!(single.range, "10.0.0.21/32".parse().ok());
}

#[test]
fn the_primary_configuration_is_the_node_s_whatever_it_is_called() {
    let primary = read(json!({"primary": true, "privateIPAddress": "10.0.0.4"}));
    assert_eq!((primary.primary, primary.ours), (true, None));
    let ours = read(json!({"primary": false, "privateIPAddress": "10.0.0.5"}));
    assert!(ours.ours.is_some());
}

/// Any JSON, as a cloud of tomorrow may put anywhere.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-zA-Z0-9/. ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn configuration() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "veni-[0-9a-f]{8}-[0-9]{1,3}",
        "[a-z]{3,8}",
        Just("ipconfig1".to_owned())
    ];
    let more = btree_map("[a-zA-Z]{1,8}", anything(), 0..4);
    (name, more).prop_map(|(name, mut more)| {
        more.insert("primary".to_owned(), json!(false));
        json!({"name": name, "etag": "W/\"1\"", "properties": more})
    })
}

proptest! {
    #[test]
    fn what_is_written_differs_from_what_was_read_only_in_our_configurations(
        others in vec(configuration(), 0..8),
        primary in btree_map("[a-zA-Z]{1,8}", anything(), 0..4),
        place in 0_usize..9,
        removed in vec(any::<prop::sample::Index>(), 0..4),
        added in vec(any::<bool>(), 0..4),
    ) {
        let mut primary: Map<String, Value> = primary.into_iter().collect();
        primary.insert("primary".to_owned(), json!(true));
        primary.insert("subnet".to_owned(), json!({"id": "subnet"}));
        let mut before = others;
        let place = place.min(before.len());
        before.insert(place, json!({"name": "ipconfig0", "properties": primary}));
        let ours: Vec<String> = before
            .iter()
            .filter_map(Configuration::of)
            .filter(|one| one.ours.is_some())
            .map(|one| one.name)
            .collect();
        let gone: Vec<String> = match ours.is_empty() {
            true => Vec::new(),
            false => removed.iter().map(|index| index.get(&ours).clone()).collect(),
        };
        let change = ChangeId::random();
        let new: Vec<NewConfiguration> = (0_u32..)
            .zip(added)
            .map(|(number, block)| NewConfiguration { name: change.name(number), block })
            .collect();

        let mut after = before.clone();
        prop_assert!(edit(&mut after, &gone, &new).is_some());

        // What stays is the same, byte for byte and in its order; then comes what is new.
        let kept: Vec<Value> = before
            .iter()
            .filter(|one| !gone.iter().any(|name| one["name"] == name.as_str()))
            .cloned()
            .collect();
        prop_assert_eq!(&after[..kept.len()], kept.as_slice());
        prop_assert_eq!(after.len(), kept.len() + new.len());
        for (value, wanted) in after[kept.len()..].iter().zip(&new) {
            let read = Configuration::of(value).expect("a configuration");
            prop_assert_eq!((&read.name, read.ours), (&wanted.name, Some(change)));
            let properties = value["properties"].as_object().expect("an object");
            let known = [
                "primary",
                "privateIPAllocationMethod",
                "privateIPAddressVersion",
                "privateIPAddressPrefixLength",
                "subnet",
                "applicationSecurityGroups",
            ];
            // Nothing is invented.
            prop_assert!(properties.keys().all(|key| known.contains(&key.as_str())));
            let block = properties.get("privateIPAddressPrefixLength").is_some();
            prop_assert_eq!(block, wanted.block);
        }
    }
}
