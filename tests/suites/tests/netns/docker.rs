//! Docker beside Veni, with the tables that it documents ("Packet filtering and firewalls"):
//! by iptables, where it drops what is forwarded, and by nftables, where it does not.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::json;
use veni_testbed::cloudlab::enter;
use veni_testbed::kernel::{self, ip};
use veni_testbed::traffic::{is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, PATIENCE, TestPod};

use super::check::check;
use super::traffic::{interface_of, talks_to_everybody};

/// The port of the node that leads to the container on the bridge of Docker.
const PUBLISHED: u16 = 8081;
/// The port of the node that leads to a pod.
const HOST_PORT: u16 = 8080;

const BY_IPTABLES: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
COMMIT
";

const BY_NFTABLES: &str = r#"table ip docker-bridges {
	map filter-forward-in-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-in__docker0 }
	}
	map filter-forward-out-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-out__docker0 }
	}
	map nat-postrouting-out-jumps {
		type ifname : verdict
		elements = { "docker0" : jump nat-postrouting-out__docker0 }
	}
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		oifname vmap @filter-forward-in-jumps
		iifname vmap @filter-forward-out-jumps
	}
	chain filter-forward-in__docker0 {
		ct state established,related counter accept
		iifname "docker0" counter accept comment "ICC"
		ip daddr 172.17.0.2 tcp dport 80 counter accept
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain filter-forward-out__docker0 {
		ct state established,related counter accept
		counter accept comment "OUTGOING"
	}
	chain nat-OUTPUT {
		type nat hook output priority -100; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		iifname vmap @nat-postrouting-out-jumps
	}
	chain nat-PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-postrouting-out__docker0 {
		oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade comment "MASQUERADE"
	}
	chain nat-prerouting-and-output {
		iifname != "docker0" tcp dport 8081 counter dnat to 172.17.0.2:80 comment "DNAT"
	}
}
"#;

/// A node with Docker's bridge and a container on it, a pod on each interface, and a peer on
/// another node.
struct Scene {
    bed: Bed,
    container: TestPod,
    web: (TestPod, Added),
    first: (TestPod, Added),
    peer: (TestPod, Added),
}

async fn load(bed: &Bed, program: &str, file: &str, rules: &str) {
    let path = bed.folder().join(file);
    std::fs::write(&path, rules).expect("writes");
    let path = path.display().to_string();
    let arguments: &[&str] = match program {
        "nft" => &["-f", &path],
        _ => &[&path],
    };
    let loaded = kernel::run(bed.node(0), program, arguments).await;
    loaded.expect("the tables load");
}

impl Scene {
    async fn new(program: &str, rules: &str) -> Self {
        let config = BedConfig::new(2).instance_type("t3.micro");
        let bed = Bed::start_without_daemons(config).await;
        let container = bed.pod(0, "container").await;
        let node = bed.node(0).to_owned();
        for command in [
            "link add docker0 type bridge".to_owned(),
            "address add 172.17.0.1/16 dev docker0".to_owned(),
            format!(
                "link add vethd0c type veth peer name eth0 netns {}",
                container.path().display()
            ),
            "link set vethd0c master docker0 up".to_owned(),
            "link set docker0 up".to_owned(),
        ] {
            ip(&node, &command).await;
        }
        for command in [
            "address add 172.17.0.2/16 dev eth0",
            "link set eth0 up",
            "route add default via 172.17.0.1",
        ] {
            ip(container.path(), command).await;
        }
        load(&bed, program, "docker", rules).await;
        bed.daemon(0).start().await;
        bed.daemon(1).start().await;
        let first = bed.running(0, "first").await;
        let ports = json!({ "portMappings": [
            { "hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp" }
        ] });
        let pod = bed.pod(0, "web").await.asking_for(ports);
        let added = bed.add(&pod).await.expect("ADD");
        assert!(!interface_of(&bed, added.address()).interface.primary);
        let peer = bed.running(1, "peer").await;
        serve(pod.path(), "pod").await;
        serve(container.path(), "container").await;
        Self {
            bed,
            container,
            web: (pod, added),
            first,
            peer,
        }
    }

    async fn everything_works(&self) {
        let bed = &self.bed;
        let node = bed.node_address(0);
        let peers = [self.peer.1.address(), node, bed.node_address(1)];
        for (pod, _) in [&self.first, &self.web] {
            talks_to_everybody(bed, pod, &peers).await;
            let port = asked(pod.path(), node, PUBLISHED).await;
            assert_eq!(port, "container", "{} by Docker's port", pod.name());
        }
        for from in [bed.node(1), self.peer.0.path()] {
            assert_eq!(asked(from, node, HOST_PORT).await, "pod");
            assert_eq!(asked(from, node, PUBLISHED).await, "container");
            let direct = asked(from, self.web.1.address(), 80).await;
            assert_eq!(direct, "pod");
        }
        let internet = bed.lab().cloud().config().internet[0];
        for to in [internet, self.peer.1.address(), self.web.1.address()] {
            let reached = reaches(self.container.path(), to).await;
            assert!(reached, "the container does not reach {to}");
        }
        check(bed, &[]).await.sound("beside Docker");
        bed.sound(&[&self.first.0, &self.web.0, &self.peer.0]).await;
    }
}

/// Answers everybody at port 80 with a word.
async fn serve(namespace: &Path, word: &'static str) {
    let listener = enter(namespace, || TcpListener::bind(("0.0.0.0", 80))).await;
    let listener = listener.expect("the port is free");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // A caller that has given up needs no answer.
            let _unheard = stream.write_all(word.as_bytes());
        }
    });
}

async fn asked(from: &Path, to: IpAddr, port: u16) -> String {
    let place = SocketAddr::new(to, port);
    let said = enter(from, move || {
        let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    let said = said.await;
    said.unwrap_or_else(|error| panic!("{} asked {place}: {error}", from.display()))
}

#[tokio::test]
async fn docker_s_policy_that_drops_is_named_and_the_cure_for_docker_brings_traffic_back() {
    let scene = Scene::new("iptables-nft-restore", BY_IPTABLES).await;
    let bed = &scene.bed;
    assert!(is_silent(scene.first.0.path(), scene.peer.1.address()).await);
    let found = check(bed, &[]).await;
    found.names("node", "chain FORWARD of nftables' table ip filter");
    let told = found.findings().join("\n");
    for side in ["iifname", "oifname"] {
        let cure = format!("insert rule ip filter DOCKER-USER {side} '\"eni*\"' counter accept");
        assert!(told.contains(&format!("nft {cure}")), "{told}");
        let carried_out = kernel::run(bed.node(0), "sh", &["-c", &format!("nft {cure}")]).await;
        carried_out.expect("the cure can be carried out as it is told");
    }
    let listed = kernel::run(bed.node(0), "iptables-nft", &["-S", "DOCKER-USER"]).await;
    let listed = listed.expect("iptables still knows its table");
    assert!(listed.contains("-i eni+ -j ACCEPT"), "{listed}");
    scene.everything_works().await;
    scene.bed.end().await;
}

#[tokio::test]
async fn beside_docker_s_own_nftables_everything_works_at_once() {
    let scene = Scene::new("nft", BY_NFTABLES).await;
    scene.everything_works().await;
    let before = kernel::run(
        scene.bed.node(0),
        "nft",
        &["-s", "list", "table", "ip", "docker-bridges"],
    );
    let before = before.await.expect("Docker's table");
    assert!(before.contains("dnat to 172.17.0.2:80"), "{before}");
    scene.bed.end().await;
}
