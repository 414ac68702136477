//! A cloud that is made up here: what its adapter says is all that the daemon needs to
//! start on it. No file of the daemon knows its name.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use veni_dataplane::memory::MemoryKernel;
use veni_pool::Scheme;
use veni_provider::{Mac, Provider};
use veni_provider_mock::{MockSettings, Profile};

use super::adapter::{Adapter, Start};
use super::*;
use crate::config::CloudProfile;
use crate::config::declare::{ProviderDeclaration, ProviderSettings, Setting, text_if_set};
use crate::host::HostChecks;
use crate::host::other_plugin::OtherPlugin;

const PRIMARY: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
/// Longer than any wait of a test that goes right.
const PATIENCE: Duration = Duration::from_secs(60);

/// Batches of three addresses, all of one free; seven pods on any node.
const RULES: CloudRules = CloudRules {
    profile: CloudProfile::Azure,
    scheme: |_| Scheme::Azure {
        batch: 3,
        request_percent: 100,
        release_percent: 200,
    },
    followed: |_| vec![("MADE_UP_BATCH", 3)],
    max_pods: |_| 7,
    instead_of_ipv6: "wait",
    metadata: &[],
};

const PLUGIN: OtherPlugin = OtherPlugin {
    name: "the made-up plugin",
    sockets: &["/run/made-up.sock"],
    program: "made-up-agent",
    health: None,
    conflist: "10-made-up.conflist",
    page: "docs/made-up.md",
    section: "Moving",
};

struct MadeUp;

#[async_trait]
impl Adapter for MadeUp {
    fn rules(&self) -> &'static CloudRules {
        &RULES
    }

    fn host_checks(&self) -> HostChecks {
        HostChecks::Host {
            other_plugin: &PLUGIN,
        }
    }

    async fn connect(&self, start: &Start<'_>) -> anyhow::Result<Arc<dyn Provider>> {
        start.observers.progress.waits_for("nothing");
        let mut settings = MockSettings::new("i-1");
        settings.profile = Profile::Azure;
        settings.primary_mac = Some(PRIMARY);
        Ok(veni_provider_mock::connect(&settings).await?)
    }
}

fn config(state_dir: &Path) -> Config {
    let lookup = |name: &str| (name == "VENI_PROVIDER").then(|| "mock".to_owned());
    let mut config =
        Config::try_new(&crate::app::providers(), &lookup, "i-1").expect("the settings are valid");
    config.state_dir = state_dir.to_owned();
    config
}

#[tokio::test]
async fn a_daemon_starts_on_a_cloud_of_which_only_the_adapter_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&folder.path().join("state"));
    let observers = Observers::default();
    let start = Start {
        config: &config,
        remembered: None,
        followed: None,
        observers: &observers,
    };
    let provider = MadeUp.connect(&start).await.expect("connects");
    let kernel = MemoryKernel::new();
    kernel.plug("eth0", PRIMARY.0);
    let run_dir = RunDir::try_new(folder.path()).expect("the run folder is free");
    let (rules, never) = (MadeUp.rules(), CancellationToken::new());
    let started = App::start(config, rules, run_dir, provider, Arc::new(kernel), &never);
    let app = timeout(PATIENCE, started).await.expect("starts in time");
    let app = app.expect("starts").expect("nobody stops it");
    let filled = async {
        loop {
            let report = app.pool.report().await.expect("the pool answers");
            let interfaces = report.interfaces.iter();
            let held: usize = interfaces.map(|one| one.addresses.len()).sum();
            if held == 3 {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let report = timeout(PATIENCE, filled).await.expect("a batch comes");
    assert_eq!(app.targets.get(), ["MADE_UP_BATCH=3"], "{report:?}");
    let max_pods = app
        .settings
        .iter()
        .find(|one| one.variable.name == "MAX_PODS");
    assert_eq!(max_pods.map(|one| one.value.as_str()), Some("7"));
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_refuses_to_run_beside_the_plugin_that_the_adapter_names() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("run")).expect("a folder");
    let mut settings = config(root.path()).host;
    settings.root = root.path().to_owned();
    let watch = || HostWatch::new(&settings, MadeUp.host_checks());
    watch().begin().await.expect("nobody is there");
    let _listener = UnixListener::bind(root.path().join("run/made-up.sock")).expect("listens");
    let refusal = watch().begin().await.expect_err("must be refused");
    let refusal = refusal.to_string();
    assert!(
        refusal.starts_with("the made-up plugin runs on this node"),
        "{refusal}"
    );
    HostWatch::new(&settings, HostChecks::Nothing)
        .begin()
        .await
        .expect("nothing on this host concerns it");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_ends_between_two_looks_is_not_refused() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("run")).expect("a folder");
    let mut settings = config(root.path()).host;
    settings.root = root.path().to_owned();
    let listener = UnixListener::bind(root.path().join("run/made-up.sock")).expect("listens");
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(listener);
    };
    let watch = HostWatch::new(&settings, MadeUp.host_checks());
    let (begun, ()) = tokio::join!(watch.begin(), ends);
    begun.expect("nobody is there any more");
}

static MADE_UP_ZONE: Setting<Option<String>> = Setting::new(
    "MADE_UP_ZONE",
    text_if_set("any"),
    "Zone of the made-up cloud.",
);

#[derive(Debug)]
struct MadeUpSettings {
    zone: Option<String>,
}

impl ProviderSettings for MadeUpSettings {}

static MADE_UP: ProviderDeclaration = ProviderDeclaration {
    name: "made-up",
    lacking: None,
    custom_networking: false,
    variables: &[&MADE_UP_ZONE.variable],
    read: |reader, _| {
        let zone = reader.read(&MADE_UP_ZONE);
        Arc::new(MadeUpSettings { zone })
    },
};

#[test]
fn settings_choose_a_cloud_of_which_only_its_own_file_knows() {
    let mut all = providers();
    all.clouds = vec![&MADE_UP];
    let read = |provider: &'static str| {
        let lookup = move |name: &str| match name {
            "VENI_PROVIDER" => Some(provider.to_owned()),
            "MADE_UP_ZONE" => Some("zone-1".to_owned()),
            _ => None,
        };
        Config::try_new(&all, &lookup, "i-1")
    };
    let config = read("made-up").expect("is known");
    let settings = config.provider.settings::<MadeUpSettings>();
    assert_eq!(settings.expect("its own").zone.as_deref(), Some("zone-1"));
    let shown = config.settings(&all, None);
    let zone = shown.iter().find(|one| one.variable.name == "MADE_UP_ZONE");
    assert_eq!(zone.map(|one| one.value.as_str()), Some("zone-1"));
    let other = read("mock").expect("is known");
    assert!(other.provider.settings::<MadeUpSettings>().is_none());
    let error = read("another").expect_err("is not known");
    let problem = "VENI_PROVIDER=another: must be one of mock, made-up";
    assert_eq!(error.problems, [problem]);
}
