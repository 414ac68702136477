//! The daemon under measurement: starts it, reads its metrics, memory and processor time,
//! and stops it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use veni_api::client::connect_operator;
use veni_api::v1::{PoolRequest, PoolResponse};

use crate::contender::run_dir;
use crate::node::{ADDRESS, Node};

/// Where the daemon serves metrics.
const METRICS: &str = "127.0.0.1:61678";
/// How long the daemon may take to start, to warm its pool, to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds spent in a phase, and how often.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spent {
    /// Seconds in sum.
    pub(crate) seconds: f64,
    /// How often.
    pub(crate) count: f64,
}

/// A running `ipamd`.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Child,
    folder: PathBuf,
    log: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Daemon {
    /// Starts a daemon with a mock cloud of its own. Its pool holds so many addresses that
    /// no ADD ever waits for one.
    pub(crate) fn start(program: &Path, node: &Node, addresses: usize) -> anyhow::Result<Self> {
        let folder = run_dir(node);
        fs::create_dir_all(&folder)?;
        let log = node.folder.join("ipamd.log");
        let addresses = addresses.to_string();
        let process = Command::new(program)
            .arg("--run-dir")
            .arg(&folder)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("VENI_PROVIDER", "mock")
            .env("VENI_INSTANCE_ID", "i-bench")
            .env("VENI_STATE_DIR", folder.join("state"))
            .env("VENI_MOCK_INSTANCE_TYPE", "c5.18xlarge")
            .env("VENI_MOCK_PRIMARY_ADDRESS", ADDRESS)
            .env("VENI_METRICS_ADDRESS", METRICS)
            .env("ENABLE_PREFIX_DELEGATION", "true")
            .env("MINIMUM_IP_TARGET", &addresses)
            .env("WARM_IP_TARGET", "16")
            .env("MAX_PODS", &addresses)
            .env("IP_COOLDOWN_PERIOD", "1")
            .stderr(File::create(&log)?)
            .stdout(File::create(node.folder.join("ipamd.out"))?)
            .spawn()
            .with_context(|| format!("failed to run {}", program.display()))?;
        Ok(Self {
            process,
            folder,
            log,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// Waits until the pool holds so many free addresses.
    pub(crate) fn warm(&mut self, node: &Node, addresses: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("the daemon has ended with {status}: {}", self.log_end());
            }
            let pool = self.pool().unwrap_or_default();
            node.plug_attached(&pool)?;
            let wired = pool.interfaces.iter().all(|i| !i.link.is_empty());
            if wired && pool.free as usize >= addresses {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the pool has {} of {addresses} addresses: {}",
                pool.free,
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The pool, as operators see it.
    pub(crate) fn pool(&self) -> anyhow::Result<PoolResponse> {
        let socket = self.folder.join(veni_api::OPERATOR_SOCKET);
        self.runtime.block_on(async {
            let mut client = connect_operator(&socket).await?;
            Ok(client.pool(PoolRequest {}).await?.into_inner())
        })
    }

    /// Time spent by phase in ADDs (`veni_add_seconds`) or DELs so far.
    pub(crate) fn phases(&self, operation: &str) -> anyhow::Result<BTreeMap<String, Spent>> {
        let mut stream = TcpStream::connect(METRICS).context("failed to read the metrics")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        // Before the first operation the text has no phases, but it has its end mark.
        ensure!(
            text.ends_with("# EOF\n"),
            "the metrics are cut short: {text}"
        );
        read_phases(&text, operation)
    }

    /// Folder of its threads in `/proc`.
    pub(crate) fn tasks(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task", self.process.id()))
    }

    /// CPU time of all its threads so far, ns, as the kernel's scheduler counts it.
    pub(crate) fn cpu_nanoseconds(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(self.tasks())? {
            let text = fs::read_to_string(task?.path().join("schedstat"))
                .context("the kernel counts no CPU time by thread (CONFIG_SCHED_INFO)")?;
            let first = text.split_whitespace().next().unwrap_or_default();
            sum += first.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Resident memory now, KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.status_field("VmRSS:")
    }

    /// Anonymous part of the resident memory, KiB.
    pub(crate) fn anonymous_kib(&self) -> anyhow::Result<u64> {
        self.status_field("RssAnon:")
    }

    fn status_field(&self, name: &str) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number
            .context("the kernel tells no memory of the daemon")?
            .parse()?)
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.context("the daemon has no process id")?, Signal::TERM)?;
        let status = self.process.wait()?;
        ensure!(
            status.success(),
            "it ended with {status}: {}",
            self.log_end()
        );
        Ok(())
    }
}

/// Sums and counts of `veni_<operation>_seconds` by phase.
fn read_phases(text: &str, operation: &str) -> anyhow::Result<BTreeMap<String, Spent>> {
    let prefix = format!("veni_{operation}_seconds_");
    let mut phases: BTreeMap<String, Spent> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let phase = series.split('"').nth(1).unwrap_or_default().to_owned();
        let value: f64 = value.parse()?;
        let spent = phases.entry(phase).or_default();
        match series.split('{').next() {
            Some("sum") => spent.seconds = value,
            Some("count") => spent.count = value,
            _ => {}
        }
    }
    // Buckets carry the phase as well, in some orders after their bound: skip them.
    phases.retain(|_, spent| spent.count > 0.0);
    Ok(phases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_out_of_the_metrics_and_buckets_are_not() {
        let text = "# TYPE veni_add_seconds histogram\n\
             veni_add_seconds_sum{phase=\"kernel\"} 0.5\n\
             veni_add_seconds_count{phase=\"kernel\"} 10\n\
             veni_add_seconds_bucket{le=\"0.001\",phase=\"kernel\"} 3\n\
             veni_del_seconds_sum{phase=\"total\"} 7\n# EOF\n";
        let phases = read_phases(text, "add").expect("it parses");
        let kernel = Spent {
            seconds: 0.5,
            count: 10.0,
        };
        assert_eq!(phases, BTreeMap::from([("kernel".to_owned(), kernel)]));
    }
}
