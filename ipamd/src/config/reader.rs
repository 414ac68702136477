//! Reads variables through a lookup function and collects every problem.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::variables::find;

/// What the environment sets, in its usual spelling, by name.
pub(super) type Given = BTreeMap<&'static str, String>;

/// Reads variables; a wrong one becomes a problem and its default.
pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
    given: Given,
}

/// A truth value in the spellings that Kubernetes manifests use.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
            given: Given::new(),
        }
    }

    /// The text of a variable; one of white space alone counts as unset.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        debug_assert!(
            find(name).is_some(),
            "{name} is missing in the table of variables"
        );
        let text = (self.lookup)(name)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())?;
        self.given.insert(name, text.clone());
        Some(text)
    }

    pub(super) fn problem(&mut self, name: &str, value: &str, reason: impl Display) {
        self.problems.push(format!("{name}={value}: {reason}"));
    }

    /// A whole number of a range; `None` when unset.
    pub(super) fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let text = self.text(name)?;
        match text.parse::<u32>() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = range.into_inner();
                self.problem(
                    name,
                    &text,
                    format_args!("must be a whole number from {low} to {high}"),
                );
                None
            }
        }
    }

    pub(super) fn seconds(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Duration {
        Duration::from_secs(self.integer(name, range).unwrap_or(default).into())
    }

    /// A truth value. The table of variables must begin the default with this one.
    pub(super) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        debug_assert!(
            find(name).is_some_and(|row| row.default.starts_with(&default.to_string())),
            "the table of variables has another default for {name}"
        );
        self.truth(name).unwrap_or(default)
    }

    /// A truth value; `None` when unset.
    pub(super) fn truth(&mut self, name: &'static str) -> Option<bool> {
        let text = self.text(name)?;
        let value = truth(&text);
        match value {
            Some(value) => drop(self.given.insert(name, value.to_string())),
            None => self.problem(name, &text, "must be true or false"),
        }
        value
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(
            name,
            &text,
            format_args!("must be one of {}", words.join(", ")),
        );
        default
    }

    /// Ranges of addresses, separated by commas.
    pub(super) fn ranges(&mut self, name: &'static str) -> Vec<IpNet> {
        let Some(text) = self.text(name) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for item in text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            match item.parse() {
                Ok(value) => values.push(value),
                Err(_) => self.problem(
                    name,
                    item,
                    "must be a range of addresses, as 10.0.0.0/16 or fd00::/64",
                ),
            }
        }
        values
    }

    /// Anything that can be parsed; `must_be` says what it has to look like.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str, must_be: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => {
                self.problem(name, &text, format_args!("must be {must_be}"));
                None
            }
        }
    }

    /// Every problem, and what the environment sets.
    pub(super) fn finish(self) -> (Vec<String>, Given) {
        (self.problems, self.given)
    }
}
