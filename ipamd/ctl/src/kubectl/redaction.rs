//! Leaves secrets out of what goes into an archive. Decides by names alone.

use serde_json::Value;

/// Parts of names whose values nobody else may read, in lower case without `_` and `-`.
const SECRET: [&str; 8] = [
    "secret",
    "token",
    "password",
    "passwd",
    "credential",
    "privatekey",
    "accesskey",
    "authorization",
];
/// A copy of the whole object, as somebody applied it.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What stands in their place.
pub(super) const LEFT_OUT: &str = "(left out)";

fn is_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    SECRET.iter().any(|part| plain.contains(part))
}

/// An object without secrets: texts under names of secrets, values of variables with
/// such names, and copies of whole objects.
pub(super) fn without_secrets(mut value: Value) -> Value {
    redact(&mut value);
    value
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(fields) => {
            fields.remove(COPY);
            let names_a_secret = fields
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(is_secret);
            for (name, field) in fields.iter_mut() {
                if field.is_string() && (is_secret(name) || (names_a_secret && name == "value")) {
                    *field = LEFT_OUT.into();
                } else {
                    redact(field);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_secrets_are_left_out_wherever_they_stand() {
        let pod = json!({"spec": {"containers": [{"env": [
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "hidden-1"},
            {"name": "GITHUB-TOKEN", "value": "hidden-2"},
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "p"}}},
            {"name": "WARM_IP_TARGET", "value": "5"},
        ]}]}, "metadata": {"annotations": {COPY: "{\"password\": \"hidden-3\"}", "apiToken": "hidden-4"}}});
        let text = without_secrets(pod).to_string();
        assert!(!text.contains("hidden"), "{text}");
        assert!(text.contains(r#""value":"5""#), "{text}");
        assert!(
            text.contains("secretKeyRef"),
            "a reference is no secret: {text}"
        );
        assert_eq!(text.matches(LEFT_OUT).count(), 3, "{text}");
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let settings = json!([{"name": "CLUSTER_NAME", "value": "blue"}, 7, null, true, "token"]);
        assert_eq!(without_secrets(settings.clone()), settings);
    }
}
