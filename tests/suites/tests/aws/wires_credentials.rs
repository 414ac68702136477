//! Where a daemon's credentials come from: whatever the SDK's own chain finds. The
//! instance's role by metadata is what all other tests use; here it is a service
//! account's role (IRSA), whose web identity token STS changes into credentials.

use veni_testbed::traffic::reaches;
use veni_testbed::{Bed, BedConfig};

const ROLE: &str = "arn:aws:iam::000000000000:role/veni";
/// A JSON web token without a signature: `{"alg":"none"}` and `{"sub":"veni"}`.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2ZW5pIn0.";

/// How often STS was asked for a service account's credentials, by anybody.
async fn exchanges(bed: &Bed) -> u64 {
    let told = bed.ec2().control().calls(None).await.expect("counts");
    let operations = told["operations"].as_object();
    let asked = operations.and_then(|all| {
        let mut named = all.iter();
        named.find(|(name, _)| name.ends_with("AssumeRoleWithWebIdentity"))
    });
    asked.map_or(0, |(_, shown)| shown["calls"].as_u64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_s_role_is_used_before_the_instance_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).expect("the token can be written");
    let config = BedConfig::localstack(2)
        .set("AWS_ROLE_ARN", ROLE)
        .set("AWS_ROLE_SESSION_NAME", "veni")
        .set("AWS_WEB_IDENTITY_TOKEN_FILE", &token.display().to_string());
    let bed = Bed::start(config).await;
    let (here, _) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    assert!(reaches(here.path(), other.address()).await);
    bed.sound(&[&here, &there]).await;
    let of_the_instance = bed.calls(0).await;
    assert!(of_the_instance.is_empty(), "{of_the_instance:?}");
    assert!(exchanges(&bed).await > 0);
    bed.end().await;
}
