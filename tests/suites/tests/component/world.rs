//! One node in a world of its own: a mock cloud, an in-memory kernel and a run folder. A
//! test starts, stops and kills a daemon in it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipamd::app::{App, providers};
use ipamd::cloud_rules::{AWS, AZURE, CloudRules};
use ipamd::config::Config;
use ipamd::run_dir::RunDir;
use ipnet::IpNet;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use veni_dataplane::memory::{MemoryKernel, NamespaceId};
use veni_provider::{Interface, Mac, Provider};
use veni_provider_mock::{Change, CloudConfig, MockCloud, MockProvider, NodeConfig, Profile};

use crate::daemon::Daemon;
use crate::recorder::{Calls, Recorded};

/// The node's id in its cloud.
pub(crate) const INSTANCE: &str = "i-1";
/// The node's subnet.
pub(crate) const SUBNET: &str = "subnet-a";
/// The MAC of the in-memory kernel's primary interface.
const PRIMARY_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x10]);
/// Longer than any wait of a test that goes right.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// A few settings of a daemon, by variable.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// Everything around a daemon; it outlives the daemon.
pub(crate) struct World {
    pub(crate) cloud: MockCloud,
    pub(crate) kernel: MemoryKernel,
    pub(crate) calls: Calls,
    folder: tempfile::TempDir,
    rules: &'static CloudRules,
    namespaces: Mutex<HashMap<String, (OwnedFd, NamespaceId)>>,
    plug_delay: Mutex<Duration>,
    links_away: Mutex<bool>,
    /// The MACs of the interfaces whose links were plugged in.
    plugged: Mutex<BTreeSet<[u8; 6]>>,
    clock: Mutex<Clock>,
}

/// A clock that goes on where a runtime's ended.
#[derive(Debug, Clone, Copy)]
enum Clock {
    /// No life has begun.
    New,
    /// A life runs: milliseconds before it, and its beginning.
    Runs(u64, Instant),
    /// Milliseconds in all lives, and the end of the last.
    Stands(u64, Instant),
}

/// How far the clock of a first life is ahead of the machine's, so that no later life begins
/// before the last one has ended.
const LEAD: Duration = Duration::from_secs(7200);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A node of a type in an AWS-like cloud that answers at once.
    pub(crate) fn aws(instance_type: &str) -> Arc<Self> {
        Self::new(CloudConfig::aws().instant(), instance_type)
    }

    /// A node of a type in a cloud.
    pub(crate) fn new(config: CloudConfig, instance_type: &str) -> Arc<Self> {
        Self::with_node(config, NodeConfig::new(INSTANCE, instance_type, SUBNET))
    }

    /// A node in a cloud.
    pub(crate) fn with_node(config: CloudConfig, mut node: NodeConfig) -> Arc<Self> {
        let rules = match config.profile {
            Profile::Aws => &AWS,
            Profile::Azure => &AZURE,
        };
        let cloud = MockCloud::new(config).expect("the cloud fits");
        node.primary_mac = Some(PRIMARY_MAC);
        cloud.add_node(node).expect("the node fits");
        Arc::new(Self {
            cloud,
            kernel: MemoryKernel::new(),
            calls: Calls::default(),
            folder: folder(),
            rules,
            namespaces: Mutex::default(),
            plug_delay: Mutex::default(),
            links_away: Mutex::default(),
            plugged: Mutex::default(),
            clock: Mutex::new(Clock::New),
        })
    }

    /// The cloud for somebody else who may act for this node, as an administrator may.
    pub(crate) fn other_client(&self) -> MockProvider {
        self.cloud.provider(INSTANCE)
    }

    /// Makes links appear this long after their interface was attached.
    pub(crate) fn delay_links(&self, by: Duration) {
        *locked(&self.plug_delay) = by;
    }

    /// Sets whether links of interfaces that are attached from now on never appear.
    pub(crate) fn keep_links_away(&self, away: bool) {
        *locked(&self.links_away) = away;
    }

    /// The node's interfaces in truth, in order of device index.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let dump = self.cloud.dump();
        let node = dump.node(INSTANCE).expect("the node is there");
        node.interfaces
            .iter()
            .map(|i| i.interface.clone())
            .collect()
    }

    /// Addresses, prefixes and interfaces that the node holds in truth.
    pub(crate) fn holdings(&self) -> Holdings {
        let interfaces = self.interfaces();
        Holdings {
            interfaces: interfaces.len(),
            addresses: interfaces.iter().map(|i| i.addresses.len()).sum(),
            prefixes: interfaces.iter().map(|i| i.prefixes.len()).sum(),
        }
    }

    /// Whether the cloud accepts packets of the node from an address.
    pub(crate) fn cloud_knows(&self, address: IpAddr) -> bool {
        let interfaces = self.interfaces();
        let mut ranges = interfaces.iter().flat_map(ranges_of);
        ranges.any(|range| range.contains(&address))
    }

    /// The run folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of what outlives a reboot.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// Files in a folder of the journal.
    pub(crate) fn journal(&self, folder: &str) -> usize {
        let folder = self.folder().join("journal").join(folder);
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// Reboots the machine: pods and their links are gone, and files of the run folder carry
    /// the id of an earlier boot.
    pub(crate) fn reboot(&self) {
        for (_, id) in locked(&self.namespaces).drain().map(|(_, kept)| kept) {
            self.kernel.destroy_namespace(id);
        }
        self.kernel.reset_node();
        let boot = boot_id();
        let earlier = "0".repeat(boot.len());
        let mut folders = vec![self.folder().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    fs::write(&path, text.replace(&boot, &earlier)).expect("writes");
                }
            }
        }
    }

    /// Ends a pod's namespace, as its runtime does after a DEL, or a crash.
    pub(crate) fn end_namespace(&self, container: &str) {
        if let Some((_, id)) = locked(&self.namespaces).remove(container) {
            self.kernel.destroy_namespace(id);
        }
    }

    /// A pod's namespace, made when it is asked for first. Containers whose names
    /// begin alike up to a dot share one, which saves descriptors.
    pub(crate) fn namespace(&self, container: &str) -> OwnedFd {
        let mut namespaces = locked(&self.namespaces);
        let name = container
            .split_once('.')
            .map_or(container, |(name, _)| name);
        let namespace = namespaces
            .entry(name.to_owned())
            .or_insert_with(|| self.kernel.namespace().expect("a namespace"));
        namespace.0.try_clone().expect("a descriptor")
    }

    /// How many rules for its sources a pod's namespace has.
    pub(crate) fn pod_rules(&self, container: &str) -> usize {
        let namespaces = locked(&self.namespaces);
        let found = namespaces.get(container);
        found.map_or(0, |(_, id)| self.kernel.pod_rules(*id).len())
    }

    /// Runs a part of a test on a clock of its own, which goes on where the one
    /// before stopped. At its end whatever still runs dies as by SIGKILL.
    pub(crate) fn until_killed<T>(self: &Arc<Self>, part: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            self.begin_life().await;
            let result = part.await;
            let (now, passed) = (Instant::now(), self.now_ms());
            *locked(&self.clock) = Clock::Stands(passed, now);
            result
        })
    }

    /// Whole milliseconds of all lives until now.
    pub(crate) fn now_ms(&self) -> u64 {
        match *locked(&self.clock) {
            Clock::New => 0,
            Clock::Runs(before, began) => before + whole_millis(began.elapsed()),
            Clock::Stands(passed, _) => passed,
        }
    }

    /// Moves a new runtime's clock by whole milliseconds, to which its timers are rounded, and
    /// holds the cloud's by what is too much: so the same history happens each time.
    async fn begin_life(&self) {
        let (passed, ended) = match *locked(&self.clock) {
            Clock::Stands(passed, ended) => (passed, Some(ended)),
            _ => (0, None),
        };
        let to = ended.unwrap_or_else(|| Instant::now() + LEAD);
        let gap = whole_millis(to.saturating_duration_since(Instant::now())) + 1;
        tokio::time::advance(Duration::from_millis(gap)).await;
        let began = Instant::now();
        if let Some(ended) = ended {
            self.cloud.hold_clock(began.duration_since(ended));
        }
        *locked(&self.clock) = Clock::Runs(passed, began);
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(self: &Arc<Self>, settings: Settings<'_>) -> Daemon {
        let cloud = Arc::new(self.cloud.provider(INSTANCE));
        self.start_with(settings, cloud).await
    }

    /// Starts a daemon that reaches its cloud by a provider of the test's.
    pub(crate) async fn start_with(
        self: &Arc<Self>,
        settings: Settings<'_>,
        cloud: Arc<dyn Provider>,
    ) -> Daemon {
        let state = self.state_dir().display().to_string();
        let usual = [
            ("VENI_PROVIDER", "mock"),
            ("VENI_STATE_DIR", state.as_str()),
        ];
        let lookup = |name: &str| {
            let mut all = settings.iter().chain(&usual);
            let found = all.find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config =
            Config::try_new(&providers(), &lookup, INSTANCE).expect("the settings are valid");
        let wires = self.follow_the_wires();
        let provider = Recorded {
            inner: cloud,
            calls: self.calls.clone(),
        };
        let run_dir = RunDir::try_new(self.folder()).expect("the run folder is free");
        let never = CancellationToken::new();
        let started = App::start(
            config,
            self.rules,
            run_dir,
            Arc::new(provider),
            Arc::new(self.kernel.clone()),
            &never,
        );
        let app = timeout(LONG, started).await.expect("starts in time");
        let app = app.expect("starts").expect("nobody stops it");
        // The next one is no longer the first in this boot.
        fs::write(self.folder().join(veni_api::READY_FILE), boot_id()).expect("writes");
        Daemon::new(app, Arc::clone(self), wires)
    }

    /// Lets links follow what is attached: an attached interface appears, a detached one goes.
    pub(crate) fn follow_the_wires(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(follow(Arc::clone(self))))
    }
}

/// In memory where that can be: a history waits for no disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a temp folder")
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a span of a test")
}

/// What a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) interfaces: usize,
    pub(crate) addresses: usize,
    pub(crate) prefixes: usize,
}

/// Everything for pods that an interface holds, single addresses as ranges too.
pub(crate) fn ranges_of(interface: &Interface) -> Vec<IpNet> {
    let addresses = interface.addresses.iter().map(|a| IpNet::from(*a));
    addresses
        .chain(interface.prefixes.iter().copied())
        .collect()
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    text.trim().to_owned()
}

async fn follow(world: Arc<World>) {
    let (dump, mut changes) = world.cloud.follow();
    // What was detached while nobody followed has gone as well.
    let interfaces = dump.nodes.iter().flat_map(|node| &node.interfaces);
    let there: Vec<[u8; 6]> = interfaces.map(|held| held.interface.mac.0).collect();
    let gone: Vec<[u8; 6]> = locked(&world.plugged)
        .extract_if(.., |mac| !there.contains(mac))
        .collect();
    for mac in gone {
        world.kernel.unplug(mac);
    }
    for node in dump.nodes {
        for held in node.interfaces {
            plug(&world, &held.interface);
        }
    }
    loop {
        match changes.recv().await {
            Ok(Change::InterfaceAttached { interface, .. }) => {
                let delay = *locked(&world.plug_delay);
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                if !*locked(&world.links_away) {
                    plug(&world, &interface);
                }
            }
            Ok(Change::InterfaceDetached { mac, .. }) => world.kernel.unplug(mac.0),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => panic!("the wires lag behind"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn plug(world: &World, interface: &Interface) {
    let name = match interface.network_card {
        0 => format!("eth{}", interface.device_index),
        card => format!("eth{}c{card}", interface.device_index),
    };
    locked(&world.plugged).insert(interface.mac.0);
    world.kernel.plug(&name, interface.mac.0);
}
