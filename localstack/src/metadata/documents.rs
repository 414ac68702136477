//! The JSON documents among instance metadata: identity, profile, credentials.

use serde_json::{Value, json};

use super::time::utc;
use super::view::{Instance, Role};

/// From when until when credentials are valid, seconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When they were made.
    pub issued: u64,
    /// When they end.
    pub expires: u64,
}

/// The access key of an instance's credentials: `ASIA`, with which temporary keys begin,
/// and the last sixteen letters and digits of its id. So a reader of EC2's log knows which
/// instance called.
pub fn access_key_id(instance: &str) -> String {
    let plain = instance.strip_prefix("i-").unwrap_or(instance);
    let letters: Vec<char> = plain.chars().filter(char::is_ascii_alphanumeric).collect();
    let last: String = letters[letters.len().saturating_sub(16)..].iter().collect();
    format!("ASIA{:0>16}", last.to_ascii_uppercase())
}

/// `iam/security-credentials/<role>`.
pub(super) fn credentials(instance: &Instance, validity: Validity) -> String {
    // The session token distinguishes one issue of credentials from the next.
    let token = format!("session-of-{}-since-{}", instance.id, validity.issued);
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": utc(validity.issued),
        "Type": "AWS-HMAC",
        "AccessKeyId": access_key_id(&instance.id),
        "SecretAccessKey": format!("secret-of-{}", instance.id),
        "Token": token,
        "Expiration": utc(validity.expires),
    }))
}

/// `iam/info`.
pub(super) fn profile(role: &Role, validity: Validity) -> String {
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": utc(validity.issued),
        "InstanceProfileArn": role.profile_arn,
        "InstanceProfileId": role.profile_id,
    }))
}

/// `/latest/dynamic/instance-identity/document`.
pub(super) fn identity(instance: &Instance) -> String {
    let own = instance.primary().and_then(|one| one.ipv4.first());
    pretty(&json!({
        "accountId": instance.account,
        "architecture": instance.architecture,
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": utc(instance.launched),
        "privateIp": own,
        "ramdiskId": null,
        "region": instance.region,
        "version": "2017-09-30",
    }))
}

fn pretty(document: &Value) -> String {
    format!("{document:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_is_of_the_length_of_amazon_s_and_tells_the_instance() {
        assert_eq!(access_key_id("i-0123456789abcdef0"), "ASIA123456789ABCDEF0");
        assert_eq!(access_key_id("i-1"), "ASIA0000000000000001");
        assert_eq!(access_key_id("i-node2"), "ASIA00000000000NODE2");
    }
}
