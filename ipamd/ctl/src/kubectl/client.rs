//! Runs kubectl with the caller's configuration, and reads what it answers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// What the chart labels the daemons' pods with, whatever the values name them.
const DAEMONS: &str = "veni.dev/component=daemon";
/// What the chart labels its DaemonSets with.
pub(super) const DAEMON_SETS: &str = "veni.dev/component";
/// The daemon's container there.
const CONTAINER: &str = "ipamd";
/// The tool in the image.
const TOOL: &str = "veni";
/// How long a call whose answer is read may take: a check asks the cloud, which may be slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which cluster, as kubectl's options have it.
#[derive(Debug, Default, Args)]
pub(super) struct ClusterArguments {
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of Veni's daemons
    #[arg(
        long,
        global = true,
        default_value = "kube-system",
        value_name = "NAME"
    )]
    daemon_namespace: String,
}

/// kubectl, and what each of its calls begins with.
#[derive(Debug)]
pub(super) struct Kubectl {
    program: OsString,
    options: Vec<OsString>,
    namespace: String,
    deadline: Duration,
}

/// A pod, and where it runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlacedPod {
    pub(super) namespace: String,
    pub(super) node: String,
}

impl Kubectl {
    /// `kubectl` out of the path, or what the variable KUBECTL names.
    pub(super) fn new(cluster: ClusterArguments) -> Self {
        let mut options = Vec::new();
        if let Some(context) = cluster.context {
            options.extend([OsString::from("--context"), context.into()]);
        }
        if let Some(file) = cluster.kubeconfig {
            options.extend([OsString::from("--kubeconfig"), file.into()]);
        }
        Self {
            program: std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into()),
            options,
            namespace: cluster.daemon_namespace,
            deadline: DEADLINE,
        }
    }

    /// A shell with a script in kubectl's place.
    #[cfg(test)]
    pub(super) fn of_test(script: &std::path::Path, deadline: Duration) -> Self {
        Self {
            program: "/bin/sh".into(),
            options: vec![script.into()],
            namespace: "kube-system".to_owned(),
            deadline,
        }
    }

    /// Namespace of the daemons.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.options).args(line);
        command
    }

    fn started(&self) -> String {
        format!(
            "failed to execute {}: install kubectl, or name it in KUBECTL",
            self.program.display()
        )
    }

    async fn output(&self, line: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command(line);
        // A call that is given up is dropped, and its process killed.
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let Ok(ended) = timeout(self.deadline, output).await else {
            let words = line.join(" ");
            bail!("kubectl {words} has not ended within {:?}", self.deadline);
        };
        ended.with_context(|| self.started())
    }

    /// What a call prints.
    ///
    /// # Errors
    /// It cannot be executed, or fails; the error has its own words.
    pub(super) async fn text(&self, line: &[&str]) -> anyhow::Result<String> {
        let output = self.output(line).await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "kubectl {} failed: {}",
            line.join(" "),
            error.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The objects that a call gets, as JSON.
    ///
    /// # Errors
    /// As of [`Kubectl::text`].
    pub(super) async fn objects(&self, line: &[&str]) -> anyhow::Result<Value> {
        let mut whole = line.to_vec();
        whole.extend(["--output", "json"]);
        let text = self.text(&whole).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {}", whole.join(" ")))
    }

    /// The pod of the daemon that serves a node.
    ///
    /// # Errors
    /// There is none; the error says what to look at.
    pub(super) async fn daemon_on(&self, node: &str) -> anyhow::Result<String> {
        let on = format!("spec.nodeName={node}");
        let pods = self
            .objects(&[
                "get",
                "pods",
                "--namespace",
                &self.namespace,
                "--selector",
                DAEMONS,
                "--field-selector",
                &on,
            ])
            .await?;
        let serving = by_node(&pods).into_iter().next();
        let serving = serving.map(|(_, daemon)| daemon);
        serving.with_context(|| {
            format!(
                "no daemon of Veni runs on a node {node}: see kubectl get nodes, and kubectl \
                 --namespace {} get pods --selector {DAEMONS} --output wide; is it in another \
                 namespace, name that with --daemon-namespace",
                self.namespace
            )
        })
    }

    /// The pods of all daemons, also of those that do not serve.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(super) async fn daemons(&self) -> anyhow::Result<Value> {
        let line = ["get", "pods", "--namespace", &self.namespace];
        let chosen = ["--selector", DAEMONS];
        self.objects(&[line.as_slice(), &chosen].concat()).await
    }

    /// Where a pod runs.
    ///
    /// # Errors
    /// There is no such pod, or it runs nowhere yet.
    pub(super) async fn pod(
        &self,
        name: &str,
        namespace: Option<&str>,
    ) -> anyhow::Result<PlacedPod> {
        let mut line = vec!["get", "pod", name];
        if let Some(namespace) = namespace {
            line.extend(["--namespace", namespace]);
        }
        placed(&self.objects(&line).await?)
    }

    /// What the tool beside a daemon prints for a line, whatever its exit status tells: a
    /// check that finds differences fails.
    ///
    /// # Errors
    /// It prints nothing.
    pub(super) async fn answered(&self, daemon: &str, line: &[&str]) -> anyhow::Result<String> {
        let output = self.output(&self.beside(daemon, line)).await?;
        let error = String::from_utf8_lossy(&output.stderr);
        let is_answer = output.status.success() || !output.stdout.is_empty();
        ensure!(
            is_answer,
            "veni {} failed: {}",
            line.join(" "),
            error.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a line of the tool beside a daemon in place of this program's own: on its
    /// terminal, and with its exit status.
    ///
    /// # Errors
    /// kubectl cannot be executed.
    pub(super) async fn hand_over(&self, daemon: &str, line: &[&str]) -> anyhow::Result<ExitCode> {
        let mut command = self.command(&self.beside(daemon, line));
        let status = command
            .stdin(Stdio::null())
            .status()
            .await
            .with_context(|| self.started())?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }

    fn beside<'a>(&'a self, daemon: &'a str, line: &[&'a str]) -> Vec<&'a str> {
        let mut whole = vec!["exec", "--namespace", &self.namespace, daemon];
        whole.extend(["--container", CONTAINER, "--", TOOL]);
        whole.extend(line);
        whole
    }
}

/// The pods of a list that run and are not about to end, each behind its node's name.
pub(super) fn by_node(pods: &Value) -> Vec<(String, String)> {
    let pods = pods["items"].as_array().map(Vec::as_slice);
    let running = pods.unwrap_or_default().iter().filter(|pod| {
        pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
    });
    let named = running.filter_map(|pod| {
        let (node, name) = (&pod["spec"]["nodeName"], &pod["metadata"]["name"]);
        Some((node.as_str()?.to_owned(), name.as_str()?.to_owned()))
    });
    let mut named: Vec<(String, String)> = named.collect();
    named.sort();
    named
}

fn placed(pod: &Value) -> anyhow::Result<PlacedPod> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&pod["metadata"]["namespace"]);
    let node = text(&pod["spec"]["nodeName"]);
    if node.is_empty() {
        let name = text(&pod["metadata"]["name"]);
        bail!("pod {namespace}/{name} is bound to no node yet: see kubectl describe pod {name}");
    }
    Ok(PlacedPod { namespace, node })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn daemons_that_serve_run_and_stay() {
        let pod = |name: &str, phase: &str, ends: Option<&str>| {
            json!({
                "metadata": {"name": name, "deletionTimestamp": ends},
                "spec": {"nodeName": format!("node-of-{name}")},
                "status": {"phase": phase},
            })
        };
        let old = pod("old", "Running", Some("2026-12-01T10:00:00Z"));
        let waits = pod("waits", "Pending", None);
        let (a, b) = (pod("a", "Running", None), pod("b", "Running", None));
        let found = by_node(&json!({"items": [b, old, waits, a]}));
        let expected = [("node-of-a", "a"), ("node-of-b", "b")];
        let expected = expected.map(|(node, name)| (node.to_owned(), name.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(by_node(&json!({"items": [old, waits]})), []);
        assert_eq!(by_node(&json!({})), []);
    }

    #[test]
    fn a_pod_without_a_node_has_no_endpoints_to_show() {
        let pod =
            |spec: Value| json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": spec});
        let found = placed(&pod(json!({"nodeName": "n1"}))).expect("runs there");
        assert_eq!(
            (found.namespace.as_str(), found.node.as_str()),
            ("shop", "n1")
        );
        let error = placed(&pod(json!({}))).expect_err("runs nowhere");
        assert!(
            error.to_string().contains("shop/a is bound to no node"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_kubectl_that_is_not_there_is_named() {
        let kubectl = Kubectl {
            program: "/none/kubectl".into(),
            options: Vec::new(),
            namespace: "kube-system".to_owned(),
            deadline: DEADLINE,
        };
        let error = kubectl.text(&["version"]).await.expect_err("is not there");
        let words = "failed to execute /none/kubectl: install kubectl";
        assert!(error.to_string().starts_with(words), "{error}");
    }

    #[tokio::test]
    async fn a_call_that_does_not_end_is_given_up_and_its_process_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (script, file) = (folder.path().join("kubectl"), folder.path().join("pid"));
        let words = format!("echo $$ > {}; exec sleep 1000", file.display());
        std::fs::write(&script, words).expect("is written");
        let kubectl = Kubectl::of_test(&script, Duration::from_secs(15));
        let error = kubectl.text(&["logs"]).await.expect_err("never ends");
        let told = "kubectl logs has not ended within 15s";
        assert_eq!(error.to_string(), told);
        let pid = std::fs::read_to_string(file).expect("it has begun");
        let process = format!("/proc/{}/stat", pid.trim());
        let ended = || match std::fs::read_to_string(&process) {
            // Between its end and the runtime's look at it.
            Ok(text) => text.contains(") Z "),
            Err(_) => true,
        };
        let gone = timeout(Duration::from_secs(10), async {
            while !ended() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        gone.await.expect("the process is killed");
    }
}
