//! Quotes the end of a program's log in the error about its failure. A program that
//! was started again and again repeats its lines; the quote has each line once.

use std::fs;
use std::path::Path;

/// The text of a line to leave out: it is long and says nothing about a failure.
const LEFT_OUT: &str = "effective configuration";
/// Lines at the end of a log that are considered.
const LOOKED_AT: usize = 500;

/// The end of a log as a clause of a sentence: at most so many different lines, or the
/// statement that the log is empty.
pub fn end_of_log(log: &Path, lines: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let told = different_lines(&String::from_utf8_lossy(&text));
    if told.is_empty() {
        return "it wrote no log".to_owned();
    }
    let end = &told[told.len().saturating_sub(lines)..];
    format!("the end of its log:\n{}", end.join("\n"))
}

/// The different lines, each as it appeared last, with the number of times.
fn different_lines(text: &str) -> Vec<String> {
    let all: Vec<&str> = text.lines().collect();
    let mut told: Vec<(&str, usize)> = Vec::new();
    for line in &all[all.len().saturating_sub(LOOKED_AT)..] {
        if line.trim().is_empty() || line.contains(LEFT_OUT) {
            continue;
        }
        let same = told
            .iter_mut()
            .find(|(other, _)| without_time(other) == without_time(line));
        match same {
            Some((last, times)) => {
                *last = line;
                *times += 1;
            }
            None => told.push((line, 1)),
        }
    }
    let counted = told.into_iter().map(|(line, times)| match times {
        1 => line.to_owned(),
        several => format!("{line} ({several} times)"),
    });
    counted.collect()
}

/// A line without its time stamp, by which equal lines differ.
fn without_time(line: &str) -> &str {
    let is_time =
        |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('Z');
    match line.split_once(' ') {
        Some((first, rest)) if is_time(first) => rest.trim_start(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn what_is_said_again_and_again_is_told_once_and_how_often() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut text = String::new();
        for second in 0..7 {
            text.push_str(&format!(
                "2026-01-01T00:00:0{second}.5Z  INFO ipamd: ipamd\n"
            ));
            text.push_str("2026-01-01T00:00:00Z  INFO ipamd: effective configuration A=1\n");
            text.push_str("ipamd: no cloud\n\n");
        }
        text.push_str("the last\n");
        fs::write(&log, text).unwrap();
        assert_eq!(
            end_of_log(&log, 15),
            "the end of its log:\n2026-01-01T00:00:06.5Z  INFO ipamd: ipamd (7 times)\n\
             ipamd: no cloud (7 times)\nthe last"
        );
        assert_eq!(end_of_log(&log, 1), "the end of its log:\nthe last");
    }

    #[test]
    fn a_log_that_is_empty_or_gone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(end_of_log(&log, 15), "it wrote no log");
        fs::write(&log, "\n").unwrap();
        assert_eq!(end_of_log(&log, 15), "it wrote no log");
    }
}
