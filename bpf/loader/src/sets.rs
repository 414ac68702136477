//! The rule sets in the maps, each once however many endpoints have it.
//!
//! A set is built under a number that no endpoint has yet, and an endpoint switches to it by
//! one element. A packet that began with the old one may still read it: a set that nobody
//! has stays until a later call of [`Sets::collect`].

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use rustix::io::Errno;
use veni_policy::{RuleSet, Side};

use crate::Error;
use crate::layout::{ClassPort, OwnedAddress};
use crate::maps;
use crate::rules::{Elements, elements};

/// One set that is in the maps.
#[derive(Default)]
struct Stored {
    /// What it says; unknown of one that an earlier process has left.
    rules: Option<Arc<RuleSet>>,
    peers: Vec<Key<OwnedAddress>>,
    ports: Vec<Key<ClassPort>>,
    /// Nobody had it when last looked at.
    unused: bool,
}

/// All sets that are in the maps.
pub(crate) struct Sets {
    peers: LpmTrie<MapData, OwnedAddress, u32>,
    ports: LpmTrie<MapData, ClassPort, u32>,
    stored: HashMap<u32, Stored>,
    numbers: HashMap<Arc<RuleSet>, u32>,
    /// Greatest number given so far.
    last_set: u32,
    last_class: u32,
}

impl Sets {
    /// Finds what is there. `used` are the numbers that endpoints have.
    pub(crate) fn open(folder: &Path, used: &BTreeSet<u32>) -> Result<Self, Error> {
        let peers: LpmTrie<_, OwnedAddress, u32> = maps::trie(folder, "peers")?;
        let ports: LpmTrie<_, ClassPort, u32> = maps::trie(folder, "ports")?;
        let mut stored: HashMap<u32, Stored> = HashMap::new();
        let mut owners: HashMap<u32, u32> = HashMap::new();
        let mut last_class = 0;
        for element in peers.iter() {
            let (key, class) = element.map_err(Error::map("read", "peers"))?;
            let set = key.data().owner;
            owners.insert(class, set);
            stored.entry(set).or_default().peers.push(key);
        }
        for key in ports.keys() {
            let key = key.map_err(Error::map("read", "ports"))?;
            let class = key.data().class;
            last_class = last_class.max(class);
            // A class that no prefix leads to goes with the sets that nobody has.
            let set = owners.get(&class).copied().unwrap_or_default();
            stored.entry(set).or_default().ports.push(key);
        }
        last_class = last_class.max(owners.keys().max().copied().unwrap_or_default());
        let last_set = stored.keys().chain(used).max().copied().unwrap_or_default();
        Ok(Self {
            peers,
            ports,
            stored,
            numbers: HashMap::new(),
            last_set,
            last_class,
        })
    }

    /// The number of a side: 0 for an open one. A set that is not there yet is built.
    pub(crate) fn number(&mut self, side: &Side) -> Result<u32, Error> {
        let Side::Isolated(rules) = side else {
            return Ok(0);
        };
        // Mostly the same one as before: sets are large, and pods that share one many.
        let mut stored = self.stored.iter();
        let shared = stored.find_map(|(number, stored)| {
            let same = stored
                .rules
                .as_ref()
                .is_some_and(|one| Arc::ptr_eq(one, rules));
            same.then_some(*number)
        });
        if let Some(number) = shared {
            return Ok(number);
        }
        if let Some(number) = self.numbers.get(rules) {
            return Ok(*number);
        }
        let number = self.last_set + 1;
        let elements = elements(rules, number, self.last_class + 1);
        self.last_set = number;
        self.last_class += u32::try_from(rules.classes.len()).unwrap_or(u32::MAX);
        let mut stored = Stored {
            rules: Some(Arc::clone(rules)),
            ..Stored::default()
        };
        let built = self.build(&elements, &mut stored);
        self.stored.insert(number, stored);
        if let Err(error) = built {
            self.remove(number)?;
            return Err(error);
        }
        self.numbers.insert(Arc::clone(rules), number);
        Ok(number)
    }

    fn build(&mut self, elements: &Elements, stored: &mut Stored) -> Result<(), Error> {
        // Ports first: a prefix never leads to a class that lacks some.
        insert(&mut self.ports, "ports", &elements.ports, &mut stored.ports)?;
        insert(&mut self.peers, "peers", &elements.peers, &mut stored.peers)
    }

    /// What a set says, if this process has built it.
    pub(crate) fn rules(&self, number: u32) -> Option<&Arc<RuleSet>> {
        self.stored.get(&number)?.rules.as_ref()
    }

    /// Removes the sets that nobody has had since the last call.
    pub(crate) fn collect(&mut self, used: &BTreeSet<u32>) -> Result<(), Error> {
        let mut unused = Vec::new();
        for (number, stored) in &mut self.stored {
            let now = !used.contains(number);
            if now && stored.unused {
                unused.push(*number);
            }
            stored.unused = now;
        }
        unused
            .into_iter()
            .try_for_each(|number| self.remove(number))
    }

    fn remove(&mut self, number: u32) -> Result<(), Error> {
        let Some(stored) = self.stored.remove(&number) else {
            return Ok(());
        };
        if let Some(rules) = &stored.rules {
            self.numbers.remove(rules);
        }
        for key in &stored.peers {
            maps::gone(self.peers.remove(key), "peers")?;
        }
        for key in &stored.ports {
            maps::gone(self.ports.remove(key), "ports")?;
        }
        Ok(())
    }

    /// How many elements the maps `peers` and `ports` have.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let count = |of: fn(&Stored) -> usize| self.stored.values().map(of).sum();
        (count(|set| set.peers.len()), count(|set| set.ports.len()))
    }
}

/// Inserts elements, and notes each key as soon as it is there.
fn insert<K: Pod>(
    map: &mut LpmTrie<MapData, K, u32>,
    name: &'static str,
    elements: &[(Key<K>, u32)],
    inserted: &mut Vec<Key<K>>,
) -> Result<(), Error> {
    for (key, value) in elements {
        match map.insert(key, value, 0) {
            Ok(()) => inserted.push(*key),
            Err(error) if full(&error) => {
                return Err(Error::Full {
                    map: name,
                    needed: elements.len() - inserted.len(),
                });
            }
            Err(error) => return Err(Error::map("add an element to", name)(error)),
        }
    }
    Ok(())
}

fn full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(call)
        if call.io_error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()))
}
