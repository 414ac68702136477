//! Random numbers of the daemon: jitter, MACs, names. With the feature `seeded`, a test
//! gives its own thread a seed, and what that thread does can be repeated.

use std::ops::Range;

use rand::Rng;
use rand::distr::{Distribution, StandardUniform};

#[cfg(feature = "seeded")]
mod seeded {
    use std::cell::RefCell;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    thread_local! {
        pub(super) static RNG: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// Lets all that this thread draws from now on follow from a seed.
    pub fn seed_thread(seed: u64) {
        RNG.set(Some(StdRng::seed_from_u64(seed)));
    }
}

#[cfg(feature = "seeded")]
pub use seeded::seed_thread;

/// A number, or an array of numbers, of which each value is equally likely.
pub fn any<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    #[cfg(feature = "seeded")]
    if let Some(drawn) = seeded::RNG.with_borrow_mut(|rng| Some(rng.as_mut()?.random())) {
        return drawn;
    }
    rand::rng().random()
}

/// A number from a range that is not empty.
pub fn within(range: Range<f64>) -> f64 {
    let share: f64 = any();
    range.start + share * (range.end - range.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lie_in_their_range_and_reach_both_its_halves() {
        let drawn: Vec<f64> = (0..1000).map(|_| within(0.75..1.25)).collect();
        assert!(drawn.iter().all(|number| (0.75..1.25).contains(number)));
        assert!(drawn.iter().any(|number| *number < 1.0));
        assert!(drawn.iter().any(|number| *number > 1.0));
    }
}
