use super::*;

const ASSIGN: CallKind = CallKind::Assign(Family::V4);

fn error(class: ErrorClass) -> ProviderError {
    ProviderError::new(class, "Operation", "Code: text")
}

fn hold(now: Instant, seconds: u64, lasting: bool) -> Hold {
    Hold {
        until: now + Duration::from_secs(seconds),
        reason: format!("{seconds} s"),
        lasting,
    }
}

#[test]
fn the_hold_that_lasts_longer_keeps_its_own_reason() {
    let now = Instant::now();
    let mut backoff = Backoff::default();
    backoff.hold(ASSIGN, hold(now, 300, true));
    backoff.hold(ASSIGN, hold(now, 1, false));
    let refusal = |backoff: &Backoff| {
        let hold = backoff.holds(Family::V4, now).assign.expect("is held");
        hold.refusal
    };
    assert_eq!(refusal(&backoff), Some("300 s".to_owned()));
    backoff.hold(ASSIGN, hold(now, 600, false));
    assert_eq!(refusal(&backoff), None);
}

#[test]
fn a_success_of_one_kind_says_nothing_of_another() {
    let now = Instant::now();
    let mut backoff = Backoff::default();
    backoff.hold(CallKind::Attach, hold(now, 30, true));
    backoff.hold(ASSIGN, hold(now, 30, false));
    backoff.over(CallKind::Release(Family::V4));
    backoff.over(ASSIGN);
    let holds = backoff.holds(Family::V4, now);
    assert_eq!(
        (holds.assign.is_some(), holds.attach.is_some()),
        (false, true)
    );
    assert_eq!(backoff.reason().as_deref(), Some("30 s"));
}

#[test]
fn refusals_are_repeated_ever_less_often_up_to_a_limit() {
    let now = Instant::now();
    let (mut backoff, first) = (Backoff::default(), Duration::from_secs(30));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        backoff.count(ASSIGN, &error(ErrorClass::Fatal), now);
        pauses.push(backoff.refusal(ASSIGN, first));
    }
    let about = |pause: Duration, seconds: f64| (pause.as_secs_f64() / seconds - 1.0).abs() <= 0.11;
    assert!(
        about(pauses[0], 30.0) && about(pauses[2], 120.0),
        "{pauses:?}"
    );
    assert!(about(pauses[11], 300.0), "{pauses:?}");
    let longer = Duration::from_secs(3600);
    assert!(about(backoff.refusal(ASSIGN, longer), 3600.0));
    backoff.over(ASSIGN);
    backoff.count(ASSIGN, &error(ErrorClass::Fatal), now);
    assert!(about(backoff.refusal(ASSIGN, first), 30.0));
}

#[test]
fn calls_that_failed_together_are_one_failure() {
    let now = Instant::now();
    let mut backoff = Backoff::default();
    backoff.count(ASSIGN, &error(ErrorClass::Transient), now);
    backoff.hold(ASSIGN, hold(now, 1, false));
    for _ in 0..9 {
        backoff.count(ASSIGN, &error(ErrorClass::Transient), now);
    }
    assert!(backoff.pause(ASSIGN) <= FIRST_PAUSE);
}

#[test]
fn a_missing_permission_is_news_once_until_it_works_or_another_is_missing() {
    let now = Instant::now();
    let mut backoff = Backoff::default();
    let denied = error(ErrorClass::Denied);
    assert!(backoff.count(ASSIGN, &denied, now));
    assert!(!backoff.count(ASSIGN, &denied, now));
    let other = ProviderError {
        operation: "Other".to_owned(),
        ..denied.clone()
    };
    assert!(backoff.count(ASSIGN, &other, now));
    backoff.over(ASSIGN);
    assert!(backoff.count(ASSIGN, &other, now));
}
