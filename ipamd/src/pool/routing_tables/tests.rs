//! Tables across attaching, detaching, refusals and restarts.

use tempfile::TempDir;

use super::*;
use crate::pool::testing;

const LAST: u32 = INTERFACE_TABLES.end - 1;

fn interface(id: &str, network_card: u32, device_index: u32) -> Interface {
    Interface {
        id: InterfaceId::new(id),
        device_index,
        network_card,
        primary: false,
        ..testing::interface()
    }
}

fn id(text: &str) -> InterfaceId {
    InterfaceId::new(text)
}

fn by_index(device_index: u32) -> u32 {
    INTERFACE_TABLE_BASE + device_index
}

/// A node's journal, and what its kernel has rules for.
struct Node {
    folder: TempDir,
    in_kernel: Vec<u32>,
}

impl Node {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("temp folder"),
            in_kernel: Vec::new(),
        }
    }

    fn boot(&self, boot: &str) -> RoutingTables {
        let journal = Journal::new(self.folder.path(), boot);
        let found = FoundTables::read(&journal, &self.in_kernel).expect("reads");
        RoutingTables::new(journal, found)
    }

    fn start(&self) -> RoutingTables {
        self.boot("boot-1")
    }
}

#[test]
fn an_interface_of_the_default_card_has_the_table_of_its_device_index() {
    let mut tables = Node::new().start();
    assert_eq!(tables.of(&id("eni-a")), None);
    for (name, index) in [("eni-a", 1), ("eni-b", 2)] {
        for _ in 0..2 {
            let given = tables.allot(&interface(name, 0, index));
            assert_eq!(given, Some(by_index(index)));
        }
        assert_eq!(tables.of(&id(name)), Some(by_index(index)));
    }
}

#[test]
fn two_interfaces_never_have_one_table_though_their_device_indexes_are_equal() {
    let mut tables = Node::new().start();
    let given = [(2, "eni-c"), (0, "eni-a"), (1, "eni-b"), (0, "eni-d")]
        .map(|(card, name)| tables.allot(&interface(name, card, 1)));
    assert_eq!(given, [LAST, by_index(1), LAST - 1, LAST - 2].map(Some));
}

#[test]
fn a_device_index_beyond_the_range_has_a_table_within_it() {
    let mut tables = Node::new().start();
    for (name, index) in [("eni-a", 100_000), ("eni-b", u32::MAX)] {
        let table = tables.allot(&interface(name, 0, index)).expect("one");
        assert!(INTERFACE_TABLES.contains(&table), "{table}");
    }
}

#[test]
fn an_interface_keeps_its_table_over_a_restart() {
    let node = Node::new();
    let mut before = node.start();
    before.allot(&interface("eni-a", 0, 1));
    let other = before.allot(&interface("eni-b", 1, 1));
    let mut after = node.start();
    assert_eq!(after.allot(&interface("eni-b", 1, 1)), other);
    assert_eq!(after.of(&id("eni-a")), Some(by_index(1)));
}

#[test]
fn a_reboot_leaves_no_table_taken() {
    let node = Node::new();
    node.start().allot(&interface("eni-old", 0, 1));
    let mut tables = node.boot("boot-2");
    assert_eq!(tables.of(&id("eni-old")), None);
    let given = tables.allot(&interface("eni-new", 0, 1));
    assert_eq!(given, Some(by_index(1)));
    assert_eq!(node.boot("boot-2").of(&id("eni-new")), given);
}

#[test]
fn interfaces_of_a_daemon_that_kept_no_entries_keep_the_tables_that_the_kernel_has() {
    let node = Node {
        in_kernel: vec![by_index(1), by_index(2)],
        ..Node::new()
    };
    let mut tables = node.start();
    let given = tables.allot(&interface("eni-a", 0, 1));
    assert_eq!(given, Some(by_index(1)));
    let unused = tables.take_unused(|one| *one == id("eni-a"));
    assert_eq!(unused, [by_index(2)], "no interface explains its rules");
}

#[test]
fn tables_of_other_programs_are_left_alone() {
    let node = Node {
        in_kernel: vec![254, INTERFACE_TABLE_BASE - 1, INTERFACE_TABLES.end],
        ..Node::new()
    };
    let unused = node.start().take_unused(|_| false);
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn a_table_is_free_when_its_rules_are_gone_and_not_before() {
    let node = Node::new();
    let mut tables = node.start();
    tables.allot(&interface("eni-old", 0, 1));
    let gone = |tables: &mut RoutingTables| tables.take_unused(|one| *one != id("eni-old"));
    assert_eq!(gone(&mut tables), [by_index(1)]);
    assert!(gone(&mut tables).is_empty(), "they are being removed");
    let meanwhile = tables.allot(&interface("eni-b", 0, 1));
    assert_eq!(meanwhile, Some(LAST));
    tables.cleared(by_index(1));
    let next = tables.allot(&interface("eni-c", 0, 1));
    assert_eq!(next, Some(by_index(1)));
    assert_eq!(node.start().of(&id("eni-old")), None);
}

#[test]
fn a_refusal_keeps_the_table_taken_until_a_later_try_succeeds() {
    let mut tables = Node::new().start();
    tables.allot(&interface("eni-old", 0, 1));
    assert_eq!(tables.take_unused(|_| false), [by_index(1)]);
    tables.refused(by_index(1));
    assert!(tables.take_unused(|_| false).is_empty());
    tables.try_again();
    assert_eq!(tables.take_unused(|_| false), [by_index(1)]);
    tables.cleared(by_index(1));
    tables.try_again();
    assert!(tables.take_unused(|_| false).is_empty());
}

#[test]
fn a_refused_table_is_not_given_to_an_interface_that_has_its_index() {
    let mut tables = Node::new().start();
    tables.allot(&interface("eni-old", 0, 1));
    tables.take_unused(|_| false);
    tables.refused(by_index(1));
    tables.try_again();
    let next = tables.allot(&interface("eni-new", 0, 1));
    assert_eq!(next, Some(LAST));
}

#[test]
fn a_start_finds_tables_whose_interface_has_gone_meanwhile() {
    let node = Node::new();
    node.start().allot(&interface("eni-old", 0, 1));
    let mut tables = node.start();
    tables.allot(&interface("eni-new", 0, 1));
    let unused = tables.take_unused(|one| *one == id("eni-new"));
    assert_eq!(unused, [by_index(1)]);
}

#[test]
fn a_table_that_cannot_be_written_down_is_given_all_the_same() {
    let node = Node::new();
    std::fs::write(node.folder.path().join("journal"), "no folder").expect("writes");
    let journal = Journal::new(node.folder.path(), "boot-1");
    let mut tables = RoutingTables::new(journal, FoundTables::default());
    let given = tables.allot(&interface("eni-a", 0, 1));
    assert_eq!(given, Some(by_index(1)));
    assert_eq!(tables.of(&id("eni-a")), given);
}
