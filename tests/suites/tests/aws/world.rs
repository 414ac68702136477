//! One node in a VPC of its own: an instance in LocalStack's EC2, an in-memory kernel whose
//! links follow EC2's state, and a run folder. A test starts, stops and kills a daemon in
//! it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipamd::app::{App, AwsChoice, aws_settings, providers};
use ipamd::cloud_rules::AWS;
use ipamd::config::Config;
use ipamd::run_dir::RunDir;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use veni_dataplane::memory::{MemoryKernel, NamespaceId};
use veni_provider::{Mac, Provider};
use veni_provider_aws::{AwsProvider, AwsSettings};
use veni_testbed::ec2::{Holding, Site, admin, of_state, sdk_config, server, site};

use crate::daemon::Daemon;
use crate::recorder::{Calls, Recorded};

/// Longer than any wait of a test that goes right, on a machine that is busy.
pub(crate) const LONG: Duration = Duration::from_secs(90);
/// After this time a change shows in Describe, as the daemon is told.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);
/// Variable with a filter for the daemons' log; for a look at a single test.
const LOG: &str = "VENI_TEST_LOG";
/// How often EC2's state is read for the wires.
const FOLLOW_EVERY: Duration = Duration::from_millis(120);

/// A few settings of a daemon, by variable.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// Settings of every daemon of this lane unless a test says otherwise. Waits are short, and
/// the daemon refreshes its inventory only when it has a reason.
const USUAL: Settings<'_> = &[
    ("VENI_PROVIDER", "aws"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "1"),
    ("VENI_DETACH_AGE", "1"),
    ("VENI_AUDIT_INTERVAL", "1"),
    ("VENI_DENIED_RETRY", "2"),
    ("VENI_SUBNET_RETRY", "3"),
];

/// The node, and everything around a daemon; it outlives the daemon.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) kernel: MemoryKernel,
    pub(crate) calls: Calls,
    folder: tempfile::TempDir,
    namespaces: Mutex<HashMap<String, (OwnedFd, NamespaceId)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A node of a type in a VPC with one subnet of 251 addresses.
    pub(crate) async fn new(instance_type: &str) -> Arc<Self> {
        Self::at(site(instance_type).await)
    }

    /// A node that is there already.
    pub(crate) fn at(site: Site) -> Arc<Self> {
        Arc::new(Self {
            site,
            kernel: MemoryKernel::default(),
            calls: Calls::default(),
            folder: tempfile::tempdir().expect("a temp folder"),
            namespaces: Mutex::default(),
        })
    }

    /// Ends a pod's namespace, as its runtime does after a DEL.
    pub(crate) fn end_namespace(&self, container: &str) {
        if let Some((_, id)) = locked(&self.namespaces).remove(container) {
            self.kernel.destroy_namespace(id);
        }
    }

    /// A pod's namespace, made when it is asked for first.
    pub(crate) fn namespace(&self, container: &str) -> OwnedFd {
        let mut namespaces = locked(&self.namespaces);
        let namespace = namespaces
            .entry(container.to_owned())
            .or_insert_with(|| self.kernel.namespace().expect("a namespace"));
        namespace.0.try_clone().expect("a descriptor")
    }

    /// What the node's interfaces hold in truth, in order of device index.
    pub(crate) async fn interfaces(&self) -> Vec<Holding> {
        let mut states = STATES.subscribe();
        // The first may have been on its way when it was asked for.
        for _ in 0..2 {
            states.changed().await.expect("published for ever");
        }
        let state = Arc::clone(&states.borrow_and_update());
        let all = of_state(&state, &self.site.vpc).into_iter();
        let mut own: Vec<Holding> = all.filter(|one| one.serves(&self.site.instance)).collect();
        own.sort_by_key(|one| one.attached.as_ref().map(|at| at.index));
        own
    }

    /// Interfaces, addresses and prefixes that the node holds in truth.
    pub(crate) async fn holdings(&self) -> Holdings {
        let interfaces = self.interfaces().await;
        Holdings {
            interfaces: interfaces.len(),
            addresses: interfaces.iter().map(Holding::addresses).sum(),
            prefixes: interfaces.iter().map(Holding::prefixes).sum(),
        }
    }

    /// The faults that strike this node, with their counts.
    pub(crate) async fn faults(&self) -> Vec<Value> {
        let all = server().control.faults().await.expect("faults").into_iter();
        all.filter(|rule| rule["access_key"] == self.site.access_key.as_str())
            .collect()
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(self: &Arc<Self>, settings: Settings<'_>) -> Daemon {
        self.start_with(settings, |_| {}).await
    }

    /// The same, with what the provider cannot be told by variables.
    pub(crate) async fn start_with(
        self: &Arc<Self>,
        settings: Settings<'_>,
        shape: impl FnOnce(&mut AwsSettings),
    ) -> Daemon {
        let config = config(settings);
        let provider = AwsProvider::connect(self.aws_settings(&config, shape)).await;
        let provider = Arc::new(provider.expect("must connect"));
        self.start_on(config, provider).await
    }

    async fn start_on(self: &Arc<Self>, config: Config, provider: Arc<dyn Provider>) -> Daemon {
        if std::env::var_os(LOG).is_some() {
            // The first one sets it up for all of this process.
            let _ = ipamd::logging::init(&config);
        }
        let wires = self.wires().await;
        let app = timeout(LONG, self.start_app(config, provider)).await;
        let app = app.expect("starts in time");
        let app = app.expect("starts").expect("nobody stops it");
        // The next one is no longer the first in this boot.
        let mark = self.folder.path().join(veni_api::READY_FILE);
        fs::write(mark, boot_id()).expect("writes");
        Daemon::new(app, Arc::clone(self), wires)
    }

    async fn start_app(
        &self,
        config: Config,
        provider: Arc<dyn Provider>,
    ) -> anyhow::Result<Option<App>> {
        let provider = Recorded {
            inner: provider,
            calls: self.calls.clone(),
        };
        let run_dir = RunDir::try_new(self.folder.path()).expect("the run folder is free");
        let mut config = config;
        config.state_dir = self.folder.path().join("state");
        let never = CancellationToken::new();
        App::start(
            config,
            &AWS,
            run_dir,
            Arc::new(provider),
            Arc::new(self.kernel.clone()),
            &never,
        )
        .await
    }

    /// Why a daemon with these settings does not start.
    pub(crate) async fn refusal(&self, settings: Settings<'_>) -> String {
        let config = config(settings);
        let provider = AwsProvider::connect(self.aws_settings(&config, |_| {})).await;
        let provider = Arc::new(provider.expect("must connect"));
        let started = timeout(LONG, self.start_app(config, provider)).await;
        let refused = started.expect("ends in time").err();
        refused.expect("must be refused").to_string()
    }

    /// What the daemon's own code makes of the settings, pointed at LocalStack.
    pub(crate) fn aws_settings(
        &self,
        config: &Config,
        shape: impl FnOnce(&mut AwsSettings),
    ) -> AwsSettings {
        let choice = config.provider.settings::<AwsChoice>();
        let choice = choice.expect("this lane is about AWS");
        let mut settings = aws_settings(config, choice, &Default::default());
        settings.instance.instance_id = Some(self.site.instance.clone());
        settings.settle_time = SETTLE;
        settings.tidy_every = Duration::from_secs(1);
        settings.sdk_config = Some(sdk_config(&self.site.access_key, &server().address));
        shape(&mut settings);
        settings
    }

    /// Lets links of the in-memory kernel follow EC2's state.
    async fn wires(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let mut states = STATES.subscribe();
        let mut plugged = BTreeMap::new();
        let first = states.wait_for(|state| self.follow(state, &mut plugged));
        drop(timeout(LONG, first).await.expect("EC2 must have the node"));
        let world = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            while states.changed().await.is_ok() {
                let state = Arc::clone(&states.borrow_and_update());
                world.follow(&state, &mut plugged);
            }
        }))
    }

    /// Plugs in what EC2 has attached and pulls what it has not. Returns whether the node has
    /// an interface at all.
    fn follow(&self, state: &Value, plugged: &mut BTreeMap<String, u32>) -> bool {
        let mut there = BTreeMap::new();
        for one in of_state(state, &self.site.vpc) {
            if one.serves(&self.site.instance)
                && let Some(at) = one.attached
            {
                there.insert(one.mac, at.index);
            }
        }
        for (mac, _) in plugged.iter().filter(|(mac, _)| !there.contains_key(*mac)) {
            self.kernel.unplug(parsed(mac).0);
        }
        for (mac, index) in &there {
            if !plugged.contains_key(mac) {
                self.kernel.plug(&format!("eth{index}"), parsed(mac).0);
            }
        }
        *plugged = there;
        !plugged.is_empty()
    }

    /// Removes the node with everything that is attached to it.
    pub(crate) async fn terminate(&self) {
        let call = admin()
            .terminate_instances()
            .instance_ids(&self.site.instance);
        call.send().await.expect("must be terminated");
    }
}

/// What a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) interfaces: usize,
    pub(crate) addresses: usize,
    pub(crate) prefixes: usize,
}

/// The settings, over the usual ones.
pub(crate) fn config(settings: Settings<'_>) -> Config {
    let lookup = |name: &str| {
        let mut all = settings.iter().chain(USUAL);
        let found = all.find(|(key, _)| *key == name);
        match name {
            "AWS_VPC_K8S_CNI_LOGLEVEL" => std::env::var(LOG).ok(),
            _ => found.map(|(_, value)| (*value).to_owned()),
        }
    };
    Config::try_new(&providers(), &lookup, "node").expect("the settings are valid")
}

/// EC2's state, read for all worlds that follow it.
static STATES: LazyLock<watch::Sender<Arc<Value>>> = LazyLock::new(|| {
    let (sender, _) = watch::channel(Arc::new(Value::Null));
    std::thread::spawn(publish_states);
    sender
});

fn publish_states() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            if STATES.receiver_count() > 0
                && let Ok(state) = server().control.state().await
            {
                STATES.send_replace(Arc::new(state));
            }
        }
    });
}

fn parsed(mac: &str) -> Mac {
    mac.parse().expect("EC2 writes MACs")
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    text.trim().to_owned()
}
