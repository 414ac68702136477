//! The limiter's behaviour on a paused clock, in front of a provider that
//! answers as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::future::join_all;
use tokio::time::sleep;

use super::*;

/// Answers `inventory` and `release` from a script, then with success; with a
/// class of `Fatal` it never answers.
struct Scripted {
    script: Mutex<VecDeque<ErrorClass>>,
    calls: Mutex<Vec<Instant>>,
    capabilities: Capabilities,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = ErrorClass>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            calls: Mutex::default(),
            capabilities: Capabilities {
                attach_while_running: true,
                ipv4_prefixes: true,
                ipv6_prefixes: true,
                ipv6_addresses: true,
                source_routing: true,
                release: true,
                batch: 1,
                settle_time: Duration::ZERO,
            },
        })
    }

    async fn answer(&self) -> Result<(), ProviderError> {
        self.calls.lock().expect("lock").push(Instant::now());
        let next = self.script.lock().expect("lock").pop_front();
        match next {
            None => Ok(()),
            Some(ErrorClass::Fatal) => std::future::pending().await,
            Some(class) => {
                // In flight for a moment, as calls are.
                sleep(Duration::from_millis(10)).await;
                Err(ProviderError::new(class, "test", "scripted"))
            }
        }
    }

    fn starts(&self) -> Vec<Instant> {
        self.calls.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        Err(ProviderError::new(ErrorClass::Unsupported, "node", "no"))
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.answer().await?;
        Ok(Inventory {
            interfaces: Vec::new(),
            subnets: Vec::new(),
        })
    }

    async fn attach_interface(&self, _: &AttachRequest) -> Result<Interface, ProviderError> {
        Err(ProviderError::new(ErrorClass::Unsupported, "attach", "no"))
    }

    async fn detach_interface(&self, _: &InterfaceId) -> Result<(), ProviderError> {
        self.answer().await
    }

    async fn assign(&self, _: &InterfaceId, _: AddressSlots) -> Result<Grant, ProviderError> {
        Err(ProviderError::new(ErrorClass::Unsupported, "assign", "no"))
    }

    async fn release(&self, _: &InterfaceId, _: &Grant) -> Result<(), ProviderError> {
        self.answer().await
    }
}

/// Operation, class of its error, time waited, time taken.
type Note = (Operation, Option<&'static str>, Duration, Duration);

#[derive(Default)]
struct Notes {
    calls: Mutex<Vec<Note>>,
    budgets: Mutex<Vec<(ApiFamily, f64)>>,
}

impl CallObserver for Notes {
    fn call(
        &self,
        operation: Operation,
        outcome: Result<(), &ErrorClass>,
        waited: Duration,
        took: Duration,
    ) {
        let outcome = outcome.err().map(ErrorClass::label);
        let note = (operation, outcome, waited, took);
        self.calls.lock().expect("lock").push(note);
    }

    fn budget(&self, family: ApiFamily, per_second: f64) {
        self.budgets
            .lock()
            .expect("lock")
            .push((family, per_second));
    }
}

fn config() -> LimiterConfig {
    LimiterConfig {
        describe: Rate {
            per_second: 10.0,
            burst: 3,
        },
        adaptation: Adaptation {
            jitter: 0.0,
            ..Adaptation::default()
        },
        ..LimiterConfig::default()
    }
}

fn limited(provider: &Arc<Scripted>) -> (Limited, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let limited = Limited::new(provider.clone(), &config(), notes.clone());
    (limited, notes)
}

const THROTTLED: ErrorClass = ErrorClass::Throttled { retry_after: None };

#[tokio::test(start_paused = true)]
async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
    let provider = Scripted::new([]);
    let (limited, _) = limited(&provider);
    let start = Instant::now();
    join_all((0..5).map(|_| limited.inventory())).await;
    let late = provider
        .starts()
        .iter()
        .filter(|at| at.duration_since(start) >= Duration::from_millis(50))
        .count();
    assert_eq!(late, 2, "three of five pass at once");
    let last = provider.starts()[4].duration_since(start);
    assert!(last >= Duration::from_millis(200), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn families_do_not_wait_for_each_other() {
    let provider = Scripted::new([]);
    let (limited, notes) = limited(&provider);
    let reads = join_all((0..20).map(|_| limited.inventory()));
    let interface = InterfaceId::new("any");
    let grant = Grant::default();
    let (_, released) = tokio::join!(reads, limited.release(&interface, &grant));
    released.expect("must pass");
    let calls = notes.calls.lock().expect("lock");
    let (_, _, waited, _) = calls
        .iter()
        .find(|call| call.0 == Operation::Release)
        .expect("must be told");
    assert_eq!(*waited, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn throttling_halves_the_budget_once_for_calls_in_flight_together() {
    let provider = Scripted::new([THROTTLED, THROTTLED, THROTTLED]);
    let (limited, notes) = limited(&provider);
    join_all((0..3).map(|_| limited.inventory())).await;
    assert_eq!(limited.budget(ApiFamily::Describe), 5.0);
    let budgets = notes.budgets.lock().expect("lock");
    assert_eq!(budgets.last(), Some(&(ApiFamily::Describe, 5.0)));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_budget_has_no_burst_left() {
    let provider = Scripted::new([THROTTLED]);
    let (limited, _) = limited(&provider);
    limited.inventory().await.expect_err("must be throttled");
    let cut = Instant::now();
    limited.inventory().await.expect("must pass");
    let next = *provider.starts().last().expect("was called");
    assert!(next.duration_since(cut) >= Duration::from_millis(150));
}

#[tokio::test(start_paused = true)]
async fn the_budget_grows_back_to_full_and_no_further() {
    let provider = Scripted::new([THROTTLED]);
    let (limited, _) = limited(&provider);
    limited.inventory().await.expect_err("must be throttled");
    for _ in 0..200 {
        limited.inventory().await.expect("must pass");
    }
    assert_eq!(limited.budget(ApiFamily::Describe), 10.0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_never_falls_below_the_slowest() {
    let provider = Scripted::new(vec![THROTTLED; 20]);
    let (limited, _) = limited(&provider);
    for _ in 0..20 {
        limited.inventory().await.expect_err("must be throttled");
    }
    assert_eq!(
        limited.budget(ApiFamily::Describe),
        config().adaptation.slowest
    );
}

#[tokio::test(start_paused = true)]
async fn the_clouds_own_hint_is_waited_for() {
    let hint = Duration::from_secs(7);
    let provider = Scripted::new([ErrorClass::Throttled {
        retry_after: Some(hint),
    }]);
    let (limited, notes) = limited(&provider);
    limited.inventory().await.expect_err("must be throttled");
    limited.inventory().await.expect("must pass");
    let calls = notes.calls.lock().expect("lock");
    assert!(calls[1].2 >= hint, "waited {:?}", calls[1].2);
}

#[tokio::test(start_paused = true)]
async fn a_change_without_an_answer_is_in_doubt_after_the_deadline() {
    let provider = Scripted::new([ErrorClass::Fatal]);
    let (limited, notes) = limited(&provider);
    let error = limited
        .release(&InterfaceId::new("any"), &Grant::default())
        .await
        .expect_err("must time out");
    assert_eq!(error.class, ErrorClass::OutcomeUnknown);
    let calls = notes.calls.lock().expect("lock");
    let (operation, outcome, _, took) = calls[0];
    assert_eq!(
        (operation, outcome),
        (Operation::Release, Some("outcome_unknown"))
    );
    assert!(took >= config().deadline);
}

#[tokio::test(start_paused = true)]
async fn a_read_without_an_answer_may_be_repeated() {
    let provider = Scripted::new([ErrorClass::Fatal]);
    let (limited, _) = limited(&provider);
    let error = limited.inventory().await.expect_err("must time out");
    assert_eq!(error.class, ErrorClass::Transient);
    limited.inventory().await.expect("must pass");
}

#[tokio::test(start_paused = true)]
async fn other_errors_do_not_slow_down() {
    let provider = Scripted::new([ErrorClass::Denied, ErrorClass::Transient]);
    let (limited, _) = limited(&provider);
    limited.inventory().await.expect_err("must be denied");
    limited.inventory().await.expect_err("must fail");
    assert_eq!(limited.budget(ApiFamily::Describe), 10.0);
}
