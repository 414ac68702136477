//! A finding: software of the host that disturbs the node's network, what it does to
//! pods, and the file that cures it.

use std::fmt;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Pods may lose their network, now or at the next event.
    Warning,
    /// Worth knowing, but pods keep their network.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub gravity: Gravity,
    /// What was found, and where.
    pub what: String,
    /// What it does to pods.
    pub consequence: &'static str,
    /// What cures it: a path below `deploy/host`, with the section of a page
    /// behind `#`.
    pub cure: &'static str,
}

impl Finding {
    pub(super) fn warning(
        what: impl Into<String>,
        consequence: &'static str,
        cure: &'static str,
    ) -> Self {
        Self {
            gravity: Gravity::Warning,
            what: what.into(),
            consequence,
            cure,
        }
    }

    /// Where an operator reads how to cure it.
    pub fn page(&self) -> String {
        Cure(self.cure).to_string()
    }

    /// Writes it to the log.
    pub fn log(&self) {
        let Self {
            what,
            consequence,
            cure,
            ..
        } = self;
        match self.gravity {
            Gravity::Warning => {
                tracing::warn!(what, consequence, cure = %Cure(cure), "the host disturbs pods' network");
            }
            Gravity::Note => {
                tracing::info!(what, consequence, cure = %Cure(cure), "about the host");
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            consequence,
            cure,
            ..
        } = self;
        write!(f, "{what}: {consequence}; see {}", Cure(cure))
    }
}

/// The cure as a path in the project.
struct Cure<'a>(&'a str);

impl fmt::Display for Cure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deploy/host/{}", self.0)
    }
}
