//! Waits until a daemon's gRPC health service says that it serves.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};
use tonic::codegen::http::Uri;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use veni_api::client::{ORIGIN, connect};

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until the daemon behind a socket is `SERVING`.
pub(crate) async fn wait(socket: &Path, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let last = match ask(socket).await {
            Ok(ServingStatus::Serving) => return Ok(()),
            Ok(other) => format!("it says {}", other.as_str_name()),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!(
                "the daemon is not ready after {} s: {last}",
                patience.as_secs()
            );
        }
        sleep(PAUSE).await;
    }
}

async fn ask(socket: &Path) -> anyhow::Result<ServingStatus> {
    let connection = connect(socket).await?;
    let mut client = HealthClient::with_origin(connection, Uri::from_static(ORIGIN));
    let request = HealthCheckRequest {
        service: String::new(),
    };
    Ok(client.check(request).await?.into_inner().status())
}
