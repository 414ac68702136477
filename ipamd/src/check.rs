//! `ipamd --check-settings`: what the environment makes of the settings, then what
//! there is to say of it, and the verdict as the last line.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

use ipamd::config::{Config, ConfigError, Remark, in_blocks, misspelt, variables};
use ipamd::eni_config::EniConfigs;
use veni_terminal::{eprintln, print, println};

/// The sum of a check.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    set: usize,
    refused: usize,
    /// That must be set and are not.
    missing: usize,
    warnings: usize,
    /// `None` where a refusal kept it from being known.
    without_effect: Option<usize>,
}

impl Verdict {
    fn refusal(set: &BTreeSet<&str>, error: &ConfigError, misspelt: &[Remark]) -> Self {
        let names = error.problems.iter();
        let names: BTreeSet<&str> = names
            .filter_map(|problem| Some(problem.split_once('=')?.0))
            .collect();
        let refused = names.intersection(set).count();
        Self {
            set: set.len(),
            refused,
            missing: names.len() - refused,
            warnings: misspelt.len(),
            without_effect: None,
        }
    }

    fn good(set: usize, remarks: &[Remark]) -> Self {
        let warnings = remarks.iter().filter(|remark| remark.warning).count();
        Self {
            set,
            refused: 0,
            missing: 0,
            warnings,
            without_effect: Some(remarks.len() - warnings),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count| match count {
            0 => "none".to_owned(),
            count => count.to_string(),
        };
        match self.set {
            0 => write!(f, "no setting is set: ")?,
            1 => write!(f, "1 setting is set: ")?,
            set => write!(f, "{set} settings are set: ")?,
        }
        write!(f, "{} refused", number(self.refused))?;
        match self.warnings {
            0 => write!(f, ", no warning")?,
            1 => write!(f, ", 1 warning")?,
            warnings => write!(f, ", {warnings} warnings")?,
        }
        if let Some(count) = self.without_effect {
            write!(f, ", {} without effect", number(count))?;
        }
        match self.missing {
            0 => Ok(()),
            missing => write!(f, ", {missing} missing"),
        }
    }
}

/// Checks the environment; prints what it sets, or all settings, as in force.
pub(crate) fn run(all: bool, host_name: &str) -> anyhow::Result<ExitCode> {
    let lookup = |name: &str| std::env::var(name).ok();
    // White space alone counts as unset.
    let is_set = |name: &str| lookup(name).is_some_and(|text| !text.trim().is_empty());
    let set: BTreeSet<&str> = variables()
        .map(|one| one.name)
        .filter(|name| is_set(name))
        .collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut remarks = misspelt(names);
    let config = match Config::try_new(&lookup, host_name) {
        Ok(config) => config,
        Err(error) => {
            // Before problems: a misspelt name is often the reason for one.
            tell(&remarks);
            eprintln!("ipamd: {error}");
            eprintln!("{}", Verdict::refusal(&set, &error, &remarks));
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(custom) = &config.custom_network
        && let Err(error) = EniConfigs::try_new(custom).and_then(|configs| configs.check())
    {
        tell(&remarks);
        eprintln!("ipamd: {:#}", anyhow::Error::from(error));
        let verdict = Verdict {
            refused: 1,
            without_effect: None,
            ..Verdict::good(set.len(), &remarks)
        };
        eprintln!("{verdict}");
        return Ok(ExitCode::FAILURE);
    }
    let mut settings = config.settings(None);
    settings.retain(|setting| all || set.contains(setting.variable.name));
    print!("{}", in_blocks(&settings));
    remarks.extend(config.remarks);
    tell(&remarks);
    println!("{}", Verdict::good(set.len(), &remarks));
    Ok(ExitCode::SUCCESS)
}

fn tell(remarks: &[Remark]) {
    for remark in remarks {
        eprintln!("{remark}");
    }
}
