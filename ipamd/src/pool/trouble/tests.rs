use super::*;

const ASSIGN: Asked = Asked::Assign(Family::V4);

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
    let mut troubles = Troubles::default();
    troubles.hold(ASSIGN, hold(now, 300, true));
    troubles.hold(ASSIGN, hold(now, 1, false));
    let refusal = |troubles: &Troubles| {
        let hold = troubles.holds(Family::V4, now).assign.expect("is held");
        hold.refusal
    };
    assert_eq!(refusal(&troubles), Some("300 s".to_owned()));
    troubles.hold(ASSIGN, hold(now, 600, false));
    assert_eq!(refusal(&troubles), None);
}

#[test]
fn a_success_of_one_kind_says_nothing_of_another() {
    let now = Instant::now();
    let mut troubles = Troubles::default();
    troubles.hold(Asked::Attach, hold(now, 30, true));
    troubles.hold(ASSIGN, hold(now, 30, false));
    troubles.over(Asked::Release(Family::V4));
    troubles.over(ASSIGN);
    let holds = troubles.holds(Family::V4, now);
    assert_eq!(
        (holds.assign.is_some(), holds.attach.is_some()),
        (false, true)
    );
    assert_eq!(troubles.reason().as_deref(), Some("30 s"));
}

#[test]
fn refusals_are_repeated_ever_less_often_up_to_a_limit() {
    let now = Instant::now();
    let (mut troubles, first) = (Troubles::default(), Duration::from_secs(30));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        troubles.count(ASSIGN, &error(ErrorClass::Fatal), now);
        pauses.push(troubles.refusal(ASSIGN, first));
    }
    let about = |pause: Duration, seconds: f64| (pause.as_secs_f64() / seconds - 1.0).abs() <= 0.11;
    assert!(
        about(pauses[0], 30.0) && about(pauses[2], 120.0),
        "{pauses:?}"
    );
    assert!(about(pauses[11], 300.0), "{pauses:?}");
    let longer = Duration::from_secs(3600);
    assert!(about(troubles.refusal(ASSIGN, longer), 3600.0));
    troubles.over(ASSIGN);
    troubles.count(ASSIGN, &error(ErrorClass::Fatal), now);
    assert!(about(troubles.refusal(ASSIGN, first), 30.0));
}

#[test]
fn calls_that_failed_together_are_one_failure() {
    let now = Instant::now();
    let mut troubles = Troubles::default();
    troubles.count(ASSIGN, &error(ErrorClass::Transient), now);
    troubles.hold(ASSIGN, hold(now, 1, false));
    for _ in 0..9 {
        troubles.count(ASSIGN, &error(ErrorClass::Transient), now);
    }
    assert!(troubles.pause(ASSIGN) <= FIRST_PAUSE);
}

#[test]
fn a_missing_permission_is_news_once_until_it_works_or_another_is_missing() {
    let now = Instant::now();
    let mut troubles = Troubles::default();
    let denied = error(ErrorClass::Denied);
    assert!(troubles.count(ASSIGN, &denied, now));
    assert!(!troubles.count(ASSIGN, &denied, now));
    let other = ProviderError {
        operation: "Other".to_owned(),
        ..denied.clone()
    };
    assert!(troubles.count(ASSIGN, &other, now));
    troubles.over(ASSIGN);
    assert!(troubles.count(ASSIGN, &other, now));
}
