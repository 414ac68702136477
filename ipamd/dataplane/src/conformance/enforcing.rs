//! When an enforcement is told of endpoints, and what its refusals lead to.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Fixture, SECOND_MAC, add, differences, interface, is_empty, plan, remove};
use crate::plan::{EndpointLinks, EndpointPlan, KernelError, PodAddress};
use crate::{DataPlane, Enforcement, EnforcementError};

/// What an enforcement was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// To admit the endpoint with this host's end.
    Admit(String, EndpointLinks),
    /// To dismiss one that had these addresses and this index.
    Dismiss(Vec<PodAddress>, Option<u32>),
    /// To guard the exit with this index.
    Guard(u32),
}

/// An enforcement that notes what it is told, and refuses when a test wants it to.
/// Clones are the same.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Recording>>);

#[derive(Default)]
struct Recording {
    told: Vec<Told>,
    refuses: Option<&'static str>,
    visit: Option<Box<dyn FnMut(u32) + Send>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(&self.lock().told).finish()
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it was told since it was asked last.
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.lock().told)
    }

    /// Whether it refuses from now on, and with which reason.
    pub(super) fn refuse(&self, reason: Option<&'static str>) {
        self.lock().refuses = reason;
    }

    /// Has something done each time that it is told of an endpoint with a known index.
    fn visit(&self, visit: impl FnMut(u32) + Send + 'static) {
        self.lock().visit = Some(Box::new(visit));
    }

    fn note(&self, told: Told, index: Option<u32>) -> Result<(), EnforcementError> {
        let mut recording = self.lock();
        recording.told.push(told);
        if let (Some(visit), Some(index)) = (&mut recording.visit, index) {
            visit(index);
        }
        let refused = |reason: &str| Err(EnforcementError(reason.to_owned()));
        recording.refuses.map_or(Ok(()), refused)
    }
}

impl Enforcement for Recorder {
    fn admit(&self, plan: &EndpointPlan, links: &EndpointLinks) -> Result<(), EnforcementError> {
        let told = Told::Admit(plan.host_link.clone(), *links);
        self.note(told, Some(links.host_index))
    }

    fn dismiss(
        &self,
        addresses: &[PodAddress],
        host_index: Option<u32>,
    ) -> Result<(), EnforcementError> {
        let told = Told::Dismiss(addresses.to_vec(), host_index);
        self.note(told, host_index)
    }

    fn guard_exit(&self, interface_index: u32) -> Result<(), EnforcementError> {
        self.note(Told::Guard(interface_index), None)
    }
}

/// Whether the host's end was up, each time that the enforcement was told of one.
fn ups<F: Fixture>(fixture: &F) -> Arc<Mutex<Vec<bool>>> {
    let seen = Arc::<Mutex<Vec<bool>>>::default();
    let (notes, is_up) = (Arc::clone(&seen), fixture.is_up());
    fixture.enforcement().visit(move |index| {
        notes.lock().expect("no test panicked").push(is_up(index));
    });
    seen
}

fn admitted(plan: &EndpointPlan, links: EndpointLinks) -> Told {
    Told::Admit(plan.host_link.clone(), links)
}

fn dismissed(plan: &EndpointPlan, links: EndpointLinks) -> Told {
    Told::Dismiss(plan.routed(), Some(links.host_index))
}

/// No packet of a pod passes before.
pub async fn an_endpoint_is_admitted_before_its_host_end_comes_up<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let ups = ups(fixture);
    let links = add(fixture, &plan, &namespace).await.expect("added");
    assert_eq!(fixture.enforcement().take(), [admitted(&plan, links)]);
    assert_eq!(*ups.lock().expect("seen"), [false]);
    assert!(fixture.is_up()(links.host_index), "it has come up since");
}

/// Until then its packets are the pod's; a link that is gone has none.
pub async fn an_endpoint_is_dismissed_when_its_host_end_is_down<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    fixture.enforcement().take();
    let ups = ups(fixture);
    remove(fixture, &plan, links).await;
    fixture.end(namespace, links.host_index).await;
    remove(fixture, &plan, links).await;
    let twice = [dismissed(&plan, links), dismissed(&plan, links)];
    assert_eq!(fixture.enforcement().take(), twice);
    assert_eq!(*ups.lock().expect("seen"), [false, false]);
}

/// A daemon that starts, and an ADD that is repeated, find an endpoint that lives.
pub async fn an_endpoint_that_lives_is_admitted_again_and_never_dismissed<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    add(fixture, &plan, &namespace).await.expect("repeated");
    let restart = fixture.plane().add_endpoint(&plan, None).await;
    let seen = restart.expect("complete");
    assert_eq!(seen.host_index, links.host_index);
    let told = [links, links, seen].map(|links| admitted(&plan, links));
    assert_eq!(fixture.enforcement().take(), told);
}

/// The ADD says why, and can be repeated.
pub async fn an_endpoint_that_is_not_admitted_is_refused_and_nothing_is_left<F: Fixture>(
    fixture: &F,
) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    fixture.enforcement().refuse(Some("the map is full"));
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(matches!(error, KernelError::NotEnforced { .. }), "{error}");
    assert_eq!(error.to_string(), "failed to admit eni1: the map is full");
    assert!(is_empty(fixture).await);
    let told = fixture.enforcement().take();
    assert!(
        matches!(&told[..], [Told::Admit(..), Told::Dismiss(addresses, Some(_))] if *addresses == plan.routed()),
        "{told:?}"
    );
    fixture.enforcement().refuse(None);
    let links = add(fixture, &plan, &namespace).await.expect("added");
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// One that lives stays as it is.
pub async fn an_endpoint_that_lives_outlasts_a_refused_admission<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    fixture.enforcement().take();
    fixture.enforcement().refuse(Some("the map is full"));
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(matches!(error, KernelError::NotEnforced { .. }), "{error}");
    assert_eq!(fixture.enforcement().take(), [admitted(&plan, links)]);
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// Another program takes the link away at the worst moment.
pub async fn an_add_that_fails_after_its_admission_dismisses_it<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let delete = fixture.delete_link();
    let mut once = Some(());
    fixture.enforcement().visit(move |index| {
        if once.take().is_some() {
            delete(index);
        }
    });
    let error = add(fixture, &plan, &namespace).await.expect_err("no link");
    assert!(matches!(error, KernelError::Refused { .. }), "{error}");
    assert!(is_empty(fixture).await);
    let told = fixture.enforcement().take();
    let [Told::Admit(_, links), Told::Dismiss(addresses, index)] = &told[..] else {
        panic!("admitted and dismissed once: {told:?}");
    };
    assert_eq!(
        (addresses, *index),
        (&plan.routed(), Some(links.host_index))
    );
}

/// An ADD that gets nowhere near a packet is nobody's business.
pub async fn an_add_that_fails_before_its_veth_pair_is_not_told<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    fixture.add_foreign_link(None, "eni1");
    add(fixture, &plan, &namespace).await.expect_err("refused");
    assert_eq!(fixture.enforcement().take(), []);
}

/// The DEL fails, and its repetition goes on.
pub async fn a_dismissal_that_fails_is_answered_and_repeated<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    fixture.enforcement().take();
    fixture.enforcement().refuse(Some("no such map"));
    let routed = plan.routed();
    let plane = fixture.plane();
    let removed = plane
        .remove_endpoint(&routed, &[], Some(links.host_index))
        .await;
    let error = removed.expect_err("still enforced");
    assert_eq!(
        error.to_string(),
        "failed to dismiss the endpoint of 10.0.1.1, fd00::1:1: no such map"
    );
    assert!(!fixture.is_up()(links.host_index), "it sends nothing more");
    fixture.enforcement().refuse(None);
    remove(fixture, &plan, links).await;
    let twice = [dismissed(&plan, links), dismissed(&plan, links)];
    assert_eq!(fixture.enforcement().take(), twice);
}

/// The link's end is not the endpoint's: that has come before.
pub async fn the_reaper_dismisses_nothing<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    remove(fixture, &plan, links).await;
    fixture.enforcement().take();
    let reaped = fixture.plane().reap(&[links.host_index]).await;
    reaped.expect("reaped");
    assert_eq!(fixture.enforcement().take(), []);
}

/// What pods send must not leave unjudged.
pub async fn an_interfaces_exit_is_guarded_before_it_is_in_service<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let plane = fixture.plane();
    fixture.enforcement().refuse(Some("no such program"));
    let error = plane.ensure_interface(&interface()).await;
    let error = error.expect_err("refused").to_string();
    assert_eq!(error, "failed to guard the exit eth1: no such program");
    let observed = plane.observe(&[]).await.expect("observed");
    assert!(observed.interface_tables.is_empty(), "{observed:?}");
    fixture.enforcement().refuse(None);
    for _ in 0..2 {
        let ensured = plane.ensure_interface(&interface()).await;
        ensured.expect("in service");
    }
    let told = fixture.enforcement().take();
    let [Told::Guard(first), rest @ ..] = &told[..] else {
        panic!("guarded: {told:?}");
    };
    assert_eq!(rest, [Told::Guard(*first), Told::Guard(*first)]);
}

/// Looking changes nothing.
pub async fn a_comparison_of_an_interface_guards_nothing<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let compared = fixture.plane().compare_interface(&interface()).await;
    compared.expect("compared");
    assert_eq!(fixture.enforcement().take(), []);
}
