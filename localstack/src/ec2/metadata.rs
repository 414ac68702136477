//! Instance metadata of a lab's nodes, at 169.254.169.254 in the VPC. Keeps it in step
//! with what EC2 describes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use aws_sdk_ec2::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::command::ip_batch;
use crate::emulator::Control;
use crate::error::{LabError, chain};
use crate::metadata::{DescribeError, Role, Service, Settings, View, describe};
use crate::namespace::enter;

/// Where every instance finds its metadata.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Shortest time between two calls of Describe, also after a failed one.
const PAUSE: Duration = Duration::from_millis(300);

/// The service, while it runs.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) service: Service,
    _publishing: AbortOnDropHandle<()>,
    _stop: DropGuard,
}

/// The instances that it tells of, and how a question reaches it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) control: Control,
    pub(super) vpc: String,
    /// Changes with every change of the VPC's state.
    pub(super) changes: watch::Receiver<u64>,
}

impl Metadata {
    /// Opens the service in the VPC's namespace.
    pub(super) async fn open(vpc: &Path, source: Source) -> Result<Self, LabError> {
        let operation = "describe the instances for their metadata";
        let view = source.view().await.map_err(|error| LabError::Emulator {
            operation: operation.to_owned(),
            reason: chain(&error),
        })?;
        let line = format!("address replace {ADDRESS}/32 dev lo");
        ip_batch(
            vpc.to_owned(),
            "give the VPC the metadata's address",
            vec![line],
        )
        .await?;
        let operation = "open the port of instance metadata";
        let listener = enter(vpc, || {
            let listener = TcpListener::bind(SocketAddr::new(ADDRESS.into(), 80))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .await
        .map_err(LabError::io(operation))?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(LabError::io(operation))?;
        let service = Service::new(view, Settings::default());
        let stop = CancellationToken::new();
        tokio::spawn(service.clone().serve(listener, stop.clone()));
        let publishing = tokio::spawn(publish(service.clone(), source));
        Ok(Self {
            service,
            _publishing: AbortOnDropHandle::new(publishing),
            _stop: stop.drop_guard(),
        })
    }
}

impl Source {
    /// The VPC's instances. Each has a role, as a node needs one to call EC2.
    async fn view(&self) -> Result<View, DescribeError> {
        let mut view = describe(&self.client, &self.vpc).await?;
        for instance in view.instances.values_mut() {
            instance.role.get_or_insert_with(role);
        }
        Ok(view)
    }

    /// How long after a change Describe shows it.
    async fn lag(&self) -> Duration {
        let told = self.control.knobs_of(&self.vpc).await.ok();
        let seconds = told.and_then(|knobs| knobs["describe_lag_seconds"].as_f64());
        seconds.map_or(Duration::ZERO, Duration::from_secs_f64)
    }
}

fn role() -> Role {
    Role {
        name: "node".to_owned(),
        profile_arn: "arn:aws:iam::000000000000:instance-profile/node".to_owned(),
        profile_id: "AIPA0000000000000NODE".to_owned(),
    }
}

/// After every change, publishes what EC2 describes, as soon as Describe shows the
/// change.
async fn publish(service: Service, mut source: Source) {
    let mut again: Option<Instant> = None;
    loop {
        tokio::select! {
            changed = source.changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let lag = source.lag().await;
                let shown = Instant::now() + lag + PAUSE;
                again = Some(again.map_or(shown, |due| due.max(shown)));
            }
            () = at(again) => again = None,
        }
        match source.view().await {
            Ok(view) => service.publish(view),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(%error, "instance metadata keeps what it tells");
                again = again.or(Some(Instant::now() + PAUSE));
            }
        }
        sleep(PAUSE).await;
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
