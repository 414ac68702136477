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

/// An object without secrets: texts and lists of texts under names of secrets, values of
/// variables and options with such names, and copies of whole objects.
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
                if is_secret(name) || (names_a_secret && name == "value") {
                    leave_out(field);
                } else if let (true, Value::Array(words)) = (is_line(name), &mut *field) {
                    redact_line(words);
                } else {
                    redact(field);
                }
            }
        }
        _ => {}
    }
}

/// Blanks a text, or the texts of a list.
fn leave_out(field: &mut Value) {
    match field {
        Value::String(_) => *field = LEFT_OUT.into(),
        Value::Array(items) => items.iter_mut().for_each(leave_out),
        other => redact(other),
    }
}

/// Whether a container's field is a command line.
fn is_line(name: &str) -> bool {
    matches!(name, "args" | "command")
}

/// Blanks what follows the names of secrets: `--token=x`, and the word after `--token`, even
/// one that looks like an option.
fn redact_line(words: &mut [Value]) {
    let mut is_value = false;
    for word in words {
        let Some(text) = word.as_str() else {
            redact(word);
            continue;
        };
        let (name, value) = text
            .split_once('=')
            .map_or((text, None), |(name, value)| (name, Some(value)));
        let is_named = is_secret(name);
        let names_the_next = is_named && value.is_none() && name.starts_with('-');
        let replaced = match (is_value, is_named && value.is_some()) {
            (true, _) => Some(LEFT_OUT.to_owned()),
            (false, true) => Some(format!("{name}={LEFT_OUT}")),
            (false, false) => None,
        };
        if let Some(replaced) = replaced {
            *word = replaced.into();
        }
        is_value = names_the_next;
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
    fn lists_of_texts_under_a_secret_s_name_are_left_out() {
        let pod = json!({"apiTokens": ["hidden-1", "hidden-2"], "passwords": [["hidden-3"]],
            "env": [{"name": "KEYS_SECRET", "value": ["hidden-4"]}],
            "imagePullSecrets": [{"name": "registry"}]});
        let expected = json!({"apiTokens": [LEFT_OUT, LEFT_OUT], "passwords": [[LEFT_OUT]],
            "env": [{"name": "KEYS_SECRET", "value": [LEFT_OUT]}],
            "imagePullSecrets": [{"name": "registry"}]});
        assert_eq!(without_secrets(pod), expected);
    }

    #[test]
    fn a_command_line_loses_the_values_of_secret_options_alone() {
        let container = json!({
            "command": ["/agent", "--auth-token=hidden-1", "DB_PASSWORD=hidden-2", "serve"],
            "args": ["--api-token", "hidden-3", "--level=debug", "--use-token", "--password",
                "hidden-4", "-secret", "-hidden-5", "--port", "80"],
        });
        let expected = json!({
            "command": ["/agent", format!("--auth-token={LEFT_OUT}"),
                format!("DB_PASSWORD={LEFT_OUT}"), "serve"],
            // What follows `--use-token` might be its value.
            "args": ["--api-token", LEFT_OUT, "--level=debug", "--use-token", LEFT_OUT,
                LEFT_OUT, "-secret", LEFT_OUT, "--port", "80"],
        });
        assert_eq!(without_secrets(container), expected);
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let settings = json!([{"name": "CLUSTER_NAME", "value": "blue"}, 7, null, true, "token",
            {"args": ["--cloud", "aws", "token"], "command": "--token"}]);
        assert_eq!(without_secrets(settings.clone()), settings);
    }
}
