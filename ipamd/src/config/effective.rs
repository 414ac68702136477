//! Settings as they are in force: value, where it comes from, and what keeps one from
//! having an effect now.

use std::fmt;

use super::groups::{Config, NodeFacts};
use super::provider::Providers;
use super::variable::{Disposition, Situation, Variable};
use super::variables::variables;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The environment.
    Environment,
    /// The setting's declaration.
    Default,
    /// Something else that decides, in words: `limit of m5.large`.
    Derived(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::Default => "default",
            Self::Derived(from) => from,
        })
    }
}

/// One setting as it is in force.
#[derive(Debug, Clone)]
pub struct EffectiveSetting {
    /// What is said of it whatever its value.
    pub variable: &'static Variable,
    /// Value in force; empty for none.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
    /// Why it has no effect on this node as it is set up; empty when it has.
    pub note: &'static str,
}

/// All settings in the order of the documentation.
pub(super) fn effective(
    config: &Config,
    providers: &Providers,
    facts: Option<&NodeFacts>,
) -> Vec<EffectiveSetting> {
    let situation = Situation { config, facts };
    let one = |variable| effective_setting(variable, &situation);
    variables(providers).map(one).collect()
}

fn effective_setting(variable: &'static Variable, situation: &Situation<'_>) -> EffectiveSetting {
    let given = situation.config.given.get(variable.name);
    let (value, source) = match (variable.decided(situation), given) {
        (Some(decided), _) => (decided.value, Source::Derived(decided.by)),
        (None, Some(value)) => (value.clone(), Source::Environment),
        (None, None) => (variable.default.to_string(), Source::Default),
    };
    EffectiveSetting {
        variable,
        value,
        source,
        note: variable.note(situation),
    }
}

/// Settings in one line, as `NAME=value`: for the log. What has no effect is
/// left out.
#[must_use]
pub fn in_one_line(settings: &[EffectiveSetting]) -> String {
    let shown: Vec<String> = settings
        .iter()
        .filter(|setting| setting.variable.disposition == Disposition::Honoured)
        .filter(|setting| setting.note.is_empty())
        .map(|setting| {
            let (name, value) = (setting.variable.name, &setting.value);
            if value.is_empty() || value.contains([' ', '"']) {
                format!("{name}={value:?}")
            } else {
                format!("{name}={value}")
            }
        })
        .collect();
    shown.join(" ")
}

/// Settings as blocks of text: name, value, source and default, then the effect.
#[must_use]
pub fn in_blocks(settings: &[EffectiveSetting]) -> String {
    settings.iter().map(block).collect()
}

fn block(setting: &EffectiveSetting) -> String {
    let variable = setting.variable;
    let mut text = format!("{}={} [{}", variable.name, setting.value, setting.source);
    let default = variable.default.to_string();
    if setting.source != Source::Default && !default.is_empty() {
        text.push_str("; default ");
        text.push_str(&default);
    }
    text.push_str("]\n");
    let mut line = |start: &str, rest: &str| {
        if !rest.is_empty() {
            text.push_str(&format!("    {start}{rest}\n"));
        }
    };
    line("", variable.effect);
    let disposition = variable.disposition;
    // What was set is accepted, or it would not be in force.
    let accepted =
        matches!(disposition, Disposition::Refused { .. }) && setting.source == Source::Environment;
    if !accepted {
        let label = match disposition {
            Disposition::Refused { .. } => "other values are refused",
            other => other.label(),
        };
        line(&format!("{label}: "), disposition.why());
    }
    line("", setting.note);
    text
}
