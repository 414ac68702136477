//! A node beside kube-proxy, with its pods and those who call.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use veni_provider::Family;
use veni_testbed::api_server::{ApiServer, Kind};
use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cloudlab::{enter, with_ipv6};
use veni_testbed::kube_proxy::{KubeProxy, ProxyMode};
use veni_testbed::traffic::SILENCE;
use veni_testbed::{Bed, BedConfig, PATIENCE, TestPod, eventually, kernel};

use super::calls::HOST_PORT;
use super::connections::{Connection, PORT, datagram, serve};
use super::observer;
use super::services::{EARLY, FAR, FAR_LOCAL, LOCAL, OUTSIDE, WEB};
use crate::netns::traffic::interface_of;

/// A node beside kube-proxy, another node, and a host outside of their VPC.
pub(super) struct Cluster {
    pub(super) bed: Bed,
    pub(super) proxy: KubeProxy,
    api: ApiServer,
    pub(super) mode: ProxyMode,
    pub(super) family: Family,
    pub(super) first: (TestPod, IpAddr),
    pub(super) web: (TestPod, IpAddr),
    pub(super) far: (TestPod, IpAddr),
    pub(super) internet: IpAddr,
}

impl Cluster {
    /// kube-proxy's rules are loaded before Veni's. The host asks for strict reverse paths.
    /// The IPv6 addresses of all pods are the primary interface's.
    /// A range of pods' addresses is told to kube-proxy alone.
    pub(super) async fn start(
        (mode, pods): (ProxyMode, Option<&str>),
        family: Family,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut cloud = CloudConfig::aws().instant();
        // Hosts outside of the VPC call its node ports.
        let group = &mut cloud.security_groups[0];
        group.ingress = group.egress.clone();
        let config = match family {
            Family::V4 => BedConfig::new(2).cloud(cloud),
            Family::V6 => BedConfig::new(2)
                .cloud(with_ipv6(cloud))
                .set("ENABLE_IPv6", "true"),
        };
        let config = config.instance_type("t3.micro");
        // Nothing of what is mended may wait for the audit.
        let config = config.set("VENI_AUDIT_INTERVAL", "3600");
        let bed = Bed::start_without_daemons(config).await;
        let internet = of(family, &bed.lab().internet_addresses());
        strict_reverse_paths(bed.node(0)).await;
        observer::load(bed.node(0), internet).await;
        let api = ApiServer::start(bed.node(0)).await;
        let node = bed.lab().node(0);
        let addresses = node.addresses().iter();
        let addresses: Vec<Value> = addresses
            .map(|address| json!({ "type": "InternalIP", "address": address }))
            .collect();
        let status = json!({ "addresses": addresses });
        api.put(
            Kind::Node,
            json!({ "metadata": { "name": node.name() }, "status": status }),
        );
        let other = of(family, bed.lab().node(1).addresses());
        EARLY.put(&api, family, &[(other, Some(bed.lab().node(1).name()))]);
        let mut proxy = KubeProxy::new(&bed, 0, mode, &api).of_pods_in(pods);
        proxy.start().await;
        proxy.serves(EARLY.name, other).await;
        for node in [0, 1] {
            bed.daemon(node).start_with(settings).await;
            bed.daemon(node).ready().await;
        }
        // Takes the only further IPv4 address of the primary interface.
        let (first, first_added) = bed.running(0, "first").await;
        let ports = json!({ "portMappings": [
            { "hostPort": HOST_PORT, "containerPort": PORT, "protocol": "tcp" },
        ] });
        let web = bed.pod(0, "web").await.asking_for(ports);
        let web_added = bed.add(&web).await.expect("ADD");
        let (far, far_added) = bed.running(1, "far").await;
        assert!(!interface_of(&bed, web_added.address()).interface.primary);
        let [first_at, web_at, far_at] =
            [first_added, web_added, far_added].map(|added| of(family, &added.addresses));
        for (server, address) in [
            (first.path(), first_at),
            (web.path(), web_at),
            (far.path(), far_at),
            (bed.node(1), other),
            (bed.lab().internet().path(), internet),
        ] {
            serve(server, address).await;
        }
        let mut cluster = Self {
            first: (first, first_at),
            web: (web, web_at),
            far: (far, far_at),
            bed,
            proxy,
            api,
            mode,
            family,
            internet,
        };
        cluster.put_services(pods.is_some()).await;
        cluster
    }

    async fn put_services(&mut self, pods_are_known: bool) {
        let family = self.family;
        let [this, other] = [0, 1].map(|node| self.bed.lab().node(node).name().to_owned());
        let (web, far) = ((self.web.1, Some(&*this)), (self.far.1, Some(&*other)));
        WEB.put(&self.api, family, &[web]);
        // Callers within pods' range are led to any endpoint, as from everywhere in a cluster; one
        // on the caller's own node would answer it past this one.
        let local: &[_] = if pods_are_known { &[web] } else { &[web, far] };
        LOCAL.put(&self.api, family, local);
        FAR.put(&self.api, family, &[far]);
        FAR_LOCAL.put(&self.api, family, &[far]);
        OUTSIDE.put(&self.api, family, &[(self.internet, None)]);
        self.proxied().await;
    }

    /// Waits until kube-proxy has the rules of all services.
    pub(super) async fn proxied(&mut self) {
        for (service, address) in [
            (EARLY, self.node(1)),
            (WEB, self.web.1),
            (LOCAL, self.web.1),
            (FAR, self.far.1),
            (FAR_LOCAL, self.far.1),
            (OUTSIDE, self.internet),
        ] {
            self.proxy.serves(service.name, address).await;
        }
    }

    /// Carries all calls out, by TCP and by UDP. Fails unless each is answered by who sees the right caller, and
    /// all packets left as they should.
    pub(super) async fn holds(&self, when: &str) -> Vec<Connection> {
        let node = self.bed.node(0);
        self.observe().await;
        let forged = self.forged().await;
        let mut connections = Vec::new();
        for call in self.calls().await {
            let name = format!("{when}: {}", call.name);
            let opened = Connection::open(&name, &call.from, call.to, PATIENCE).await;
            let connection = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
            let seen = connection.seen;
            assert!(call.seen.contains(&seen), "{name}: seen as {seen}");
            connections.push(connection);
            // Veni's own port is TCP's alone.
            if call.to.port() != HOST_PORT {
                let seen = datagram(&call.from, call.to).await;
                let seen = seen.unwrap_or_else(|error| panic!("{name} by UDP: {error}"));
                assert!(call.seen.contains(&seen), "{name} by UDP: seen as {seen}");
            }
        }
        // That such a port is answered where a pod serves it, the calls have shown.
        let to = SocketAddr::new(self.node(0), FAR_LOCAL.port());
        let outside = self.bed.lab().internet().path();
        let answered = Connection::open("far-local", outside, to, SILENCE).await;
        assert!(answered.is_err(), "{when}: no pod of the node serves it");
        observer::is_content(node, when).await;
        let now = self.forged().await;
        assert_eq!(now, forged, "{when}: packets with a wrong source");
        connections
    }

    /// Has the observer begin to count.
    pub(super) async fn observe(&self) {
        observer::load(self.bed.node(0), self.internet).await;
    }

    /// Opens a flow from the pod on the secondary interface to the outside, and one the
    /// other way by a node port. Returns whether any was answered.
    pub(super) async fn crosses_the_border(&self) -> bool {
        let outside = self.bed.lab().internet().path();
        let port = SocketAddr::new(self.node(0), LOCAL.port());
        let out = SocketAddr::new(self.internet, PORT);
        let out = Connection::open("out", self.web.0.path(), out, SILENCE).await;
        let inwards = Connection::open("in", outside, port, SILENCE).await;
        out.is_ok() || inwards.is_ok()
    }

    /// A node's own address.
    pub(super) fn node(&self, node: usize) -> IpAddr {
        of(self.family, self.bed.lab().node(node).addresses())
    }

    /// Fails unless the nodes are sound.
    pub(super) async fn sound(&self) {
        let pods = [&self.first.0, &self.web.0, &self.far.0];
        self.bed.sound(&pods).await;
    }

    /// Ends everything.
    pub(super) async fn end(self) {
        drop(self.proxy);
        self.bed.end().await;
    }

    /// How many packets the VPC has dropped that came by an interface without their source.
    pub(super) async fn forged(&self) -> u64 {
        let counters = self.bed.lab().counters().await.expect("counters");
        let dropped = counters.values();
        dropped.map(|one| one.forged + one.untranslatable).sum()
    }

    /// Closes the connections out of the VPC that kube-proxy masquerades. The kernel binds
    /// these to a link, and ends them if a packet leaves by another, as it does while Veni's
    /// table is missing.
    pub(super) fn forget_masqueraded_outwards(&self, connections: &mut Vec<Connection>) {
        let port = SocketAddr::new(self.node(0), OUTSIDE.port());
        connections.retain(|connection| connection.to != port);
    }

    /// Veni's tables as `nft` lists them, without what comes and goes.
    pub(super) async fn tables(&self) -> String {
        let mut text = String::new();
        for table in ["veni", "veni_host_ports"] {
            let arguments = ["--stateless", "list", "table", "inet", table];
            let listed = kernel::run(self.bed.node(0), "nft", &arguments).await;
            text += &listed.unwrap_or_default();
        }
        text
    }

    /// Waits until Veni's tables are as they were.
    pub(super) async fn tables_are(&self, before: &str) {
        eventually("Veni's tables", async || match self.tables().await {
            now if now == before => Ok(()),
            now => Err(now),
        })
        .await;
    }
}

fn of(family: Family, addresses: &[IpAddr]) -> IpAddr {
    let of_family = |one: &&IpAddr| one.is_ipv4() == (family == Family::V4);
    *addresses.iter().find(of_family).expect("an address")
}

async fn strict_reverse_paths(node: &Path) {
    for link in ["all", "default", "eth0"] {
        let path = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
        let written = enter(node, move || std::fs::write(path, "1")).await;
        written.expect("a setting");
    }
}
