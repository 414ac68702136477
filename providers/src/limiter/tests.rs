//! The limiter's behaviour on a paused clock, in front of a provider that
//! answers as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::SourceRouting;

/// Answers `inventory` and `release` from a script, then with success; with a
/// class of `Fatal` it never answers.
struct Scripted {
    script: Mutex<VecDeque<ErrorClass>>,
    calls: Mutex<Vec<Instant>>,
    capabilities: Capabilities,
    /// For releases.
    deadline: Option<Duration>,
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
                source_routing: SourceRouting::BySource,
                release: true,
                batch: 1,
                lists_own_alone: false,
                settle_time: Duration::ZERO,
            },
            deadline: None,
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

    async fn local_view(&self) -> Option<LocalView> {
        let marks = ["seen".to_owned()].into();
        Some(LocalView {
            marks,
            ..LocalView::default()
        })
    }

    fn deadline(&self, operation: Operation) -> Option<Duration> {
        self.deadline.filter(|_| operation == Operation::Release)
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

#[tokio::test(start_paused = true)]
async fn a_kind_of_call_has_the_deadline_that_the_provider_names() {
    let patient = Duration::from_secs(200);
    let provider = Scripted::new([ErrorClass::Fatal, ErrorClass::Fatal]);
    let mut provider = Arc::into_inner(provider).expect("nobody else has it");
    provider.deadline = Some(patient);
    let config = LimiterConfig::default();
    let limited = Limited::new(Arc::new(provider), &config, Arc::new(NoObserver));
    let (id, nothing) = (InterfaceId::new("eni-1"), Grant::default());
    let began = Instant::now();
    let error = limited.release(&id, &nothing).await.expect_err("hangs");
    assert_eq!(error.class, ErrorClass::OutcomeUnknown);
    assert_eq!(error.reason, "no answer within 200s");
    assert_eq!(began.elapsed().as_secs(), patient.as_secs());
    let began = Instant::now();
    limited.inventory().await.expect_err("hangs");
    assert_eq!(began.elapsed().as_secs(), config.deadline.as_secs());
}

#[tokio::test(start_paused = true)]
async fn every_call_reaches_the_provider_behind_and_comes_back_with_its_answer() {
    let scripted = Scripted::new([ErrorClass::Unsupported]);
    let mut limits = config();
    limits.deadline = Duration::from_secs(60);
    let limited = Limited::new(scripted.clone(), &limits, Arc::new(Notes::default()));
    assert_eq!(limited.name(), "scripted");
    assert!(format!("{limited:?}").contains("Limited"), "{limited:?}");
    let view = limited.local_view().await.expect("a view");
    assert!(view.marks.contains("seen"));
    assert_eq!(scripted.starts().len(), 0, "a view of the node is no call");
    let interface = InterfaceId::new("eni-1");
    let refused = limited.detach_interface(&interface).await;
    assert_eq!(
        refused.expect_err("scripted").class,
        ErrorClass::Unsupported
    );
    let slots = AddressSlots::new(veni_nouns::Family::V4, veni_nouns::SlotKind::Address, 1);
    let refused = limited.assign(&interface, slots).await;
    assert_eq!(refused.expect_err("it cannot").operation, "assign");
    for operation in Operation::ALL {
        assert_eq!(limited.deadline(operation), Some(Duration::from_secs(60)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_grows_by_a_share_of_its_increase_for_each_call_that_passes() {
    let full = Rate {
        per_second: 10.0,
        burst: 3,
    };
    let adaptation = Adaptation {
        decrease: 0.5,
        increase: 2.0,
        ..config().adaptation
    };
    let budget = Budget::new(full, &adaptation);
    assert_eq!(budget.passed(), None, "it is whole");
    assert_eq!(budget.throttled(Instant::now(), None), Some(5.0));
    assert_eq!(budget.passed(), Some(5.0 + 2.0 / 5.0));
}
