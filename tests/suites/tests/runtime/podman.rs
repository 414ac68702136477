//! podman 4 with its CNI back end, which knows CNI up to 1.0.0 and passes `-p` as the capability
//! `portMappings`. Its containers are pods of Veni's network without Kubernetes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use veni_testbed::cloudlab::command_in;
use veni_testbed::{Bed, BedConfig, eventually};

use crate::containerd::{IMAGE, fetched, plugins, text, write_conflist};
use crate::node;

/// What podman reads (containers.conf(5)). Locks in shared memory would be the machine's, and
/// limits cannot be raised without CAP_SYS_RESOURCE.
fn configuration(folder: &Path) -> String {
    let (conmon, runc) = (
        fetched("podman").join("usr/bin/conmon"),
        fetched("containerd").join("usr/sbin/runc"),
    );
    format!(
        r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
conmon_path = ["{conmon}"]
[engine.runtimes]
runc = ["{runc}"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{folder}/bin"]
network_config_dir = "{folder}/net.d"
default_network = "veni"
"#,
        conmon = text(&conmon),
        runc = text(&runc),
        folder = text(folder),
    )
}

/// podman on one node.
struct Podman {
    folder: PathBuf,
    namespace: PathBuf,
}

impl Podman {
    async fn new(folder: &Path, namespace: &Path, run_dir: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the node's folder can be made");
        plugins(&folder.join("bin"));
        write_conflist(&folder.join("net.d"), run_dir);
        std::fs::write(folder.join("containers.conf"), configuration(folder)).expect("writes");
        // It has this place only, which is private to the lane.
        let policy = Path::new("/etc/containers");
        std::fs::create_dir_all(policy).expect("the folder can be made");
        let accept = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        std::fs::write(policy.join("policy.json"), accept).expect("writes");
        let podman = Self {
            folder: folder.to_owned(),
            namespace: namespace.to_owned(),
        };
        let image = fetched("pod-image").join("pod.tar");
        podman.run(&["load", "-i", text(&image)]).await;
        podman
    }

    /// Runs podman and returns what it printed.
    async fn run(&self, arguments: &[&str]) -> String {
        let said = self.tries(arguments).await;
        said.unwrap_or_else(|error| panic!("podman {arguments:?}: {error}"))
    }

    async fn tries(&self, arguments: &[&str]) -> Result<String, String> {
        let unpacked = fetched("podman");
        let libraries = ["usr/lib", "lib"].map(|folder| {
            let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
            unpacked.join(folder).join(machine).display().to_string()
        });
        let output = command_in(&self.namespace, unpacked.join("usr/bin/podman"))
            .arg("--root")
            .arg(self.folder.join("root"))
            .arg("--runroot")
            .arg(self.folder.join("run"))
            .arg("--tmpdir")
            .arg(self.folder.join("tmp"))
            .args(["--storage-driver", "overlay"])
            .args(arguments)
            .env("CONTAINERS_CONF", self.folder.join("containers.conf"))
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Starts a container with a web server; its address.
    async fn container(&self, name: &str, further: &[&str]) -> IpAddr {
        let cgroup = node::cgroup(name);
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            name,
            "--cgroup-parent",
            &cgroup,
        ];
        arguments.extend(further);
        let serve = "echo veni > /index.html; httpd -f -p 80 -h /";
        arguments.extend([IMAGE, "sh", "-c", serve]);
        self.run(&arguments).await;
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        crate::parse(&self.run(&["inspect", "--format", format, name]).await)
    }

    async fn fetches(&self, container: &str, host: IpAddr, port: u16) {
        let request = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {host} {port}");
        eventually(&format!("a page of {host}:{port}"), async || {
            let page = self
                .tries(&["exec", container, "sh", "-c", &request])
                .await?;
            match page.contains("veni") {
                true => Ok(()),
                false => Err(page),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_podman_on_two_nodes_talk_and_publish_ports_and_leave_nothing() {
    let bed = Bed::start(BedConfig::new(2)).await;
    let folder = tempfile::tempdir().expect("a folder for podman");
    let mut nodes = Vec::new();
    for node in 0..2 {
        let own = folder.path().join(node.to_string());
        let run_dir = bed.daemon(node).run_dir();
        nodes.push(Podman::new(&own, bed.node(node), run_dir).await);
    }
    let one = nodes[0].container("one", &["--publish", "8080:80"]).await;
    let two = nodes[1].container("two", &[]).await;
    for (node, address) in [one, two].into_iter().enumerate() {
        assert!(crate::assigned_to(&bed, node, address), "{address}");
    }
    nodes[0].fetches("one", two, 80).await;
    nodes[1].fetches("two", one, 80).await;
    nodes[1].fetches("two", bed.node_address(0), 8080).await;
    nodes[0].run(&["restart", "--time", "0", "one"]).await;
    nodes[1].fetches("two", bed.node_address(0), 8080).await;
    for (node, name) in ["one", "two"].into_iter().enumerate() {
        nodes[node]
            .run(&["rm", "--force", "--time", "0", name])
            .await;
        bed.nothing_of_pods(node).await;
    }
    bed.sound(&[]).await;
    bed.end().await;
}
