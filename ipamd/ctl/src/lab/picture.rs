//! Draws the pool's levels over time as rows of bars. A pure function from samples to
//! text.

use std::time::Duration;

/// The pool's levels at an instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Since the beginning.
    pub(crate) at: Duration,
    pub(crate) free: u32,
    pub(crate) assigned: u32,
    pub(crate) waiting: u32,
    /// Cloud calls so far.
    pub(crate) cloud_calls: u64,
}

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of the picture.
const WIDTH: usize = 60;
/// Columns in front of the bars.
const LABEL: usize = 14;

/// Draws samples, in order of time. A level lasts until the next sample. A column shows
/// the highest level of its time, and for cloud calls the number that began in it.
pub(crate) fn draw(samples: &[Sample]) -> String {
    let Some(last) = samples.last() else {
        return "nothing was recorded\n".to_owned();
    };
    let whole = last.at.max(Duration::from_millis(1));
    let row = |name: &str, value: fn(&Sample) -> u64| {
        let columns = levels(samples, whole, value);
        line(
            name,
            &columns,
            &format!("{} → {}", value(&samples[0]), value(last)),
        )
    };
    let mut text = row("free", |one| one.free.into());
    text.push_str(&row("assigned", |one| one.assigned.into()));
    text.push_str(&row("waiting", |one| one.waiting.into()));
    let calls = increments(samples, whole);
    let total = last.cloud_calls.saturating_sub(samples[0].cloud_calls);
    text.push_str(&line("cloud calls", &calls, &format!("{total} calls")));
    text.push_str(&axis(whole));
    text
}

fn column(at: Duration, whole: Duration) -> usize {
    let share = at.as_secs_f64() / whole.as_secs_f64();
    // A share of 0 to 1 of a small number: exact enough, and never negative.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to WIDTH"
    )]
    let column = (share * WIDTH as f64) as usize;
    column.min(WIDTH - 1)
}

fn levels(samples: &[Sample], whole: Duration, value: fn(&Sample) -> u64) -> Vec<u64> {
    let mut columns = vec![0; WIDTH];
    for (index, sample) in samples.iter().enumerate() {
        let first = column(sample.at, whole);
        let last = samples
            .get(index + 1)
            .map_or(WIDTH - 1, |next| column(next.at, whole));
        for place in &mut columns[first..=last] {
            *place = value(sample).max(if first == last { *place } else { 0 });
        }
    }
    columns
}

fn increments(samples: &[Sample], whole: Duration) -> Vec<u64> {
    let mut columns = vec![0; WIDTH];
    for pair in samples.windows(2) {
        columns[column(pair[1].at, whole)] +=
            pair[1].cloud_calls.saturating_sub(pair[0].cloud_calls);
    }
    columns
}

fn line(name: &str, columns: &[u64], note: &str) -> String {
    let top = columns.iter().copied().max().unwrap_or_default().max(1);
    let bars: String = columns
        .iter()
        .map(|level| {
            let height = (level * 8).div_ceil(top);
            BARS[usize::try_from(height).unwrap_or(8).min(8)]
        })
        .collect();
    format!("{name:>LABEL$} {bars}│ {note}\n")
}

fn axis(whole: Duration) -> String {
    let end = format!("{:.1} s", whole.as_secs_f64());
    format!("{:>LABEL$} 0{end:>width$}\n", "", width = WIDTH - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: u64, waiting: u32, cloud_calls: u64) -> Sample {
        Sample {
            at: Duration::from_millis(millis),
            waiting,
            cloud_calls,
            ..Sample::default()
        }
    }

    fn row<'a>(text: &'a str, name: &str) -> &'a str {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .expect("the row");
        &line[LABEL + 1..]
    }

    #[test]
    fn a_level_stays_until_it_changes() {
        let text = draw(&[sample(0, 0, 0), sample(500, 8, 0), sample(1000, 0, 0)]);
        let bars: Vec<char> = row(&text, "waiting").chars().take(WIDTH).collect();
        assert!(bars[..WIDTH / 2].iter().all(|bar| *bar == ' '), "{text}");
        assert!(
            bars[WIDTH / 2..WIDTH - 1].iter().all(|bar| *bar == '█'),
            "{text}"
        );
    }

    #[test]
    fn cloud_calls_are_drawn_when_they_happen_and_summed_up() {
        let text = draw(&[sample(0, 0, 5), sample(300, 0, 7), sample(1000, 0, 7)]);
        let calls = row(&text, "cloud calls");
        assert_eq!(
            calls.chars().take(WIDTH).filter(|bar| *bar == '█').count(),
            1,
            "{text}"
        );
        assert!(calls.ends_with("2 calls"), "{text}");
    }

    #[test]
    fn nothing_and_a_single_instant_can_be_drawn() {
        assert!(draw(&[]).contains("nothing"));
        assert!(draw(&[sample(0, 3, 1)]).contains("3 → 3"));
    }
}
