//! What a row of the tables of variables says.

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: &'static str,
    /// Default in words; empty where there is none.
    pub default: &'static str,
    /// What it does, one sentence.
    pub effect: &'static str,
    /// What becomes of a value.
    pub disposition: Disposition,
}

/// What the daemon does with a variable that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Reads, checks and follows it.
    Honoured,
    /// Reads and checks it; there is nothing in Veni that it could change.
    WithoutEffect {
        /// Which values are right.
        form: Form,
        /// Why nothing depends on it, and what does instead.
        why: &'static str,
    },
    /// Does not start when the value asks for what Veni does not do.
    Refused {
        /// Which values are right.
        form: Form,
        /// The values that do not ask for it, the AWS plugin's default among them.
        accepted: &'static [&'static str],
        /// Why, and what to use instead.
        why: &'static str,
    },
}

/// Which values of a variable are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A truth value.
    Boolean,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An address of a server: `https://host:port`, or a bare `host:port`.
    Server,
    /// Any text.
    Text,
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
            Self::WithoutEffect { why, .. } | Self::Refused { why, .. } => why,
        }
    }
}
