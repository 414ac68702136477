//! What holds for all pods of a node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData};

use crate::layout::{Address, NodeValue, node_flag, special_flag};
use crate::{Error, maps};

/// The mark bit by which the programs tell each other of an answer, unless the rules name
/// another. kube-proxy, Veni's own tables and the usual service meshes do not use it.
pub const REPLY_MARK: u32 = 0x0020_0000;

/// Rules of the node as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRules {
    /// All of the node's own: packets that kube-proxy masqueraded have one of them.
    pub addresses: Vec<IpAddr>,
    /// Addresses that pods reach only if their endpoint says so.
    pub metadata: Vec<MetadataAddress>,
    /// What policies forbid passes, and is counted and recorded.
    pub audit: bool,
    /// Whether packets to node ports, which carry the node's address, are judged by that
    /// address; they pass otherwise.
    pub node_ports_judged: bool,
    /// Nothing of a pod passes before its policy is known, but for the node's own traffic.
    pub strict: bool,
    /// The bits of a packet's mark that an endpoint's mark takes.
    pub mark_mask: u32,
    /// One bit of a packet's mark that nobody else on the node uses.
    pub reply_mark: u32,
    /// Records that one CPU tells in a second; 0 turns records off.
    pub records_per_second: u32,
    /// Every how many-th opened flow is told; 0 for none. Drops are told beside these.
    pub record_opened_every: u32,
}

impl Default for NodeRules {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            metadata: Vec::new(),
            audit: false,
            node_ports_judged: false,
            strict: false,
            mark_mask: 0,
            reply_mark: REPLY_MARK,
            records_per_second: 1000,
            record_opened_every: 1,
        }
    }
}

/// An address of the cloud that can be closed to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetadataAddress {
    /// Exactly this one.
    pub address: IpAddr,
    /// Whether port 53 stays open, as Azure's 168.63.129.16 is a resolver as well.
    pub except_dns: bool,
}

impl NodeRules {
    pub(crate) fn value(&self) -> NodeValue {
        let mut flags = 0;
        for (flag, set) in [
            (node_flag::AUDIT, self.audit),
            (node_flag::PORTS_JUDGED, self.node_ports_judged),
            (node_flag::RECORDS, self.records_per_second > 0),
            (node_flag::STRICT, self.strict),
        ] {
            flags |= if set { flag } else { 0 };
        }
        NodeValue {
            flags,
            reply_mark: self.reply_mark,
            records_per_second: self.records_per_second,
            record_opened_every: self.record_opened_every,
            spare: [0; 4],
        }
    }

    /// Flags of each address that is not like all others.
    pub(crate) fn special(&self) -> BTreeMap<IpAddr, u32> {
        let mut special = BTreeMap::new();
        for address in &self.addresses {
            *special.entry(*address).or_default() |= special_flag::NODE;
        }
        for closed in &self.metadata {
            let dns = if closed.except_dns {
                special_flag::DNS
            } else {
                0
            };
            *special.entry(closed.address).or_default() |= special_flag::METADATA | dns;
        }
        special
    }
}

/// The maps of what holds for all pods.
pub(crate) struct NodeTables {
    node: Array<MapData, NodeValue>,
    special: HashMap<MapData, Address, u32>,
    mark_mask: u32,
}

impl NodeTables {
    /// Opens them, with the default rules where none were ever set.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut tables = Self {
            node: maps::array(folder, "node")?,
            special: maps::hash(folder, "special")?,
            mark_mask: 0,
        };
        let before = tables.node.get(&0, 0).map_err(Error::map("read", "node"))?;
        if before == NodeValue::default() {
            // Without its mark no answer passes a policy of the one who answers.
            tables.set(&NodeRules::default())?;
        }
        Ok(tables)
    }

    pub(crate) fn mark_mask(&self) -> u32 {
        self.mark_mask
    }

    /// Adds and changes before it removes: an address that stays closed is never open.
    pub(crate) fn set(&mut self, rules: &NodeRules) -> Result<(), Error> {
        let special: BTreeMap<_, _> = rules.special().into_iter().collect();
        for (address, flags) in &special {
            let written = self.special.insert(Address::from(*address), flags, 0);
            written.map_err(Error::map("add an element to", "special"))?;
        }
        let written = self.node.set(0, rules.value(), 0);
        written.map_err(Error::map("write", "node"))?;
        self.mark_mask = rules.mark_mask;
        let keys: Result<Vec<Address>, _> = self.special.keys().collect();
        for key in keys.map_err(Error::map("read", "special"))? {
            if !special.contains_key(&key.to_ip()) {
                maps::gone(self.special.remove(&key), "special")?;
            }
        }
        Ok(())
    }
}
