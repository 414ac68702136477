//! Label and field selectors: which objects a list or a watch is about.

use serde_json::Value;

/// What a selected object must be like, all of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection(Vec<Requirement>);

#[derive(Debug, Clone)]
struct Requirement {
    /// Where in the object.
    path: Vec<String>,
    /// The value that it must have; `None` is for any, or for none where negated.
    value: Option<String>,
    negated: bool,
}

/// A selector that is not understood.
#[derive(Debug)]
pub(super) struct Unknown;

impl Selection {
    /// Of labels it understands `key`, `!key`, `key=value` and `key!=value`, of fields the
    /// last two.
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, Unknown> {
        let parts = |text: &str| -> Vec<String> {
            let parts = text.split(',').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let mut all = Vec::new();
        for part in parts(labels) {
            let (key, value, negated) = split(&part);
            let (key, negated) = match key.strip_prefix('!') {
                Some(_) if value.is_some() => return Err(Unknown),
                Some(key) => (key, true),
                None => (key, negated),
            };
            let path = ["metadata", "labels", key].map(str::to_owned).to_vec();
            all.push(Requirement::try_new(path, value, negated)?);
        }
        for part in parts(fields) {
            let (key, value, negated) = split(&part);
            let path = key.split('.').map(str::to_owned).collect();
            let value = Some(value.ok_or(Unknown)?);
            all.push(Requirement::try_new(path, value, negated)?);
        }
        Ok(Self(all))
    }

    pub(super) fn takes(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.met_by(object))
    }
}

fn split(part: &str) -> (&str, Option<String>, bool) {
    if let Some((key, value)) = part.split_once("!=") {
        return (key, Some(value.to_owned()), true);
    }
    match part.split_once('=') {
        Some((key, value)) => (key, Some(value.trim_start_matches('=').to_owned()), false),
        None => (part, None, false),
    }
}

impl Requirement {
    fn try_new(path: Vec<String>, value: Option<String>, negated: bool) -> Result<Self, Unknown> {
        let odd = |text: &str| text.contains([' ', '(', ')', '!']);
        if path.iter().any(|part| odd(part)) || value.as_deref().is_some_and(odd) {
            return Err(Unknown);
        }
        Ok(Self {
            path,
            value,
            negated,
        })
    }

    fn met_by(&self, object: &Value) -> bool {
        let mut found = Some(object);
        for part in &self.path {
            found = found.and_then(|object| object.get(part));
        }
        let met = match &self.value {
            Some(value) => found.and_then(Value::as_str) == Some(value),
            None => found.is_some(),
        };
        met != self.negated
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_taken_when_it_meets_all_requirements() {
        let object = json!({
            "metadata": { "name": "web", "labels": { "app": "a" } },
            "spec": { "clusterIP": "None" },
        });
        for (labels, fields, taken) in [
            ("", "", true),
            ("app", "", true),
            ("!app", "", false),
            ("!service.kubernetes.io/headless", "", true),
            ("app=a,other!=b", "metadata.name=web", true),
            ("app==b", "", false),
            ("", "spec.clusterIP!=None", false),
            ("", "metadata.name=other", false),
        ] {
            let selection = Selection::parse(labels, fields).expect("understood");
            assert_eq!(selection.takes(&object), taken, "{labels} and {fields}");
        }
        for (labels, fields) in [("app in (a, b)", ""), ("", "metadata.name"), ("!app=a", "")] {
            assert!(
                Selection::parse(labels, fields).is_err(),
                "{labels}{fields}"
            );
        }
    }
}
