//! The rule of tombstones, inventory by inventory.

use super::*;

const SETTLE: Duration = Duration::from_secs(5);
const KEY: &str = "10.0.0.9/32";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One tombstone of a release that ended now.
fn released(confirmed: bool) -> (Tombstones<String>, Instant) {
    let now = Instant::now();
    let mut tombstones = Tombstones::default();
    tombstones.begin(&KEY.to_owned());
    match confirmed {
        true => tombstones.done(&KEY.to_owned(), now),
        false => tombstones.lost(&KEY.to_owned(), now),
    }
    (tombstones, now)
}

fn judge(tombstones: &mut Tombstones<String>, listed: bool, began: Instant) -> Verdict {
    judge_ours(tombstones, (listed, false), began)
}

/// Likewise; a call of ours may have brought it.
fn judge_ours(
    tombstones: &mut Tombstones<String>,
    (listed, ours): (bool, bool),
    began: Instant,
) -> Verdict {
    let judgements = tombstones.judge(|_| listed, |_| ours, Unlisted::ProvesNothing, began, SETTLE);
    let judgement = judgements.into_iter().next().expect("one");
    tombstones.judged(&judgement);
    judgement.verdict
}

/// Inventories as early as each asks for the next, ten at most: the seconds when they began, and
/// the last verdict.
fn looks(tombstones: &mut Tombstones<String>, listed: bool, ended: Instant) -> (Vec<u64>, Verdict) {
    let (mut at, mut looks) = (ended, Vec::new());
    loop {
        let verdict = judge(tombstones, listed, at);
        looks.push((at - ended).as_secs());
        match verdict {
            Verdict::TooEarly(Some(next)) | Verdict::Open { look_again: next }
                if looks.len() < 10 =>
            {
                at = next;
            }
            other => return (looks, other),
        }
    }
}

#[test]
fn what_was_given_back_is_looked_at_ever_less_often_and_anothers_after_the_longest_lag() {
    let (mut tombstones, ended) = released(true);
    let (looks, verdict) = looks(&mut tombstones, true, ended);
    assert_eq!(looks, [0, 5, 10, 20, 40, 80, 160, 300]);
    assert_eq!(verdict, Verdict::AssignedSince);
    assert!(tombstones.get(KEY).is_none());
}

#[test]
fn what_is_in_doubt_is_never_ours_again_however_long_it_is_listed() {
    let (mut tombstones, ended) = released(false);
    let (looks, verdict) = looks(&mut tombstones, true, ended);
    assert_eq!(looks, [0, 5, 10, 20, 40, 80, 160, 300, 600, 900]);
    assert!(matches!(verdict, Verdict::Open { .. }), "{verdict:?}");
    assert!(tombstones.get(KEY).is_some_and(Tombstone::in_doubt));
}

#[test]
fn one_inventory_is_not_enough_however_late_it_is() {
    let late = LONGEST_LAG * 12;
    for (confirmed, listed, then) in [
        (true, true, Verdict::AssignedSince),
        (false, false, Verdict::Gone),
    ] {
        let (mut tombstones, ended) = released(confirmed);
        let look_again = ended + late + SETTLE;
        let first = judge(&mut tombstones, listed, ended + late);
        assert_eq!(first, Verdict::Open { look_again });
        assert_eq!(judge(&mut tombstones, listed, look_again), then);
    }
}

#[test]
fn an_inventory_that_lacks_it_settles_an_answered_release_unless_it_is_too_old() {
    let (mut tombstones, ended) = released(true);
    let early = judge(&mut tombstones, false, ended + seconds(4));
    assert_eq!(early, Verdict::TooEarly(Some(ended + SETTLE)));
    assert_eq!(judge(&mut tombstones, false, ended + SETTLE), Verdict::Gone);
    assert!(tombstones.get(KEY).is_some(), "an older one may come");
    let over = judge(&mut tombstones, false, ended + LONGEST_LAG);
    assert_eq!(over, Verdict::Gone);
    assert!(tombstones.get(KEY).is_none());
}

#[test]
fn what_was_shown_gone_is_forgotten_when_no_inventory_can_be_so_late() {
    let (mut tombstones, ended) = released(true);
    let late = ended + LONGEST_LAG;
    assert!(
        tombstones.expire(late, SETTLE).is_empty(),
        "nothing has told"
    );
    judge(&mut tombstones, false, ended + SETTLE);
    assert!(tombstones.expire(late - seconds(1), SETTLE).is_empty());
    assert_eq!(tombstones.expire(late, SETTLE), [KEY]);
    assert!(tombstones.get(KEY).is_none());
}

#[test]
fn an_inventory_that_lacks_it_may_be_from_before_it_was_granted() {
    let (mut tombstones, ended) = released(false);
    for second in [5, 100, 299] {
        let told = judge(&mut tombstones, false, ended + seconds(second));
        assert!(matches!(told, Verdict::Open { .. }), "{told:?}");
    }
    assert_eq!(
        judge(&mut tombstones, false, ended + LONGEST_LAG),
        Verdict::Gone
    );
}

#[test]
fn inventories_that_contradict_each_other_begin_anew() {
    let (mut tombstones, ended) = released(true);
    for (second, listed) in [(290, true), (300, false)] {
        judge(&mut tombstones, listed, ended + seconds(second));
    }
    assert!(tombstones.get(KEY).is_none(), "none can be so late");
    let (mut tombstones, ended) = released(true);
    for (second, listed) in [(280, false), (300, true)] {
        judge(&mut tombstones, listed, ended + seconds(second));
    }
    assert!(tombstones.get(KEY).is_some(), "listed once since");
    let again = judge(&mut tombstones, true, ended + seconds(305));
    assert_eq!(again, Verdict::AssignedSince);
}

#[test]
fn what_a_call_of_ours_may_have_brought_again_is_given_back_once_more() {
    let (mut tombstones, ended) = released(true);
    for second in [5, 160, 300] {
        let told = judge_ours(&mut tombstones, (true, true), ended + seconds(second));
        assert!(matches!(told, Verdict::Open { .. }), "{told:?}");
        let in_doubt = tombstones.get(KEY).is_some_and(Tombstone::in_doubt);
        assert_eq!(in_doubt, second == 300);
    }
}

#[test]
fn nothing_is_concluded_while_a_call_is_under_way() {
    let (mut tombstones, ended) = released(false);
    tombstones.begin(&KEY.to_owned());
    for listed in [true, false] {
        let late = judge(&mut tombstones, listed, ended + 2 * LONGEST_LAG);
        assert_eq!(late, Verdict::TooEarly(None));
    }
}

#[test]
fn a_refusal_takes_the_first_try_back_and_not_what_was_in_doubt_before() {
    let key = KEY.to_owned();
    let (mut tombstones, _) = released(false);
    tombstones.begin(&key);
    assert!(!tombstones.refused(&key));
    assert!(tombstones.get(KEY).is_some_and(Tombstone::in_doubt));
    let mut tombstones = Tombstones::default();
    tombstones.begin(&key);
    assert!(tombstones.refused(&key));
    assert!(tombstones.get(KEY).is_none());
}

#[test]
fn what_was_granted_again_while_the_call_was_under_way_is_ours() {
    let key = KEY.to_owned();
    let mut tombstones = Tombstones::default();
    tombstones.begin(&key);
    tombstones.remove(KEY);
    tombstones.done(&key, Instant::now());
    assert!(tombstones.get(KEY).is_none());
}

#[test]
fn an_interface_without_an_answer_is_gone_when_an_inventory_lacks_it() {
    let (tombstones, ended) = released(false);
    for (unlisted, is_gone) in [(Unlisted::Proves, true), (Unlisted::ProvesNothing, false)] {
        let began = ended + SETTLE;
        let judged = tombstones.judge(|_| false, |_| false, unlisted, began, SETTLE);
        assert_eq!(judged[0].verdict == Verdict::Gone, is_gone, "{unlisted:?}");
        let stays = judged[0].tombstone.expect("it may be listed later");
        assert_eq!(stays.in_doubt(), !is_gone, "{unlisted:?}");
    }
}
