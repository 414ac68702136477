use super::*;

const TABLE: Limits = Limits {
    interfaces: 4,
    ipv4_per_interface: 30,
    ipv6_per_interface: 30,
    vcpus: 2,
};

fn slots(lessons: &Lessons) -> u32 {
    lessons.applied_to(TABLE).ipv4_per_interface
}

#[test]
fn any_number_of_slots_is_found_with_a_handful_of_refusals() {
    let now = Instant::now();
    for truth in 2..30 {
        let mut lessons = Lessons::default();
        let (mut refusals, mut most) = (0, 1);
        // Interfaces are always filled as far as is believed to be possible.
        while slots(&lessons) != most {
            let total = slots(&lessons);
            if total > truth {
                lessons.too_many(Family::V4, total, most, now);
                refusals += 1;
            } else {
                most = total;
                lessons.fits(Family::V4, total);
            }
        }
        assert_eq!(most, truth);
        assert!(refusals <= 5, "{truth}: {refusals} refusals");
    }
}

#[test]
fn a_lesson_that_is_over_tries_what_was_refused_and_counts_longer_when_confirmed() {
    let mut now = Instant::now();
    let mut lessons = Lessons::default();
    lessons.too_many(Family::V4, 11, 10, now);
    assert_eq!(slots(&lessons), 10);
    for term in [600, 1200, 2400, 4800] {
        lessons.expire(now + Duration::from_secs(term - 1));
        assert_eq!(slots(&lessons), 10);
        now += Duration::from_secs(term);
        lessons.expire(now);
        assert_eq!(slots(&lessons), 11, "not what the table says");
        lessons.too_many(Family::V4, 11, 10, now);
        assert_eq!(slots(&lessons), 10);
    }
    lessons.fits(Family::V4, 11);
    assert_eq!(lessons.applied_to(TABLE), TABLE);
}

#[test]
fn the_second_refusal_of_an_interface_teaches_and_one_confirms() {
    let now = Instant::now();
    let mut lessons = Lessons::default();
    let places = |lessons: &Lessons| lessons.applied_to(TABLE).interfaces;
    assert!(!lessons.no_place_beside(2, now));
    assert_eq!(places(&lessons), 4);
    assert!(lessons.no_place_beside(2, now));
    assert_eq!(places(&lessons), 2);
    let later = now + FIRST_TERM;
    lessons.expire(later);
    assert_eq!(places(&lessons), 3);
    assert!(lessons.no_place_beside(2, later));
    assert_eq!(places(&lessons), 2);
    lessons.place_for(3);
    assert_eq!(places(&lessons), 4);
}

#[test]
fn an_interface_that_fits_within_the_limit_ends_no_lesson() {
    let now = Instant::now();
    let mut lessons = Lessons::default();
    lessons.no_place_beside(2, now);
    lessons.no_place_beside(2, now);
    lessons.place_for(2);
    assert_eq!(lessons.applied_to(TABLE).interfaces, 2);
}
