//! Which routing table each interface of the node has, across restarts.
//!
//! A device index repeats on every network card, and an interface that is gone may leave
//! rules behind: so an interface gets a table by its id, the journal keeps it, and the
//! table is free again when the kernel has removed its rules. This decides and writes
//! down; who owns it has the rules made and removed.

use std::collections::BTreeMap;

use veni_dataplane::plan::{INTERFACE_TABLE_BASE, INTERFACE_TABLES};
use veni_provider::{Interface, InterfaceId};

use crate::journal::{Folder, InterfaceTable, Journal, JournalError};

/// What a table that is not free is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Use {
    /// The rules and routes of this interface.
    Of(InterfaceId),
    /// A start has found rules for it in the kernel and no entry in the journal.
    Unexplained,
    /// Nothing any more: its rules are to be removed.
    Unused,
    /// Its rules are being removed.
    Clearing,
    /// The kernel refused to remove its rules.
    Refused,
}

/// The tables that a start finds.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoundTables {
    uses: BTreeMap<u32, Use>,
}

impl FoundTables {
    /// The tables as the daemon before has written them down, and those of `in_kernel`,
    /// for which the kernel has rules or routes. A reboot has emptied all tables.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn read(journal: &Journal, in_kernel: &[u32]) -> Result<Self, JournalError> {
        let contents = journal.read::<InterfaceTable>(Folder::Tables)?;
        for (name, _) in &contents.earlier {
            journal.remove(Folder::Tables, name);
        }
        let in_range = |table: &u32| INTERFACE_TABLES.contains(table);
        let written = contents.current.into_iter().filter_map(|(name, entry)| {
            let table = name.parse().ok().filter(in_range)?;
            Some((table, Use::Of(entry.interface)))
        });
        let mut uses: BTreeMap<u32, Use> = written.collect();
        for table in in_kernel.iter().copied().filter(in_range) {
            uses.entry(table).or_insert(Use::Unexplained);
        }
        Ok(Self { uses })
    }
}

/// The tables of the node's interfaces.
#[derive(Debug)]
pub(crate) struct RoutingTables {
    journal: Journal,
    uses: BTreeMap<u32, Use>,
}

impl RoutingTables {
    /// The tables as a start has found them.
    pub(crate) fn new(journal: Journal, found: FoundTables) -> Self {
        Self {
            journal,
            uses: found.uses,
        }
    }

    /// The table of an interface; `None` where it has none.
    pub(crate) fn of(&self, interface: &InterfaceId) -> Option<u32> {
        let mut uses = self.uses.iter();
        let found = uses.find(|(_, used)| matches!(used, Use::Of(id) if id == interface));
        found.map(|(table, _)| *table)
    }

    /// All tables that are not free.
    pub(crate) fn used(&self) -> impl Iterator<Item = u32> {
        self.uses.keys().copied()
    }

    /// Gives an interface a table if it has none: the one of its device index where it can,
    /// which is the one that daemons gave it that kept no entries. `None` when all
    /// tables are taken, by more interfaces than a node can have.
    pub(crate) fn allot(&mut self, interface: &Interface) -> Option<u32> {
        if let Some(table) = self.of(&interface.id) {
            return Some(table);
        }
        let by_index = INTERFACE_TABLE_BASE.saturating_add(interface.device_index);
        let takes = interface.on_default_card()
            && INTERFACE_TABLES.contains(&by_index)
            && matches!(self.uses.get(&by_index), None | Some(Use::Unexplained));
        let table = match takes {
            true => by_index,
            // From the other end, so that the device indexes to come find theirs free.
            false => INTERFACE_TABLES
                .rev()
                .find(|table| !self.uses.contains_key(table))?,
        };
        let entry = InterfaceTable {
            interface: interface.id.clone(),
        };
        if let Err(error) = self
            .journal
            .write(Folder::Tables, &table.to_string(), &entry)
        {
            // A restart makes its rules anew, in another table, before it removes these.
            tracing::warn!(%error, interface = %interface.id, table, "an interface's routing table is not written down");
        }
        self.uses.insert(table, Use::Of(interface.id.clone()));
        Some(table)
    }

    /// The tables whose rules are to be removed now, because none of the interfaces that
    /// `is_needed` accepts has them. To be called when all of these have theirs.
    pub(crate) fn take_unused(&mut self, is_needed: impl Fn(&InterfaceId) -> bool) -> Vec<u32> {
        let mut unused = Vec::new();
        for (table, used) in &mut self.uses {
            let is_unused = match used {
                Use::Of(interface) => !is_needed(interface),
                Use::Unexplained | Use::Unused => true,
                Use::Clearing | Use::Refused => false,
            };
            if is_unused {
                *used = Use::Clearing;
                unused.push(*table);
            }
        }
        unused
    }

    /// The rules of a table are gone: another interface may have it.
    pub(crate) fn cleared(&mut self, table: u32) {
        if self.uses.get(&table) == Some(&Use::Clearing) {
            self.uses.remove(&table);
            self.journal.remove(Folder::Tables, &table.to_string());
        }
    }

    /// The kernel refused to remove the rules of a table: nobody gets it until it has.
    pub(crate) fn refused(&mut self, table: u32) {
        if let Some(used) = self.uses.get_mut(&table)
            && *used == Use::Clearing
        {
            *used = Use::Refused;
        }
    }

    /// Has what the kernel refused tried again.
    pub(crate) fn try_again(&mut self) {
        for used in self.uses.values_mut().filter(|used| **used == Use::Refused) {
            *used = Use::Unused;
        }
    }
}

#[cfg(test)]
mod tests;
