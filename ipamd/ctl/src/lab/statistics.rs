//! Percentiles of durations.

/// Durations in milliseconds, sorted.
#[derive(Debug)]
pub(crate) struct Statistics(Vec<f64>);

impl Statistics {
    pub(crate) fn new(milliseconds: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = milliseconds.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// The duration that so many percent do not exceed (nearest rank); 0 of nothing.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
            self.percentile(50),
            self.percentile(90),
            self.percentile(99)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let all = Statistics::new((1..=10).rev().map(f64::from));
        assert_eq!(
            [50, 90, 99].map(|percent| all.percentile(percent)),
            [5.0, 9.0, 10.0]
        );
        assert_eq!(Statistics::new([]).percentile(50), 0.0);
        assert_eq!(Statistics::new([7.0]).percentile(1), 7.0);
    }
}
