//! Reads limits of bandwidth with `tc -j`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::run;

/// Token buckets and redirections of a namespace.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Bits a second of each link's root qdisc that is a token bucket.
    pub rates: BTreeMap<String, u64>,
    /// Where each link with such filters redirects what comes in on it.
    pub redirects: BTreeMap<String, BTreeSet<String>>,
}

async fn tc(namespace: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["-j"];
    all.extend(arguments);
    // A link that goes meanwhile has nothing.
    let text = run(namespace, "tc", &all).await.unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// All of a namespace.
pub async fn limits(namespace: &Path) -> Limits {
    let mut found = Limits::default();
    for qdisc in tc(namespace, &["qdisc", "show"]).await {
        let link = qdisc["dev"].as_str().unwrap_or_default().to_owned();
        match qdisc["kind"].as_str() {
            Some("tbf") => {
                let bytes = qdisc["options"]["rate"].as_u64().unwrap_or_default();
                found.rates.insert(link, 8 * bytes);
            }
            Some("clsact") => {
                let filters = tc(namespace, &["filter", "show", "dev", &link, "ingress"]).await;
                let mut to = BTreeSet::new();
                filters.iter().for_each(|filter| targets(filter, &mut to));
                if !to.is_empty() {
                    found.redirects.insert(link, to);
                }
            }
            _ => {}
        }
    }
    found
}

/// The links that a filter's actions lead to.
fn targets(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            found.extend(
                object
                    .get("to_dev")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            object.values().for_each(|value| targets(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| targets(value, found)),
        _ => {}
    }
}
