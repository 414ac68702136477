//! Traffic between namespaces: single pings, and streams that must not lose a packet.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use veni_cloudlab::{PingStream, ping, ping_until};

use crate::PATIENCE;

/// How long an address must stay silent before a test believes that it does.
pub const SILENCE: Duration = Duration::from_millis(800);
/// Pause between two requests of a stream.
const INTERVAL: Duration = Duration::from_millis(10);

/// Whether an address answers a ping from inside a namespace. Repeats it for a long time.
pub async fn reaches(from: &Path, to: IpAddr) -> bool {
    pinged(from, to, PATIENCE).await
}

/// Whether an address stays silent.
pub async fn is_silent(from: &Path, to: IpAddr) -> bool {
    !pinged(from, to, SILENCE).await
}

async fn pinged(from: &Path, to: IpAddr, patience: Duration) -> bool {
    let answers = ping(from, vec![to], patience)
        .await
        .expect("pings can be sent");
    answers[0].is_some()
}

/// A stream of pings that goes on until it is ended.
#[derive(Debug)]
pub struct Stream {
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<PingStream>>,
}

impl Stream {
    /// Begins a stream after the address has answered once. The first packet may be lost
    /// while its sender looks for its neighbours, which proves nothing.
    ///
    /// # Panics
    /// When the address does not answer at all.
    pub async fn start(from: &Path, to: IpAddr) -> Self {
        assert!(reaches(from, to).await, "{to} does not answer");
        let stop = CancellationToken::new();
        let (from, token) = (from.to_owned(), stop.clone());
        let task =
            tokio::spawn(async move { ping_until(&from, to, INTERVAL, PATIENCE, token).await });
        Self { stop, task }
    }

    /// Ends it. Returns how many requests were sent, and how many got no answer.
    ///
    /// # Panics
    /// When it could not be sent at all.
    pub async fn end(self) -> (u32, u32) {
        self.stop.cancel();
        let stream = self
            .task
            .await
            .expect("the stream's task lives")
            .expect("pings can be sent");
        (stream.sent, stream.sent - stream.answered)
    }

    /// Ends it and makes sure that it lost nothing.
    ///
    /// # Panics
    /// When something was lost, or too little was sent to tell.
    pub async fn lost_nothing(self) {
        let (sent, lost) = self.end().await;
        assert!(sent >= 10, "only {sent} pings were sent: too few to tell");
        assert_eq!(lost, 0, "{lost} of {sent} pings got no answer");
    }
}
