//! What a comparison is made of: plain data, each part as it was told. What could not be
//! told is absent, and its reason stands in [`Facts::unchecked`].

use std::collections::{BTreeMap, BTreeSet};

use veni_dataplane::{Difference, InterfaceReport, NodeReport, Observed, RepairKind};

use crate::host::Finding as HostFinding;
use crate::journal::endpoint::Record;
use crate::pool::{Beliefs, BelievedInterface};

/// Everything that was told.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) endpoints: Endpoints,
    pub(super) interfaces: Vec<InterfaceFacts>,
    /// The pool before everybody was asked, and after.
    pub(super) beliefs: [Beliefs; 2],
    pub(super) node: Option<NodeReport>,
    pub(super) observed: Option<Observed>,
    /// Entries of endpoints that the journal has.
    pub(super) journal: Option<BTreeSet<String>>,
    /// What somebody keeps changing.
    pub(super) contested: Vec<RepairKind>,
    /// The host's software that disturbs pods' network.
    pub(super) interferers: Vec<HostFinding>,
    /// What the daemon's own parts and other plugins' files say, a sentence each.
    pub(super) host: Vec<String>,
    /// What could not be asked, and why.
    pub(super) unchecked: Vec<String>,
}

/// The endpoints before everybody was asked, and after. What an ADD or a DEL has changed in
/// between is no difference.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    pub(super) before: Vec<Record>,
    pub(super) after: Vec<Record>,
    /// What the kernel has otherwise, by the record's name in the journal.
    pub(super) differences: Vec<(String, Vec<Difference>)>,
}

impl Endpoints {
    /// Those that nobody has changed meanwhile.
    pub(super) fn steady(&self) -> impl Iterator<Item = &Record> {
        let after: BTreeMap<&str, &Record> = by_id(&self.after).collect();
        let before = by_id(&self.before);
        before
            .filter(move |(id, record)| after.get(id) == Some(record))
            .map(|(_, record)| record)
    }

    /// All that were there at any time.
    pub(super) fn all(&self) -> impl Iterator<Item = &Record> {
        self.before.iter().chain(&self.after)
    }
}

fn by_id(records: &[Record]) -> impl Iterator<Item = (&str, &Record)> {
    records.iter().map(|record| (record.id.as_str(), record))
}

/// What the kernel has of one interface.
#[derive(Debug)]
pub(super) struct InterfaceFacts {
    pub(super) believed: BelievedInterface,
    pub(super) found: Found,
}

/// An interface in the kernel.
#[derive(Debug)]
pub(super) enum Found {
    /// It has a link, and this differs.
    Link(InterfaceReport),
    /// It has none.
    NoLink,
}
