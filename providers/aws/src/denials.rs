//! Makes a refused permission readable, and says it once. EC2 encodes why it
//! refused; whoever has the right `sts:DecodeAuthorizationMessage` can read it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sts::Client;
use tokio::time::{Instant, timeout};

use crate::actions::Action;
use crate::ec2::Failure;

const MARK: &str = "Encoded authorization failure message: ";
const PATIENCE: Duration = Duration::from_secs(3);
/// A denied call is repeated for hours; its reason does not change.
const PAUSE: Duration = Duration::from_secs(300);

/// Reads encoded messages, at most one every five minutes, and knows which
/// actions are refused.
#[derive(Debug)]
pub(crate) struct Denials {
    client: Client,
    last: Mutex<Option<Instant>>,
    refused: Mutex<BTreeSet<Action>>,
}

impl Denials {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            last: Mutex::new(None),
            refused: Mutex::default(),
        }
    }

    /// The action is not refused any more, if it was.
    pub(crate) fn allowed(&self, action: Action) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.remove(&action) {
            tracing::info!(%action, "ec2 allows again what it refused");
        }
    }

    /// Whether the last call of an action was refused.
    pub(crate) fn refuses(&self, action: Action) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.contains(&action)
    }

    /// EC2's text with its encoded part replaced by what it says, or cut off,
    /// and with the permission that is missing. The first refusal of an action
    /// goes to the log; then none until it has been allowed.
    pub(crate) async fn explain(&self, action: Action, failure: &Failure) -> String {
        let mut text = self.readable(&failure.text).await;
        if is_permission(&failure.outcome) {
            let permission = action.permission();
            text.truncate(text.trim_end_matches('.').len());
            text.push_str(&format!("; the node's role needs {permission}"));
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert(action) {
            tracing::error!(%action, code = failure.outcome, reason = text, "ec2 refuses an action");
        }
        text
    }

    async fn readable(&self, message: &str) -> String {
        let Some((text, encoded)) = message.split_once(MARK) else {
            return message.to_owned();
        };
        let text = text.trim_end();
        match self.decode(encoded.trim()).await {
            Some(decoded) => format!("{text} {}", summary(&decoded)),
            None => text.to_owned(),
        }
    }

    async fn decode(&self, encoded: &str) -> Option<String> {
        {
            let mut last = self.last.lock().ok()?;
            let now = Instant::now();
            if last.is_some_and(|last| now < last + PAUSE) {
                return None;
            }
            *last = Some(now);
        }
        let call = self.client.decode_authorization_message();
        let answer = timeout(PATIENCE, call.encoded_message(encoded).send());
        answer.await.ok()?.ok()?.decoded_message
    }
}

/// Whether a code is about a permission, and not about who asks or a quota.
fn is_permission(code: &str) -> bool {
    let bare = code.strip_prefix("Client.").unwrap_or(code);
    [
        "UnauthorizedOperation",
        "AccessDenied",
        "AccessDeniedException",
    ]
    .contains(&bare)
}

/// Who was refused what on which resource.
fn summary(decoded: &str) -> String {
    let Ok(told) = serde_json::from_str::<serde_json::Value>(decoded) else {
        return decoded.to_owned();
    };
    let at = |path: &str| told.pointer(path).and_then(|value| value.as_str());
    let explicit = told.get("explicitDeny") == Some(&serde_json::Value::Bool(true));
    let why = if explicit {
        "a policy denies it"
    } else {
        "no policy allows it"
    };
    let principal = at("/context/principal/arn").unwrap_or("this principal");
    let action = at("/context/action").unwrap_or("the action");
    let resource = at("/context/resource").unwrap_or("the resource");
    format!("({why}: {action} on {resource} for {principal})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoded_message_is_told_in_one_line() {
        let decoded = r#"{"allowed":false,"explicitDeny":false,"context":{
            "principal":{"arn":"arn:aws:sts::1:assumed-role/node/i-1"},
            "action":"ec2:AttachNetworkInterface","resource":"arn:aws:ec2:r:1:instance/i-1"}}"#;
        assert_eq!(
            summary(decoded),
            "(no policy allows it: ec2:AttachNetworkInterface on arn:aws:ec2:r:1:instance/i-1 \
             for arn:aws:sts::1:assumed-role/node/i-1)"
        );
        let denied = decoded.replace("\"explicitDeny\":false", "\"explicitDeny\":true");
        assert!(summary(&denied).starts_with("(a policy denies it"));
    }

    #[test]
    fn what_is_not_json_is_shown_as_it_came() {
        assert_eq!(summary("no idea"), "no idea");
    }
}
