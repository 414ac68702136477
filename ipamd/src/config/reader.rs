//! Reads settings through a lookup function and collects every problem.

use std::fmt::Display;

use super::groups::Given;
use super::setting::Setting;
use super::variable::DefaultValue;

/// Reads each setting once; what is wrong becomes a problem and the default.
pub(crate) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
    given: Given,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
            given: Given::new(),
        }
    }

    /// The value of a setting, or its default. White space alone counts as unset.
    pub(crate) fn read<T: Clone>(&mut self, setting: &Setting<T>) -> T {
        let variable = &setting.variable;
        let text = (self.lookup)(variable.name).unwrap_or_default();
        let text = text.trim();
        if text.is_empty() {
            if let DefaultValue::MustBeSet(reason) = variable.default {
                self.problem(setting, "", reason);
            }
            return setting.default_value();
        }
        match setting.parse(text) {
            Ok(value) => {
                self.given.insert(variable.name, setting.spelling(text));
                value
            }
            Err(problems) => {
                for wrong in problems {
                    self.problem(setting, &wrong.text, wrong.reason);
                }
                setting.default_value()
            }
        }
    }

    /// What the environment sets a setting to that has been read; `None` where that is
    /// nothing, or wrong.
    pub(crate) fn given<T>(&self, setting: &Setting<T>) -> Option<&str> {
        self.given.get(setting.variable.name).map(String::as_str)
    }

    /// Something is wrong with a value, alone or together with others.
    pub(crate) fn problem<T>(&mut self, setting: &Setting<T>, value: &str, reason: impl Display) {
        let name = setting.variable.name;
        self.problems.push(format!("{name}={value}: {reason}"));
    }

    /// Every problem, and what the environment sets.
    pub(crate) fn finish(self) -> (Vec<String>, Given) {
        (self.problems, self.given)
    }
}
