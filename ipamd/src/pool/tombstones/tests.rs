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
    let judgement = tombstones.judge(|_| listed, began, SETTLE).remove(0);
    tombstones.judged(&judgement);
    judgement.verdict
}

#[test]
fn what_is_listed_is_looked_at_ever_less_often_and_ours_after_a_minute() {
    for confirmed in [true, false] {
        let (mut tombstones, ended) = released(confirmed);
        let (mut at, mut looks) = (ended, Vec::new());
        loop {
            let next = match judge(&mut tombstones, true, at) {
                Verdict::TooEarly(Some(next)) | Verdict::Listed { look_again: next } => next,
                Verdict::Ours => break,
                other => panic!("{other:?}"),
            };
            looks.push((next - ended).as_secs());
            at = next;
        }
        assert_eq!(looks, [5, 10, 20, 40, 60]);
        assert!(tombstones.get(KEY).is_none());
    }
}

#[test]
fn one_inventory_is_not_enough_however_late_it_is() {
    let (mut tombstones, ended) = released(true);
    let late = ended + seconds(3600);
    let look_again = late + SETTLE;
    let listed = Verdict::Listed { look_again };
    assert_eq!(judge(&mut tombstones, true, late), listed);
    assert_eq!(judge(&mut tombstones, true, look_again), Verdict::Ours);
}

#[test]
fn an_inventory_that_lacks_it_settles_it_unless_it_is_too_old() {
    let (mut tombstones, ended) = released(false);
    let early = judge(&mut tombstones, false, ended + seconds(4));
    assert_eq!(early, Verdict::TooEarly(Some(ended + SETTLE)));
    assert_eq!(judge(&mut tombstones, false, ended + SETTLE), Verdict::Gone);
    let left = tombstones.get(KEY).expect("an older inventory may come");
    assert!(!left.in_doubt());
    let over = judge(&mut tombstones, false, ended + seconds(60));
    assert_eq!(over, Verdict::Gone);
    assert!(tombstones.get(KEY).is_none());
}

#[test]
fn inventories_that_contradict_each_other_begin_anew() {
    let (mut tombstones, ended) = released(true);
    for (second, listed) in [(10, true), (20, false), (61, true)] {
        judge(&mut tombstones, listed, ended + seconds(second));
    }
    assert!(tombstones.get(KEY).is_some(), "listed once since");
    // A minute after it was shown gone, not after it was given back.
    let again = judge(&mut tombstones, true, ended + seconds(79));
    assert!(matches!(again, Verdict::Listed { .. }), "{again:?}");
    let again = judge(&mut tombstones, true, ended + seconds(84));
    assert_eq!(again, Verdict::Ours);
}

#[test]
fn nothing_is_concluded_while_a_call_is_under_way() {
    let (mut tombstones, ended) = released(false);
    tombstones.begin(&KEY.to_owned());
    for listed in [true, false] {
        let late = judge(&mut tombstones, listed, ended + seconds(90));
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
