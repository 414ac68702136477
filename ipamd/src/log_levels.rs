//! How much the daemon logs, subsystem by subsystem, as operators set it while it runs. A
//! restart is back to what the settings say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::logging::filter_of;

/// Subsystems, and the modules whose lines are theirs, with all whose names begin so: the
/// longest name counts.
const SUBSYSTEMS: [(&str, &[&str]); 9] = [
    ("cloud", &["veni_provider", "ipamd::cloud", "ipamd::app"]),
    ("cluster", &["ipamd::cluster"]),
    ("endpoints", &["ipamd::endpoints", "ipamd::noted_dels"]),
    ("host", &["ipamd::host", "ipamd::node"]),
    (
        "journal",
        &["ipamd::journal", "ipamd::assigned", "ipamd::run_dir"],
    ),
    ("kernel", &["veni_dataplane"]),
    ("pool", &["ipamd::pool", "ipamd::targets", "veni_pool"]),
    (
        "repairs",
        &[
            "ipamd::node_check",
            "ipamd::reconcile",
            "ipamd::repairs",
            "ipamd::start",
        ],
    ),
    ("serve", &["ipamd::serve"]),
];

/// Levels, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Takes a filter into force.
type Apply = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// The levels of this process. Clones are the same.
#[derive(Clone)]
pub struct LogLevels {
    /// The filter of the settings.
    configured: String,
    set: Arc<Mutex<BTreeMap<&'static str, &'static str>>>,
    apply: Arc<Apply>,
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (configured, in_force) = (&self.configured, self.in_force());
        f.debug_struct("LogLevels")
            .field("configured", configured)
            .field("in_force", &in_force)
            .finish_non_exhaustive()
    }
}

impl Default for LogLevels {
    /// The levels of a process without a log.
    fn default() -> Self {
        Self::new("info".to_owned(), |_| Ok(()))
    }
}

impl LogLevels {
    /// Levels that begin with a filter; `apply` takes another into force.
    pub(crate) fn new(
        configured: String,
        apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            configured,
            set: Arc::default(),
            apply: Arc::new(apply),
        }
    }

    /// The filter of the settings.
    pub(crate) fn configured(&self) -> &str {
        &self.configured
    }

    /// The filter in force.
    pub(crate) fn in_force(&self) -> String {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        filter(&self.configured, &set)
    }

    /// Sets levels, each `SUBSYSTEM=LEVEL`, or `LEVEL` for everything; after those of the
    /// settings if `reset`, else after what was set before. All are set, or none.
    ///
    /// # Errors
    /// In words, what is wrong and what may be said instead.
    pub(crate) fn set(&self, levels: &[String], reset: bool) -> Result<(), String> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = match reset {
            true => BTreeMap::new(),
            false => set.clone(),
        };
        for text in levels {
            let (subsystem, level) = parse(text)?;
            if subsystem == EVERYTHING {
                // What was set for one subsystem before would hide it.
                wanted.clear();
            }
            wanted.insert(subsystem, level);
        }
        let text = filter(&self.configured, &wanted);
        let new = filter_of(&text).map_err(|error| format!("{text}: {error}"))?;
        (self.apply)(new)?;
        if *set != wanted {
            let in_force = text;
            tracing::info!(in_force, "log levels set");
        }
        *set = wanted;
        Ok(())
    }
}

/// The subsystems that have a level of their own.
pub(crate) fn subsystems() -> impl Iterator<Item = &'static str> {
    SUBSYSTEMS.into_iter().map(|(name, _)| name)
}

/// What a level without a subsystem is for.
const EVERYTHING: &str = "";

fn parse(text: &str) -> Result<(&'static str, &'static str), String> {
    let (subsystem, level) = text.split_once('=').unwrap_or((EVERYTHING, text));
    let known = subsystems().chain([EVERYTHING]);
    let subsystem = known.into_iter().find(|known| *known == subsystem);
    let level = level.to_lowercase();
    let level = LEVELS.into_iter().find(|known| *known == level);
    match (subsystem, level) {
        (Some(subsystem), Some(level)) => Ok((subsystem, level)),
        (None, _) => Err(format!(
            "{text}: there is no such subsystem; there are {}",
            subsystems().collect::<Vec<_>>().join(", ")
        )),
        (_, None) => Err(format!(
            "{text}: there is no such level; there are {}",
            LEVELS.join(", ")
        )),
    }
}

fn filter(configured: &str, set: &BTreeMap<&'static str, &'static str>) -> String {
    let mut parts = match set.get(EVERYTHING) {
        Some(level) => vec![(*level).to_owned()],
        None => vec![configured.to_owned()],
    };
    for (name, modules) in SUBSYSTEMS {
        if let Some(level) = set.get(name) {
            parts.extend(modules.iter().map(|module| format!("{module}={level}")));
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> LogLevels {
        LogLevels::new("warn,ipamd::pool=info".to_owned(), |_| Ok(()))
    }

    fn set(levels: &LogLevels, texts: &[&str], reset: bool) -> Result<String, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        levels.set(&texts, reset)?;
        Ok(levels.in_force())
    }

    #[test]
    fn a_subsystem_s_level_goes_before_the_configured_one_until_it_is_reset() {
        let levels = levels();
        let in_force = set(&levels, &["endpoints=debug"], false);
        let expected = "warn,ipamd::pool=info,ipamd::endpoints=debug,ipamd::noted_dels=debug";
        assert_eq!(in_force.as_deref(), Ok(expected));
        let both = set(&levels, &["pool=TRACE"], false);
        let expected = "warn,ipamd::pool=info,ipamd::endpoints=debug,ipamd::noted_dels=debug,\
                        ipamd::pool=trace,ipamd::targets=trace,veni_pool=trace";
        assert_eq!(both.as_deref(), Ok(expected));
        assert_eq!(set(&levels, &["error"], false).as_deref(), Ok("error"));
        let configured = levels.configured().to_owned();
        assert_eq!(set(&levels, &[], true), Ok(configured));
    }

    #[test]
    fn what_makes_no_sense_is_refused_whole_and_says_what_does() {
        let levels = levels();
        let before = levels.in_force();
        let unknown = set(&levels, &["pool=debug", "pol=debug"], false).expect_err("refused");
        assert!(
            unknown.contains("pol=debug") && unknown.contains("endpoints"),
            "{unknown}"
        );
        let no_level = set(&levels, &["pool=loud"], false).expect_err("refused");
        assert!(no_level.contains("trace"), "{no_level}");
        assert_eq!(levels.in_force(), before);
    }

    #[test]
    fn every_subsystem_s_level_makes_a_filter() {
        let all: Vec<String> = subsystems().map(|name| format!("{name}=debug")).collect();
        let levels = levels();
        levels.set(&all, false).expect("a filter");
        for (_, modules) in SUBSYSTEMS {
            for module in modules {
                assert!(levels.in_force().contains(&format!("{module}=debug")));
            }
        }
    }
}
