//! Lets a script happen.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ipamd::replay;
use tokio::sync::Notify;
use tokio::time::sleep;
use veni_dataplane::HostPort;
use veni_provider::random;
use veni_provider_mock::CloudConfig;

use super::book::{Book, Witness};
use super::log::{Line, Port, Rest, What};
use super::script::{PODS, Script, Step};
use crate::daemon::Daemon;
use crate::world::{INSTANCE, World};

/// The machine's clock when a history begins, milliseconds since the epoch.
const EPOCH: i64 = 1_900_000_000_000;
/// How long the machine runs already when a history begins, milliseconds.
const BOOTED: u64 = 100_000;
/// Between the last trouble and the moment at which nothing may happen any more.
const SETTLED: Duration = Duration::from_secs(1500);
/// For how long nothing may happen then.
const QUIET: Duration = Duration::from_secs(1200);

/// How a part of the history ended.
enum End {
    Died,
    Stopped,
    Rebooted,
    Over,
}

/// One history under way.
pub(super) struct History<'a> {
    pub(super) script: &'a Script,
    pub(super) world: Arc<World>,
    pub(super) book: Book,
    /// The step that is next.
    next: usize,
    pub(super) clock_off_by: Rc<AtomicI64>,
    /// Tells when the daemon has come to its trap.
    trap: Option<Arc<Notify>>,
}

fn led(port: &HostPort) -> (Port, String) {
    let text = Port {
        protocol: port.protocol.to_string(),
        port: port.port,
        host: port.host.map_or(String::new(), |host| host.to_string()),
        pod_port: port.pod_port,
    };
    (text, port.pod.to_string())
}

/// Everything that happened.
pub(super) fn run(script: &Script) -> Vec<Line> {
    random::seed_thread(script.seed);
    let world = World::new(cloud(script.seed), "m5.large");
    let clock_off_by = Rc::new(AtomicI64::new(0));
    let (timeline, off_by) = (Arc::clone(&world), Rc::clone(&clock_off_by));
    replay::set_clock(Some(Rc::new(move || {
        let boot = BOOTED + timeline.now_ms();
        let unix = EPOCH + i64::try_from(boot).expect("fits") + off_by.load(Ordering::Relaxed);
        let unix = u64::try_from(unix).expect("after 1970");
        replay::Now { unix, boot }
    })));
    let mut history = History {
        script,
        book: Book::new(&world),
        world,
        next: 0,
        clock_off_by,
        trap: None,
    };
    history.all_lives();
    replay::set_clock(None);
    replay::clear_trap();
    replay::set_full(None);
    history.book.lines()
}

fn cloud(seed: u64) -> CloudConfig {
    let mut config = CloudConfig::aws().seed(seed);
    // Throttling is a fault, so that it comes when the script says.
    config.throttle = None;
    config
}

impl History<'_> {
    fn all_lives(&mut self) {
        let world = Arc::clone(&self.world);
        loop {
            let end = world.until_killed(self.life());
            self.book.order_what_was_cut_off();
            self.trap = None;
            replay::clear_trap();
            let how = match end {
                End::Died => "killed",
                End::Stopped => "stopped",
                End::Rebooted => "powered off",
                End::Over => "killed at the end",
            };
            self.book.write(What::Ended {
                how: how.to_owned(),
            });
            if matches!(end, End::Over) {
                break;
            }
            if matches!(end, End::Rebooted) {
                world.reboot();
                self.book.write(What::Rebooted);
            }
            world.until_killed(self.without_a_daemon());
        }
        world.until_killed(self.last_life());
    }

    fn take_step(&mut self) -> Option<Step> {
        let step = self.script.steps.get(self.next).cloned();
        self.next += 1;
        step
    }

    async fn start(&self) -> Daemon {
        let settings = &self.script.settings;
        let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let witness = Witness {
            inner: self.world.cloud.provider(INSTANCE),
            book: self.book.clone(),
        };
        let daemon = self.world.start_with(&settings, Arc::new(witness)).await;
        // As it does before it answers anybody.
        daemon.app.make_up_for_dels().await;
        self.book.write(What::Ready);
        daemon
    }

    /// Steps with a daemon, until it dies or no step is left.
    async fn life(&mut self) -> End {
        let Some(daemon) = self.unless_trapped(self.start()).await else {
            return End::Died;
        };
        loop {
            let Some(step) = self.take_step() else {
                return End::Over;
            };
            match step {
                Step::Kill => return End::Died,
                Step::Reboot => return End::Rebooted,
                Step::Stop => {
                    let stopped = self.unless_trapped(daemon.stop()).await;
                    return stopped.map_or(End::Died, |()| End::Stopped);
                }
                Step::Trap(point, passage) => self.trap = Some(replay::set_trap(point, passage)),
                other => {
                    let taken = self.step(&daemon, &other);
                    if self.unless_trapped(taken).await.is_none() {
                        return End::Died;
                    }
                }
            }
        }
    }

    /// `None` when the daemon has come to its trap meanwhile.
    async fn unless_trapped<T>(&self, part: impl Future<Output = T>) -> Option<T> {
        let sprung = async {
            match &self.trap {
                Some(sprung) => sprung.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = sprung => None,
            done = part => Some(done),
        }
    }

    /// What happens while no daemon runs.
    async fn without_a_daemon(&mut self) {
        let _wires = self.world.follow_the_wires();
        while let Some(step) = self.take_step() {
            match step {
                Step::Start => return,
                Step::Del(number) => self.leave_note(number),
                Step::Trap(point, passage) => self.trap = Some(replay::set_trap(point, passage)),
                Step::Reboot => {
                    self.world.reboot();
                    self.book.write(What::Rebooted);
                }
                Step::Pass(millis) => sleep(Duration::from_millis(millis)).await,
                // Nobody answers, and nobody is there to die.
                Step::Add(_)
                | Step::AddCut(..)
                | Step::Check(_)
                | Step::Gc(_)
                | Step::Kill
                | Step::Stop => {}
                other => self.happens(&other).await,
            }
        }
    }

    async fn step(&self, daemon: &Daemon, step: &Step) {
        match step {
            Step::Add(number) => self.add(daemon, *number, None),
            Step::AddCut(number, after) => self.add(daemon, *number, Some(*after)),
            Step::Del(number) => self.del(daemon, *number),
            Step::Check(number) => self.check(daemon, *number).await,
            Step::Gc(kept) => self.gc(daemon, kept),
            // One runs already.
            Step::Start => {}
            Step::Pass(millis) => sleep(Duration::from_millis(*millis)).await,
            other => self.happens(other).await,
        }
        // Callers' tasks run before the next step.
        tokio::task::yield_now().await;
    }

    /// All trouble ends. Daemon, cloud and kernel come to agree, with pods and without.
    async fn last_life(&mut self) {
        self.trap = None;
        self.trouble_ends();
        let daemon = self.start().await;
        sleep(SETTLED).await;
        for number in 0..PODS {
            self.check(&daemon, number).await;
        }
        self.book.write(What::Quiet);
        sleep(QUIET).await;
        let rest = self.rest(&daemon).await;
        self.book.write(What::AtRest(rest));
        for number in 0..PODS {
            self.del(&daemon, number);
        }
        sleep(SETTLED).await;
        self.book.write(What::Quiet);
        sleep(QUIET).await;
        let links = self.world.kernel.link_names().into_iter();
        self.book.write(What::Empty {
            rest: self.rest(&daemon).await,
            files: self.world.journal("endpoints") + self.world.journal("releases"),
            links: links.filter(|name| !name.starts_with("eth")).collect(),
        });
    }

    async fn pool(&self, daemon: &Daemon) -> Vec<(String, String)> {
        let report = daemon.report().await;
        let interfaces = report.interfaces.into_iter();
        let ranges = interfaces.flat_map(|one| {
            let addresses = one.addresses.into_iter().map(|address| address.address);
            let prefixes = one.prefixes.into_iter().map(|prefix| prefix.prefix);
            let ranges = addresses.chain(prefixes);
            ranges
                .map(move |range| (one.id.clone(), range))
                .collect::<Vec<_>>()
        });
        ranges.collect()
    }

    async fn rest(&self, daemon: &Daemon) -> Rest {
        let kernel = &self.world.kernel;
        let routes = kernel.routes().into_iter();
        let ports = kernel.host_ports().into_iter();
        Rest {
            pool: self.pool(daemon).await,
            routes: routes
                .map(|(address, link)| (address.to_string(), kernel.rates(link)))
                .collect(),
            ports: ports.map(|port| led(&port)).collect(),
        }
    }
}
