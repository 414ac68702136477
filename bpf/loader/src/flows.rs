//! Forgets flows that have ended or fallen silent.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use aya::maps::{HashMap as Map, MapData};

use crate::Error;
use crate::layout::{FlowKey, FlowValue, HalfOpenKey, flow_flag};
use crate::maps;

const TCP: u8 = 6;
const SCTP: u8 = 132;

/// `BPF_EXIST`: an update makes nothing new.
const EXISTING: u64 = 2;

/// Elements that one sweep reads at most. The kernel begins again from the start when the
/// element that was read last is gone, so under a flood a sweep might never end.
const MOST_READ: usize = 1 << 22;

/// A flow without connections that is older than this when it is seen goes on, nanoseconds.
const GOES_ON_AFTER: u64 = 2_000_000_000;

/// What one look at all flows has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Flows that stay.
    pub live: usize,
    /// Those of them that nobody has answered.
    pub half_open: usize,
    /// Flows that were forgotten now.
    pub removed: usize,
    /// Elements of the map of prefixes.
    pub peers: usize,
    /// Elements of the map of ports.
    pub ports: usize,
}

/// The maps of flows.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: Map<MapData, FlowKey, FlowValue>,
    half_open: Map<MapData, HalfOpenKey, FlowKey>,
    removed: Map<MapData, u32, u64>,
}

/// How long a flow may be silent. A TCP connection that both sides have kept open may rest
/// for as long as the usual keep-alive (two hours) takes, and more.
fn patience(key: &FlowKey, flow: &FlowValue) -> Duration {
    let closed = flow_flag::FIN_LOCAL | flow_flag::FIN_REMOTE;
    let answered = flow.flags & flow_flag::ANSWERED != 0;
    // More than one question and its answer, which a server of names has thousands of.
    let goes_on = flow.last_seen.saturating_sub(flow.opened) > GOES_ON_AFTER;
    let seconds = match key.protocol {
        TCP if flow.flags & flow_flag::RESET != 0 => 10,
        TCP if flow.flags & closed == closed => 10,
        TCP if flow.flags & closed != 0 => 120,
        TCP | SCTP if answered => 8 * 3600,
        TCP | SCTP => 60,
        _ if answered && goes_on => 180,
        _ => 30,
    };
    Duration::from_secs(seconds)
}

/// Whether a flow has fallen silent.
fn over(key: &FlowKey, flow: &FlowValue, now: Duration) -> bool {
    now.saturating_sub(Duration::from_nanos(flow.last_seen)) > patience(key, flow)
}

impl Flows {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            flows: maps::hash(folder, "flows")?,
            half_open: maps::hash(folder, "half_open")?,
            removed: maps::hash(folder, "removed")?,
        })
    }

    /// Forgets flows that have fallen silent by `now`, and those of generations that are not
    /// among the `links`.
    pub(crate) fn sweep(
        &mut self,
        now: Duration,
        links: &HashMap<u64, u32>,
    ) -> Result<Sweep, Error> {
        let (mut sweep, mut ended) = (Sweep::default(), Vec::new());
        for element in self.flows.iter().take(MOST_READ) {
            let (key, flow) = element.map_err(Error::map("read", "flows"))?;
            if !links.contains_key(&key.generation) || over(&key, &flow, now) {
                ended.push(key);
                continue;
            }
            sweep.live += 1;
            sweep.half_open += usize::from(flow.flags & flow_flag::ANSWERED == 0);
        }
        let mut per_link: HashMap<u32, u64> = HashMap::new();
        for key in ended {
            // It may have come alive since.
            let current = maps::optional(self.flows.get(&key, 0), "flows")?;
            let link = links.get(&key.generation);
            if current.is_none_or(|flow| link.is_some() && !over(&key, &flow, now)) {
                continue;
            }
            if self.flows.remove(&key).is_ok() {
                sweep.removed += 1;
                if let Some(link) = link {
                    *per_link.entry(*link).or_default() += 1;
                }
            }
        }
        self.count_removed(&per_link)?;
        self.forget_half_open(links)?;
        Ok(sweep)
    }

    fn count_removed(&mut self, per_link: &HashMap<u32, u64>) -> Result<(), Error> {
        for (link, count) in per_link {
            if let Some(before) = maps::optional(self.removed.get(link, 0), "removed")? {
                let sum = before + count;
                maps::gone(self.removed.insert(link, sum, EXISTING), "removed")?;
            }
        }
        Ok(())
    }

    /// Places of endpoints that are gone.
    fn forget_half_open(&mut self, links: &HashMap<u64, u32>) -> Result<(), Error> {
        let keys: Result<Vec<HalfOpenKey>, _> = self.half_open.keys().collect();
        for key in keys.map_err(Error::map("read", "half_open"))? {
            if !links.contains_key(&key.generation) {
                maps::gone(self.half_open.remove(&key), "half_open")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(protocol: u8, flags: u8) -> u64 {
        let key = FlowKey {
            protocol,
            ..FlowKey::default()
        };
        let flow = FlowValue {
            flags,
            ..FlowValue::default()
        };
        patience(&key, &flow).as_secs()
    }

    #[test]
    fn a_flow_is_kept_as_long_as_its_protocol_and_state_need() {
        let (udp, fins) = (17, flow_flag::FIN_LOCAL | flow_flag::FIN_REMOTE);
        assert_eq!(waits(TCP, 0), 60, "a first packet without an answer");
        assert_eq!(waits(TCP, flow_flag::ANSWERED), 8 * 3600);
        assert_eq!(waits(TCP, flow_flag::ANSWERED | flow_flag::FIN_LOCAL), 120);
        assert_eq!(waits(TCP, flow_flag::ANSWERED | fins), 10);
        assert_eq!(waits(TCP, flow_flag::ANSWERED | flow_flag::RESET), 10);
        assert_eq!(waits(udp, 0), 30);
        assert_eq!(waits(udp, flow_flag::ANSWERED), 30, "a question");
        assert_eq!(waits(SCTP, flow_flag::ANSWERED), 8 * 3600);
        let goes_on = FlowValue {
            flags: flow_flag::ANSWERED,
            opened: 1,
            last_seen: 2 + GOES_ON_AFTER,
            ..FlowValue::default()
        };
        for protocol in [udp, 1] {
            let key = FlowKey {
                protocol,
                ..FlowKey::default()
            };
            assert_eq!(patience(&key, &goes_on).as_secs(), 180);
        }
    }

    #[test]
    fn a_flow_from_the_future_is_not_over() {
        let flow = FlowValue {
            last_seen: 10_000_000_000,
            ..FlowValue::default()
        };
        assert!(!over(&FlowKey::default(), &flow, Duration::from_secs(9)));
        assert!(!over(&FlowKey::default(), &flow, Duration::from_secs(40)));
        assert!(over(&FlowKey::default(), &flow, Duration::from_secs(41)));
    }
}
