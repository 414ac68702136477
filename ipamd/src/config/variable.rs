//! What is said of every setting, whatever the type of its value: one line of the
//! documentation, when the setting has an effect, and what else may decide its value.

use std::fmt;

use super::groups::{Config, NodeFacts};

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Name.
    pub name: &'static str,
    /// What holds where it is not set.
    pub default: DefaultValue,
    /// What it does, one sentence.
    pub effect: &'static str,
    /// What the daemon does with a value.
    pub disposition: Disposition,
    /// What must hold for it to have an effect; the first that does not is told.
    pub(crate) needs: &'static [Condition],
    /// What else decides the value that is in force.
    pub(crate) decided: DecidedBy,
}

/// What holds where a variable is not set. Prints as the documentation shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// A truth value.
    Truth(bool),
    /// A whole number.
    Number(u32),
    /// Bits of a number, printed as hexadecimal.
    Bits(u32),
    /// A text that the environment could also have; empty for an empty list.
    Text(&'static str),
    /// A folder of the host, where it exists.
    WhereItExists(&'static str),
    /// Something that is no value of the variable, in words.
    InWords(&'static str),
    /// Nothing: the daemon does not start, for this reason.
    MustBeSet(&'static str),
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Bits(value) => write!(f, "{value:#x}"),
            Self::Text(text) | Self::InWords(text) => f.write_str(text),
            Self::WhereItExists(folder) => write!(f, "{folder} where it exists"),
            Self::MustBeSet(_) => f.write_str("none: must be set"),
        }
    }
}

/// What the daemon does with a variable that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Reads, checks and follows it.
    Honoured,
    /// Reads and checks it; there is nothing in Veni that it could change.
    WithoutEffect {
        /// Why nothing depends on it, and what does instead.
        why: &'static str,
    },
    /// Does not start when the value asks for what Veni does not do.
    Refused {
        /// The values that do not ask for it, the AWS plugin's default among them.
        accepted: &'static [&'static str],
        /// Why, and what to use instead.
        why: &'static str,
    },
}

impl Disposition {
    /// `honoured`, `without effect` or `refused`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::WithoutEffect { .. } => "without effect",
            Self::Refused { .. } => "refused",
        }
    }

    /// Why a variable is not honoured; empty for one that is.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Honoured => "",
            Self::WithoutEffect { why } | Self::Refused { why, .. } => why,
        }
    }
}

/// What a condition is judged by: all settings, and the node once its cloud has
/// described it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) config: &'a Config,
    pub(crate) facts: Option<&'a NodeFacts>,
}

/// What must hold for a variable to have an effect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition {
    /// What operators are told where it does not hold.
    pub(crate) note: &'static str,
    /// Whether it holds.
    pub(crate) holds: fn(&Situation<'_>) -> bool,
}

/// What decides the value in force beside the variable itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DecidedBy {
    /// Nothing.
    Nothing,
    /// This, where the variable is not set.
    WhenUnset(fn(&Situation<'_>) -> Option<Decided>),
    /// This, whether or not the variable is set.
    Always(fn(&Situation<'_>) -> Option<Decided>),
}

/// A value in force that the variable itself does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) value: String,
    /// What decides: another variable, or words such as `limit of m5.large`.
    pub(crate) by: String,
}

impl Decided {
    pub(crate) fn new(value: impl ToString, by: impl Into<String>) -> Self {
        Self {
            value: value.to_string(),
            by: by.into(),
        }
    }
}

impl Variable {
    /// Why it changes nothing at present; empty where it does.
    pub(crate) fn note(&self, situation: &Situation<'_>) -> &'static str {
        let failed = self.needs.iter().find(|need| !(need.holds)(situation));
        failed.map_or("", |need| need.note)
    }

    /// What else decides its value at present.
    pub(crate) fn decided(&self, situation: &Situation<'_>) -> Option<Decided> {
        match self.decided {
            DecidedBy::Nothing => None,
            DecidedBy::WhenUnset(_) if situation.config.given.contains_key(self.name) => None,
            DecidedBy::WhenUnset(decide) | DecidedBy::Always(decide) => decide(situation),
        }
    }
}
