//! Reads variables through a lookup function and collects every problem.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::variables::VARIABLES;

/// Reads variables; a wrong one becomes a problem and its default.
pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// The text of a variable; one of white space alone counts as unset.
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        debug_assert!(
            VARIABLES.iter().any(|variable| variable.name == name),
            "{name} is missing in the table of variables"
        );
        (self.lookup)(name)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
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

    /// A truth value in the spellings that Kubernetes manifests use.
    pub(super) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.as_str() {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
            "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
            _ => {
                self.problem(name, &text, "must be true or false");
                default
            }
        }
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

    /// A list separated by commas.
    pub(super) fn list<T>(&mut self, name: &'static str) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
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
                Err(error) => self.problem(name, item, error),
            }
        }
        values
    }

    /// Anything that can be parsed.
    pub(super) fn parsed<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, &text, error);
                None
            }
        }
    }

    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }
}
