//! Instance metadata of one node. A test says when it reads anew what EC2 describes.

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_cloudlab::metadata::{Service, Settings, View, describe};
use veni_testbed::ec2::admin;

use crate::world::World;

/// The service, while it runs.
pub(crate) struct Metadata {
    service: Service,
    vpc: String,
    pub(crate) url: String,
    _stop: DropGuard,
}

impl Metadata {
    /// Whoever asks is told of the world's node.
    pub(crate) async fn of(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let settings = Settings {
            pinned: Some(world.site.instance.clone()),
            ..Settings::default()
        };
        let vpc = world.site.vpc.clone();
        let service = Service::new(seen(&vpc).await, settings);
        let stop = CancellationToken::new();
        tokio::spawn(service.clone().serve(listener, stop.clone()));
        Self {
            service,
            vpc,
            url,
            _stop: stop.drop_guard(),
        }
    }

    /// Reads anew what EC2 describes, and shows that from now on.
    pub(crate) async fn look(&self) {
        self.service.publish(seen(&self.vpc).await);
    }
}

async fn seen(vpc: &str) -> View {
    describe(&admin(), vpc).await.expect("a view")
}
