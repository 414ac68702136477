//! Each rule of the fake Resource Manager, by a plain HTTP client.

mod calls;
mod client;
mod in_process;
mod metadata;
mod nics;
mod operations;

use serde_json::{Value, json};

/// A NIC as it was read, with configurations added by name: `None` is a single address, a
/// length a block.
fn with(nic: &Value, added: &[(&str, Option<u8>)]) -> Value {
    let mut changed = nic.clone();
    let subnet = nic["properties"]["ipConfigurations"][0]["properties"]["subnet"].clone();
    let all = changed["properties"]["ipConfigurations"]
        .as_array_mut()
        .expect("a list");
    for (name, length) in added {
        let mut properties = json!({"primary": false, "subnet": subnet});
        if let Some(length) = length {
            properties["privateIPAddressPrefixLength"] = json!(length);
        }
        all.push(json!({"name": name, "properties": properties}));
    }
    changed
}

fn configuration<'a>(nic: &'a Value, name: &str) -> Option<&'a Value> {
    let all = nic["properties"]["ipConfigurations"]
        .as_array()
        .expect("a list");
    all.iter()
        .find(|one| one["name"] == name)
        .map(|one| &one["properties"])
}
