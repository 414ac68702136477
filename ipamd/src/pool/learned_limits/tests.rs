use super::*;

const TABLE: Limits = Limits {
    interfaces: 4,
    ipv4_per_interface: 30,
    ipv6_per_interface: 30,
    vcpus: 2,
};

fn slots(learned: &LearnedLimits) -> u32 {
    learned.applied_to(TABLE).ipv4_per_interface
}

#[test]
fn any_number_of_slots_is_found_with_a_handful_of_refusals() {
    let now = Instant::now();
    for truth in 2..30 {
        let mut learned = LearnedLimits::default();
        let (mut refusals, mut most) = (0, 1);
        // Interfaces are always filled as far as is believed to be possible.
        while slots(&learned) != most {
            let total = slots(&learned);
            if total > truth {
                learned.too_many(Family::V4, total, most, now);
                refusals += 1;
            } else {
                most = total;
                learned.fits(Family::V4, total);
            }
        }
        assert_eq!(most, truth);
        assert!(refusals <= 5, "{truth}: {refusals} refusals");
    }
}

#[test]
fn a_limit_that_is_over_tries_what_was_refused_and_holds_longer_when_confirmed() {
    let mut now = Instant::now();
    let mut learned = LearnedLimits::default();
    learned.too_many(Family::V4, 11, 10, now);
    assert_eq!(slots(&learned), 10);
    for term in [600, 1200, 2400, 4800] {
        learned.expire(now + Duration::from_secs(term - 1));
        assert_eq!(slots(&learned), 10);
        now += Duration::from_secs(term);
        learned.expire(now);
        assert_eq!(slots(&learned), 11, "not what the table says");
        learned.too_many(Family::V4, 11, 10, now);
        assert_eq!(slots(&learned), 10);
    }
    learned.fits(Family::V4, 11);
    assert_eq!(learned.applied_to(TABLE), TABLE);
}

#[test]
fn the_second_refusal_of_an_interface_teaches_and_one_confirms() {
    let now = Instant::now();
    let mut learned = LearnedLimits::default();
    let places = |learned: &LearnedLimits| learned.applied_to(TABLE).interfaces;
    assert!(!learned.no_place_beside(2, now));
    assert_eq!(places(&learned), 4);
    assert!(learned.no_place_beside(2, now));
    assert_eq!(places(&learned), 2);
    let later = now + FIRST_TERM;
    learned.expire(later);
    assert_eq!(places(&learned), 3);
    assert!(learned.no_place_beside(2, later));
    assert_eq!(places(&learned), 2);
    learned.place_for(3);
    assert_eq!(places(&learned), 4);
}

#[test]
fn an_interface_that_fits_within_the_limit_ends_no_learned_limit() {
    let now = Instant::now();
    let mut learned = LearnedLimits::default();
    learned.no_place_beside(2, now);
    learned.no_place_beside(2, now);
    learned.place_for(2);
    assert_eq!(learned.applied_to(TABLE).interfaces, 2);
}
