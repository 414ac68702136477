//! What an operator should hear at the start although nothing is wrong enough to
//! refuse.

use std::fmt;

/// What is said of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Name of the variable.
    pub name: String,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// What there is to say.
    pub text: String,
}

impl Remark {
    pub(super) fn information(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            warning: false,
            text,
        }
    }

    pub(super) fn warning(name: &str, text: String) -> Self {
        Self {
            warning: true,
            ..Self::information(name, text)
        }
    }

    /// Writes it into the log.
    pub fn log(&self) {
        let (name, text) = (&self.name, &self.text);
        if self.warning {
            tracing::warn!(name, text, "a setting needs a look");
        } else {
            tracing::info!(name, text, "a setting changes nothing");
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning" } else { "note" };
        write!(f, "{kind}: {}: {}", self.name, self.text)
    }
}
