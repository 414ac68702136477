//! The maps that have an element for each endpoint.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{HashMap as Map, MapData, PerCpuHashMap, PerCpuValues};
use aya::util::nr_cpus;

use crate::endpoint::Endpoint;
use crate::layout::{EndpointValue, OwnedAddress, Usage, Verdicts, endpoint_flag};
use crate::rules::{guard, prefix};
use crate::{Error, maps};

/// Values in the map of further sources.
const NOT_ALLOWED: u32 = 0;
const ALLOWED: u32 = 1;

pub(crate) struct Endpoints {
    /// Processors that the kernel counts for.
    cpus: usize,
    endpoints: Map<MapData, u32, EndpointValue>,
    usages: Map<MapData, u32, Usage>,
    removed: Map<MapData, u32, u64>,
    verdicts: PerCpuHashMap<MapData, u32, Verdicts>,
    sources: LpmTrie<MapData, OwnedAddress, u32>,
}

impl Endpoints {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let cpus = nr_cpus().map_err(|(path, source)| Error::Pin {
            operation: "count the processors in",
            path: path.into(),
            source,
        })?;
        Ok(Self {
            cpus,
            endpoints: maps::hash(folder, "endpoints")?,
            usages: maps::hash(folder, "usages")?,
            removed: maps::hash(folder, "removed")?,
            verdicts: maps::per_cpu_hash(folder, "verdicts")?,
            sources: maps::trie(folder, "sources")?,
        })
    }

    pub(crate) fn get(&self, link: u32) -> Result<Option<EndpointValue>, Error> {
        maps::optional(self.endpoints.get(&link, 0), "endpoints")
    }

    /// All elements.
    fn all(&self) -> Result<Vec<(u32, EndpointValue)>, Error> {
        let all: Result<_, _> = self.endpoints.iter().collect();
        all.map_err(Error::map("read", "endpoints"))
    }

    /// The links by their endpoints' generations.
    pub(crate) fn generations(&self) -> Result<HashMap<u64, u32>, Error> {
        let by_generation = |(link, value): (u32, EndpointValue)| (value.generation, link);
        Ok(self.all()?.into_iter().map(by_generation).collect())
    }

    /// The numbers of all rule sets that some endpoint has.
    pub(crate) fn sets(&self) -> Result<BTreeSet<u32>, Error> {
        let sets = |(_, value): (u32, EndpointValue)| [value.ingress_set, value.egress_set];
        Ok(self.all()?.into_iter().flat_map(sets).collect())
    }

    /// Makes an endpoint's elements; the one by which programs know it comes last.
    pub(crate) fn admit(
        &mut self,
        endpoint: &Endpoint,
        mark_mask: u32,
        flow_limit: u32,
    ) -> Result<(), Error> {
        let link = endpoint.host_index;
        let mut before = self.get(link)?;
        if before.is_some_and(|found| found.generation != endpoint.generation) {
            self.dismiss(link)?;
            before = None;
        }
        let value = endpoint.value(before.as_ref(), mark_mask, flow_limit)?;
        if before.is_none() {
            self.begin_counting(link)?;
        }
        let further = |value: EndpointValue| value.flags & endpoint_flag::FURTHER != 0;
        if further(value) || before.is_some_and(further) {
            self.set_sources(endpoint)?;
        }
        if before != Some(value) {
            let written = self.endpoints.insert(link, value, 0);
            written.map_err(Error::map("add an element to", "endpoints"))?;
        }
        Ok(())
    }

    fn begin_counting(&mut self, link: u32) -> Result<(), Error> {
        let written = self.usages.insert(link, Usage::default(), 0);
        written.map_err(Error::map("add an element to", "usages"))?;
        let written = self.removed.insert(link, 0, 0);
        written.map_err(Error::map("add an element to", "removed"))?;
        PerCpuValues::try_from(vec![Verdicts::default(); self.cpus])
            .map_err(Into::into)
            .and_then(|none| self.verdicts.insert(link, none, 0))
            .map_err(Error::map("add an element to", "verdicts"))
    }

    /// Makes a link's further sources those of the endpoint.
    fn set_sources(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let link = endpoint.host_index;
        let further = &endpoint.further_sources;
        let mut wanted: Vec<_> = further.iter().map(|p| (prefix(link, p), ALLOWED)).collect();
        wanted.extend(guard(link, further.iter()).map(|key| (key, NOT_ALLOWED)));
        for (key, value) in &wanted {
            let written = self.sources.insert(key, value, 0);
            written.map_err(Error::map("add an element to", "sources"))?;
        }
        self.remove_sources(link, |found| wanted.iter().any(|(key, _)| same(key, found)))
    }

    fn remove_sources(
        &mut self,
        link: u32,
        keep: impl Fn(&maps::PrefixKey) -> bool,
    ) -> Result<(), Error> {
        let keys: Result<Vec<_>, _> = self.sources.keys().collect();
        for key in keys.map_err(Error::map("read", "sources"))? {
            if key.data().owner == link && !keep(&key) {
                maps::gone(self.sources.remove(&key), "sources")?;
            }
        }
        Ok(())
    }

    /// Removes an endpoint's elements. What the pod may send never widens meanwhile.
    pub(crate) fn dismiss(&mut self, link: u32) -> Result<(), Error> {
        let before = self.get(link)?;
        if before.is_some_and(|found| found.flags & endpoint_flag::FURTHER != 0) {
            self.remove_sources(link, |_| false)?;
        }
        maps::gone(self.endpoints.remove(&link), "endpoints")?;
        maps::gone(self.usages.remove(&link), "usages")?;
        maps::gone(self.removed.remove(&link), "removed")?;
        maps::gone(self.verdicts.remove(&link), "verdicts")
    }

    /// Releases all endpoints whose link is not one of these.
    pub(crate) fn dismiss_all_but(&mut self, links: &[u32]) -> Result<(), Error> {
        for (link, _) in self.all()? {
            if !links.contains(&link) {
                self.dismiss(link)?;
            }
        }
        Ok(())
    }

    /// Gives an endpoint other rule sets. Its flows are judged anew, each by its next packet.
    pub(crate) fn switch(&mut self, link: u32, ingress: u32, egress: u32) -> Result<(), Error> {
        let before = self.get(link)?.ok_or(Error::NotAdmitted(link))?;
        let mut value = EndpointValue {
            ingress_set: ingress,
            egress_set: egress,
            flags: before.flags & !endpoint_flag::UNKNOWN,
            ..before
        };
        if (ingress, egress) != (before.ingress_set, before.egress_set) {
            // 0 is of flows that no policy has let pass.
            value.epoch = before.epoch.checked_add(1).unwrap_or(1);
        }
        if value == before {
            return Ok(());
        }
        let written = self.endpoints.insert(link, value, 0);
        written.map_err(Error::map("change an element of", "endpoints"))
    }
}

fn same(one: &maps::PrefixKey, other: &maps::PrefixKey) -> bool {
    one.prefix_len() == other.prefix_len() && one.data() == other.data()
}
