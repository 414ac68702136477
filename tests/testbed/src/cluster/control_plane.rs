//! A cluster's control plane: etcd, API server, controllers and scheduler, each a process in the
//! namespace of a machine of its own in the VPC.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::process::{Child, Command};
use veni_cloudlab::{command_in, end_of_log};

use super::{SHOWN, eventually};
use crate::binaries;

/// Where services have their addresses. The first is the API server's.
pub(super) const SERVICES: &str = "10.96.0.0/16";
/// Where the API server listens.
const PORT: u16 = 6443;
/// Where etcd listens, on its machine's loopback address.
const ETCD: &str = "http://127.0.0.1:2379";
/// Who asks the API server, by token: user and groups.
const USERS: [(&str, &str, &str); 4] = [
    ("admin", "admin", "system:masters"),
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        "",
    ),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kube-proxy", "system:kube-proxy", "system:node-proxiers"),
];

/// The processes of the control plane. Killed when the value is dropped.
#[derive(Debug)]
pub(super) struct ControlPlane {
    namespace: PathBuf,
    folder: PathBuf,
    address: IpAddr,
    api_server: Option<Child>,
    /// By the names of their programs.
    others: Vec<(&'static str, Child)>,
}

impl ControlPlane {
    /// Starts it for nodes with these names; the API server answers when this returns.
    pub(super) async fn start(
        namespace: &Path,
        folder: &Path,
        address: IpAddr,
        nodes: &[&str],
    ) -> Self {
        fs::create_dir_all(folder.join("certificates")).expect("a folder for certificates");
        let mut plane = Self {
            namespace: namespace.to_owned(),
            folder: folder.to_owned(),
            address,
            api_server: None,
            others: Vec::new(),
        };
        plane.write_identities(nodes).await;
        plane.start_etcd();
        plane.start_api_server().await;
        plane.start_controllers();
        plane.start_scheduler();
        plane
    }

    /// Folder with a kubeconfig for each node and each program: `node1.kubeconfig`.
    pub(super) fn configuration(&self) -> &Path {
        &self.folder
    }

    /// A program in its namespace.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command_in(&self.namespace, program);
        command.kill_on_drop(true);
        command
    }

    /// A call of kubectl by the administrator.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = command_in(&self.namespace, binaries::kubernetes("kubectl"));
        command
            .arg("--kubeconfig")
            .arg(self.folder.join("admin.kubeconfig"))
            // It keeps what it has discovered.
            .arg("--cache-dir")
            .arg(self.folder.join("cache"))
            .kill_on_drop(true);
        command
    }

    /// kubectl, configured by the environment, as its plugins need it; they are found in a
    /// folder.
    pub(super) fn kubectl_with_plugins(&self, plugins: &Path) -> Command {
        let program = binaries::kubernetes("kubectl");
        let before = std::env::var_os("PATH").unwrap_or_default();
        let own = [Some(plugins), program.parent()].map(|folder| folder.map(Path::to_owned));
        let folders = own.into_iter().flatten();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&before)));
        let mut command = command_in(&self.namespace, program);
        command
            .env("PATH", path.expect("no folder has a colon in its name"))
            .env("KUBECONFIG", self.folder.join("admin.kubeconfig"))
            .env("KUBECACHEDIR", self.folder.join("cache"))
            .kill_on_drop(true);
        command
    }

    /// What the API server has been asked by the daemons: one JSON object a line.
    pub(super) fn audit_log(&self) -> String {
        fs::read_to_string(self.folder.join("audit.log")).unwrap_or_default()
    }

    /// Kills the API server.
    pub(super) async fn kill_api_server(&mut self) {
        let mut child = self.api_server.take().expect("the API server runs");
        child.kill().await.expect("it can be killed");
    }

    /// Starts the API server and waits until it answers.
    pub(super) async fn start_api_server(&mut self) {
        assert!(self.api_server.is_none(), "the API server runs already");
        let file = |name: &str| self.folder.join(name).display().to_string();
        let arguments = [
            format!("--etcd-servers={ETCD}"),
            format!("--cert-dir={}", file("certificates")),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={PORT}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--allow-privileged=true".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--audit-policy-file={}", file("audit.json")),
            format!("--audit-log-path={}", file("audit.log")),
        ];
        self.api_server = Some(self.spawn("kube-apiserver", &arguments));
        eventually("the API server", async || {
            self.all_live();
            let mut command = self.kubectl();
            command
                .args(["get", "--raw", "/readyz"])
                .stdin(Stdio::null());
            let output = command.output().await.map_err(|error| error.to_string())?;
            match output.status.success() {
                true => Ok(()),
                false => Err(self.log_tail("kube-apiserver")),
            }
        })
        .await;
    }

    /// Fails if a process has ended.
    fn all_live(&mut self) {
        let api_server = self
            .api_server
            .iter_mut()
            .map(|child| ("kube-apiserver", child));
        let others = self
            .others
            .iter_mut()
            .map(|(program, child)| (*program, child));
        let mut ended = None;
        for (program, child) in api_server.chain(others) {
            let status = child.try_wait().expect("it can be waited for");
            ended = ended.or(status.map(|status| (program, status)));
        }
        if let Some((program, status)) = ended {
            panic!("{program} ended with {status}: {}", self.log_tail(program));
        }
    }

    fn start_etcd(&mut self) {
        let data = self.folder.join("etcd").display().to_string();
        let arguments = [
            format!("--data-dir={data}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        ];
        self.keep("etcd", &arguments);
    }

    fn start_controllers(&mut self) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let arguments = [
            format!(
                "--kubeconfig={}",
                file("kube-controller-manager.kubeconfig")
            ),
            // Its own role may not change nodes.
            "--use-service-account-credentials=true".to_owned(),
            format!("--root-ca-file={}", file("certificates/apiserver.crt")),
            format!(
                "--service-account-private-key-file={}",
                file("accounts.key")
            ),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        let arguments = [&arguments[..], &eager()].concat();
        self.keep("kube-controller-manager", &arguments);
    }

    fn start_scheduler(&mut self) {
        let config = self.folder.join("kube-scheduler.kubeconfig");
        let arguments = [
            format!("--kubeconfig={}", config.display()),
            format!("--authentication-kubeconfig={}", config.display()),
            format!("--authorization-kubeconfig={}", config.display()),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        let arguments = [&arguments[..], &eager()].concat();
        self.keep("kube-scheduler", &arguments);
    }

    fn keep(&mut self, program: &'static str, arguments: &[String]) {
        let child = self.spawn(program, arguments);
        self.others.push((program, child));
    }

    fn spawn(&self, program: &str, arguments: &[String]) -> Child {
        let mut open = OpenOptions::new();
        let log = open.create(true).append(true).open(self.log(program));
        let log = log.expect("a log can be written");
        command_in(&self.namespace, binaries::kubernetes(program))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be executed: {error}"))
    }

    fn log(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{program}.log"))
    }

    fn log_tail(&self, program: &str) -> String {
        end_of_log(&self.log(program), SHOWN)
    }

    /// Writes tokens, kubeconfigs, the key of service accounts and the policy of the audit log.
    async fn write_identities(&self, nodes: &[&str]) {
        let mut tokens = String::new();
        let mut known: Vec<(String, String, &str)> = USERS
            .iter()
            .map(|(name, user, groups)| ((*name).to_owned(), (*user).to_owned(), *groups))
            .collect();
        for node in nodes {
            known.push((
                (*node).to_owned(),
                format!("system:node:{node}"),
                "system:nodes",
            ));
        }
        for (name, user, groups) in &known {
            tokens.push_str(&format!("{name}-token,{user},{name},{groups}\n"));
            let config = self.kubeconfig(name).to_string();
            self.write(&format!("{name}.kubeconfig"), &config);
        }
        self.write("tokens.csv", &tokens);
        let users = ["system:serviceaccount:kube-system:veni"];
        let rules = json!([{ "level": "Metadata", "users": users }, { "level": "None" }]);
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules,
            "omitStages": ["RequestReceived"],
        });
        self.write("audit.json", &policy.to_string());
        let (key, public) = (
            self.folder.join("accounts.key"),
            self.folder.join("accounts.pub"),
        );
        for arguments in [
            vec![
                "genrsa".as_ref(),
                "-out".as_ref(),
                key.as_os_str(),
                "2048".as_ref(),
            ],
            vec![
                "rsa".as_ref(),
                "-in".as_ref(),
                key.as_os_str(),
                "-pubout".as_ref(),
                "-out".as_ref(),
                public.as_os_str(),
            ],
        ] {
            let output = Command::new("openssl").args(arguments).output().await;
            let output = output.expect("openssl is installed");
            assert!(output.status.success(), "{output:?}");
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a file of the control plane can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode can be set");
    }

    fn kubeconfig(&self, name: &str) -> serde_json::Value {
        let authority = self.folder.join("certificates/apiserver.crt");
        let server = format!("https://{}:{PORT}", self.address);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": {
                "server": server, "certificate-authority": authority,
            } }],
            "users": [{ "name": name, "user": { "token": format!("{name}-token") } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": name } }],
        })
    }
}

/// Controllers and scheduler may ask as often as they like, and need not be elected: there is one
/// of each.
fn eager() -> [String; 3] {
    let arguments = [
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
    ];
    arguments.map(str::to_owned)
}
