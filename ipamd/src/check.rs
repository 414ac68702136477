//! `ipamd --check-settings`: what the environment makes of the settings, then what
//! there is to say of it, and the verdict as the last line, all of it where the
//! verdict goes.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

use ipamd::cluster::files::Files;
use ipamd::config::{Config, ConfigError, Providers, Remark, in_blocks, misspelt, variables};
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

/// The settings that name files of custom networking.
const FILES: [&str; 2] = ["VENI_ENI_CONFIG_FILE", "VENI_NODE_FILE"];

/// Makes the files of custom networking be read.
const CUSTOM_NETWORK: &str = "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG";

impl Verdict {
    fn refusal(set: &BTreeSet<&str>, error: &ConfigError) -> Self {
        let names = error.problems.iter();
        let names: BTreeSet<&str> = names
            .filter_map(|problem| Some(problem.split_once('=')?.0))
            // A file where it is by default is wrong: what is set is that it is read.
            .map(|name| match FILES.contains(&name) && !set.contains(name) {
                true => CUSTOM_NETWORK,
                false => name,
            })
            .collect();
        let refused = names.intersection(set).count();
        Self {
            set: set.len(),
            refused,
            missing: names.len() - refused,
            warnings: error.remarks.iter().filter(|one| one.warning).count(),
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

/// Checks the environment, and what options set; prints what they set, or all settings, as in
/// force.
pub(crate) fn run(
    all: bool,
    host_name: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<ExitCode> {
    let providers = ipamd::app::providers();
    // White space alone counts as unset.
    let is_set = |name: &str| lookup(name).is_some_and(|text| !text.trim().is_empty());
    let set: BTreeSet<&str> = variables(&providers)
        .map(|one| one.name)
        .filter(|name| is_set(name))
        .collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut remarks = misspelt(&providers, names);
    let config = match read_all(&providers, lookup, host_name) {
        Ok(config) => config,
        Err(mut error) => {
            error.remarks = [remarks, error.remarks].concat();
            // Before problems: a misspelt name is often the reason for one.
            for remark in &error.remarks {
                eprintln!("{remark}");
            }
            eprintln!("ipamd: {error}");
            eprintln!("{}", Verdict::refusal(&set, &error));
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut settings = config.settings(&providers, None);
    settings.retain(|setting| all || set.contains(setting.variable.name));
    print!("{}", in_blocks(&settings));
    remarks.extend(config.remarks);
    for remark in &remarks {
        println!("{remark}");
    }
    println!("{}", Verdict::good(set.len(), &remarks));
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings and the files that they name: all that is wrong in either is
/// told at once.
fn read_all(
    providers: &Providers,
    lookup: &dyn Fn(&str) -> Option<String>,
    host_name: &str,
) -> Result<Config, ConfigError> {
    let custom = Config::custom_network(providers, lookup, host_name);
    let wrong = custom.map(|settings| Files::new(settings).problems());
    let wrong: Vec<String> = wrong
        .unwrap_or_default()
        .into_iter()
        .map(|problem| format!("{:#}", anyhow::Error::from(problem)))
        .collect();
    match Config::try_new(providers, lookup, host_name) {
        Ok(config) if wrong.is_empty() => Ok(config),
        Ok(config) => Err(ConfigError {
            problems: wrong,
            remarks: config.remarks,
        }),
        Err(mut error) => {
            error.problems.extend(wrong);
            Err(error)
        }
    }
}
