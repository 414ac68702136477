//! Samples, their quantiles and means, and tables.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::starter::Outcome;

/// Durations above count as this, ns.
const LONGEST: u64 = 60_000_000_000;

/// Measured durations, ns, with what the processes used.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    durations: Histogram<u64>,
    plugin_cpu_micros: u64,
    /// CPU time of the daemon for all of them together, ns.
    pub(crate) daemon_cpu_nanoseconds: u64,
    memory_kib: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            // Three significant digits are more than two runs agree on.
            durations: Histogram::new_with_max(LONGEST, 3).expect("valid bounds"),
            plugin_cpu_micros: 0,
            daemon_cpu_nanoseconds: 0,
            memory_kib: 0,
        }
    }
}

impl Samples {
    /// Adds the outcomes of plugins.
    pub(crate) fn extend<'a>(&mut self, outcomes: impl IntoIterator<Item = &'a Outcome>) {
        for outcome in outcomes {
            self.record(outcome.nanoseconds);
            self.plugin_cpu_micros += outcome.cpu_micros;
            self.memory_kib = self.memory_kib.max(outcome.memory_kib);
        }
    }

    /// Adds one duration.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.durations.saturating_record(nanoseconds);
    }

    /// Number of samples.
    pub(crate) fn count(&self) -> u64 {
        self.durations.len()
    }

    /// A quantile (0.5 is the median) in ms.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        milliseconds(self.durations.value_at_quantile(quantile))
    }

    /// The median, ms.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The mean, ms.
    pub(crate) fn mean(&self) -> f64 {
        self.durations.mean() / 1e6
    }

    /// CPU time of the plugin per operation, ms.
    pub(crate) fn plugin_cpu(&self) -> f64 {
        self.per_operation(self.plugin_cpu_micros as f64 / 1e3)
    }

    /// CPU time of the daemon per operation, ms.
    pub(crate) fn daemon_cpu(&self) -> f64 {
        self.per_operation(milliseconds(self.daemon_cpu_nanoseconds))
    }

    fn per_operation(&self, sum: f64) -> f64 {
        sum / self.count().max(1) as f64
    }

    /// Peak memory of the plugin, MiB.
    pub(crate) fn memory(&self) -> f64 {
        mebibytes(self.memory_kib)
    }

    /// All of it.
    pub(crate) fn as_json(&self) -> Value {
        json!({
            "count": self.count(),
            "min_ms": milliseconds(self.durations.min()),
            "p50_ms": self.median(),
            "p90_ms": self.quantile(0.9),
            "p99_ms": self.quantile(0.99),
            "max_ms": milliseconds(self.durations.max()),
            "mean_ms": self.mean(),
            "plugin_cpu_ms": self.plugin_cpu(),
            "daemon_cpu_ms": self.daemon_cpu(),
            "plugin_memory_mib": self.memory(),
        })
    }
}

/// Nanoseconds in ms.
pub(crate) fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// KiB in MiB.
pub(crate) fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// The median: the middle value, or the mean of the middle two.
pub(crate) fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A table in plain text: the first column to the left, the others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = header.iter().map(|text| (*text).to_owned()).collect();
    let mut widths = vec![0; header.len()];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => text.push_str(&format!("{cell:<width$}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(median_of(vec![]), 0.0);
        assert_eq!(median_of(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_of(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut samples = Samples::default();
        (1..=100).for_each(|number| samples.record(number * 1_000_000));
        assert!((samples.median() - 50.0).abs() < 0.1, "{samples:?}");
        assert!((samples.quantile(0.99) - 99.0).abs() < 0.1, "{samples:?}");
        assert_eq!(samples.count(), 100);
    }

    #[test]
    fn a_table_has_its_names_to_the_left_and_its_numbers_to_the_right() {
        let rows = [vec!["a".to_owned(), "10.00".to_owned()]];
        assert_eq!(table(&["name", "ms"], &rows), "name     ms\na     10.00\n");
    }
}
