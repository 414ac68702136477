//! Amazon's SDK as a client.

use std::time::Duration;

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::imds::{Client, client::error::ImdsError};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials;
use veni_cloudlab::metadata::access_key_id;

use super::{Running, running};

/// A client whose tokens live so long; the SDK renews them two minutes before
/// their end.
fn client(running: &Running, token_life: Duration) -> Client {
    let endpoint = format!("http://{}", running.address);
    Client::builder()
        .configure(&ProviderConfig::without_region())
        .endpoint(endpoint)
        .unwrap()
        .token_ttl(token_life)
        .build()
}

async fn text(client: &Client, path: &str) -> Result<String, ImdsError> {
    client.get(path).await.map(String::from)
}

#[tokio::test]
async fn the_sdk_reads_and_renews_its_token_before_it_ends() {
    let running = running().await;
    let client = client(&running, Duration::from_secs(60));
    let path = "/latest/meta-data/instance-id";
    assert_eq!(text(&client, path).await.unwrap(), "i-1");
    // The first token is of no use any more: only a new one reads on.
    running.service.revoke_tokens();
    assert_eq!(text(&client, path).await.unwrap(), "i-1");
}

#[tokio::test]
async fn the_sdk_takes_a_404_for_what_it_is() {
    let running = running().await;
    let client = client(&running, Duration::from_secs(21_600));
    let missing = text(&client, "/latest/meta-data/ipv6").await.unwrap_err();
    let ImdsError::ErrorResponse(response) = missing else {
        panic!("{missing}");
    };
    assert_eq!(response.response().status().as_u16(), 404);
}

#[tokio::test]
async fn the_sdk_gets_the_role_s_credentials_and_the_region() {
    let running = running().await;
    let client = client(&running, Duration::from_secs(21_600));
    let provider = ImdsCredentialsProvider::builder().imds_client(client.clone());
    let credentials = provider.build().provide_credentials().await.unwrap();
    assert_eq!(credentials.access_key_id(), access_key_id("i-1"));
    let left = credentials
        .expiry()
        .unwrap()
        .duration_since(std::time::SystemTime::now());
    assert!(left.unwrap() > Duration::from_secs(3 * 3600));
    let region = ImdsRegionProvider::builder().imds_client(client).build();
    assert_eq!(region.region().await.unwrap().as_ref(), "us-east-1");
}

#[tokio::test]
async fn the_sdk_tells_that_metadata_is_out_of_order() {
    let running = running().await;
    running.service.set_unavailable(true);
    let client = Client::builder()
        .configure(&ProviderConfig::without_region())
        .endpoint(format!("http://{}", running.address))
        .unwrap()
        .max_attempts(1)
        .build();
    let error = text(&client, "/latest/meta-data/mac").await.unwrap_err();
    assert!(matches!(error, ImdsError::FailedToLoadToken(_)), "{error}");
}
