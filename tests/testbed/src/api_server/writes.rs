//! What a write makes of an object, and which one it is about.

use serde_json::{Map, Value};

use super::Kind;

/// An object by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// None in the path of a creation.
    pub(super) name: Option<String>,
}

impl Target {
    /// Of `/api/v1/nodes/n1/status` the node; namespaces are not told apart.
    pub(super) fn at(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let without_namespace = match parts.iter().position(|part| *part == "namespaces") {
            Some(at) if parts.len() > at + 2 => [&parts[..at], &parts[at + 2..]].concat(),
            _ => parts,
        };
        let path = without_namespace.join("/");
        let kinds = Kind::ALL.into_iter();
        let behind = |kind: Kind| Some((kind, path.strip_prefix(kind.words().0)?.to_owned()));
        let (kind, rest) = kinds.filter_map(behind).find(|(_, rest)| {
            // `/api/v1/pods` is no beginning of `/api/v1/podtemplates`.
            rest.is_empty() || rest.starts_with('/')
        })?;
        let name = rest.split('/').nth(1).map(str::to_owned);
        Some(Self { kind, name })
    }
}

/// Why a write is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict;

/// The object after a patch. Conditions are merged by their type and the rest as RFC 7386 says,
/// which is what the patches of this server's clients come to.
pub(super) fn patched(object: &Value, patch: &Value) -> Result<Value, Conflict> {
    for precondition in ["resourceVersion", "uid"] {
        let wanted = &patch["metadata"][precondition];
        if !wanted.is_null() && *wanted != object["metadata"][precondition] {
            return Err(Conflict);
        }
    }
    let mut after = object.clone();
    let conditions = merged_conditions(object, patch);
    merge(&mut after, patch);
    if let Some(conditions) = conditions {
        after["status"]["conditions"] = conditions;
    }
    Ok(after)
}

fn merged_conditions(object: &Value, patch: &Value) -> Option<Value> {
    let patched = patch["status"]["conditions"].as_array()?;
    let before = object["status"]["conditions"].as_array();
    let is_patched = |one: &&Value| patched.iter().any(|other| other["type"] == one["type"]);
    let kept = before.into_iter().flatten();
    let kept = kept.filter(|one| !is_patched(one)).cloned();
    Some(kept.chain(patched.iter().cloned()).collect())
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(into.as_object_mut().and_then(|one| one.remove(key))),
            _ => merge(&mut into[key], value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_its_object() {
        let target = |kind, name: Option<&str>| {
            Some(Target {
                kind,
                name: name.map(str::to_owned),
            })
        };
        for (path, expected) in [
            ("/api/v1/nodes/n1/status", target(Kind::Node, Some("n1"))),
            ("/api/v1/namespaces/a/pods/b", target(Kind::Pod, Some("b"))),
            (
                "/apis/events.k8s.io/v1/namespaces/a/events",
                target(Kind::Event, None),
            ),
            ("/api/v1/podtemplates/x", None),
        ] {
            assert_eq!(Target::at(path), expected, "{path}");
        }
    }

    #[test]
    fn conditions_are_merged_by_type_and_a_version_that_is_over_conflicts() {
        let node = json!({
            "metadata": { "resourceVersion": "5" },
            "spec": { "taints": [1] },
            "status": { "conditions": [{ "type": "Ready" }, { "type": "X", "status": "True" }] },
        });
        let condition = json!({ "type": "X", "status": "False" });
        let patch = json!({ "status": { "conditions": [condition] }, "spec": { "taints": null } });
        let after = patched(&node, &patch).expect("no conflict");
        let expected = json!([{ "type": "Ready" }, condition]);
        assert_eq!(after["status"]["conditions"], expected);
        assert_eq!(after["spec"], json!({}));
        let late = json!({ "metadata": { "resourceVersion": "4" } });
        assert_eq!(patched(&node, &late), Err(Conflict));
    }
}
