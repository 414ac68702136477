//! Everything that the ARM knows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::Instant;

use crate::addresses::Subnet;
use crate::buckets::Levels;
use crate::config::{Config, NodeConfig};
use crate::faults::Schedule;
use crate::nic::Nic;
use crate::operations::Operations;
use crate::tokens::Tokens;

/// Everything that the ARM knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) subnets: Vec<Subnet>,
    /// NICs by their names in lower case.
    pub(crate) nics: BTreeMap<String, Nic>,
    /// Machines by their names in lower case.
    pub(crate) machines: BTreeMap<String, NodeConfig>,
    pub(crate) operations: Operations,
    pub(crate) tokens: Tokens,
    pub(crate) levels: Levels,
    pub(crate) faults: Schedule,
    /// Rights that nobody has: `Microsoft.Network/networkInterfaces/write`.
    pub(crate) denied: BTreeSet<String>,
    /// What instance metadata shows of each NIC's network, and since when it is so.
    pub(crate) published: BTreeMap<String, Vec<(Instant, Value)>>,
    /// How many requests came, by method.
    pub(crate) counts: BTreeMap<String, u64>,
    etags: u64,
}

impl State {
    pub(crate) fn new(config: Config) -> Self {
        let subnets = config.subnets.iter();
        Self {
            subnets: subnets
                .map(|(name, range)| Subnet::new(name, *range))
                .collect(),
            config,
            nics: BTreeMap::new(),
            machines: BTreeMap::new(),
            operations: Operations::default(),
            tokens: Tokens::default(),
            levels: Levels::default(),
            faults: Schedule::default(),
            denied: BTreeSet::new(),
            published: BTreeMap::new(),
            counts: BTreeMap::new(),
            etags: 0,
        }
    }

    pub(crate) fn next_etag(&mut self) -> u64 {
        self.etags += 1;
        self.etags
    }

    pub(crate) fn subnet_mut(&mut self, name: &str) -> Option<&mut Subnet> {
        let mut all = self.subnets.iter_mut();
        all.find(|one| one.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn subnet(&self, name: &str) -> Option<&Subnet> {
        let mut all = self.subnets.iter();
        all.find(|one| one.name.eq_ignore_ascii_case(name))
    }
}

impl Config {
    /// The header `Retry-After` of what is under way: whole seconds, rounded up.
    pub(crate) fn retry_after_seconds(&self) -> u128 {
        self.retry_after.as_millis().div_ceil(1000)
    }
}
