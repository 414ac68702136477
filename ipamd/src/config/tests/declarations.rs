//! Each setting is declared once, read once, and documented by its declaration.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::read;
use crate::config::reader::Reader;
use crate::config::setting::{Setting, one_of, read_by, text_if_set, truth, whole};
use crate::config::variable::{Condition, DefaultValue};
use crate::config::{Config, Disposition, Variable, variables};

/// Read by `crate::crash` itself, at each point.
const READ_ELSEWHERE: &str = "VENI_CRASH_AT";

#[test]
fn no_setting_is_declared_twice() {
    for variable in variables(&crate::app::providers()) {
        let same = variables(&crate::app::providers()).filter(|other| other.name == variable.name);
        assert_eq!(same.count(), 1, "{}", variable.name);
    }
}

#[test]
fn every_declared_setting_is_read_exactly_once_and_no_other() {
    let lookups: RefCell<BTreeMap<String, u32>> = RefCell::default();
    let lookup = |name: &str| {
        *lookups.borrow_mut().entry(name.to_owned()).or_default() += 1;
        (name == "VENI_PROVIDER").then(|| "mock".to_owned())
    };
    Config::try_new(&crate::app::providers(), &lookup, "node-1").expect("valid");
    let declared =
        variables(&crate::app::providers()).map(|variable| (variable.name.to_owned(), 1));
    let expected: BTreeMap<String, u32> = declared
        .filter(|(name, _)| name != READ_ELSEWHERE)
        .collect();
    assert_eq!(*lookups.borrow(), expected);
}

/// The default as a text that the environment may have; `None` where it is only words.
fn spelled(variable: &Variable) -> Option<String> {
    match variable.default {
        DefaultValue::Truth(_)
        | DefaultValue::Number(_)
        | DefaultValue::Bits(_)
        | DefaultValue::Text(_) => Some(variable.default.to_string()),
        DefaultValue::WhereItExists(_) | DefaultValue::InWords(_) | DefaultValue::MustBeSet(_) => {
            None
        }
    }
}

#[test]
fn a_declared_default_is_what_an_unset_variable_means() {
    let unset = read(&[]).expect("valid");
    for variable in variables(&crate::app::providers()) {
        let honoured = variable.disposition == Disposition::Honoured;
        let Some(default) = spelled(variable).filter(|_| honoured) else {
            continue;
        };
        let mut set = read(&[(variable.name, &default)])
            .unwrap_or_else(|error| panic!("{}={default}: {error}", variable.name));
        set.given = unset.given.clone();
        let (set, unset) = (format!("{set:?}"), format!("{unset:?}"));
        assert_eq!(set, unset, "{}={default}", variable.name);
    }
}

/// Reads one setting out of an environment that has only it.
fn read_one<T: Clone>(setting: &Setting<T>, text: &str) -> (T, Vec<String>) {
    let lookup = |name: &str| (name == setting.variable.name).then(|| text.to_owned());
    let mut reader = Reader::new(&lookup);
    let value = reader.read(setting);
    (value, reader.finish().0)
}

#[test]
fn a_wrong_value_is_a_problem_and_the_default_is_read_on_with() {
    let pods = Setting::new("PODS", whole(1..=9, 6), "Pods.");
    assert_eq!(read_one(&pods, " 9 "), (9, Vec::new()));
    assert_eq!(read_one(&pods, "  "), (6, Vec::new()));
    let reason = "PODS=10: must be a whole number from 1 to 9".to_owned();
    assert_eq!(read_one(&pods, "10"), (6, vec![reason]));
    let reason = "PODS=4: must be a whole number from 5 to 9".to_owned();
    assert_eq!(read_one(&pods.at_least(5), "4"), (6, vec![reason]));
}

#[test]
fn every_kind_of_value_reads_its_texts_and_names_the_right_ones() {
    let on = Setting::new("ON", truth(true), "On.");
    assert_eq!(read_one(&on, "F"), (false, Vec::new()));
    let reason = "ON=off: must be true or false".to_owned();
    assert_eq!(read_one(&on, "off"), (true, vec![reason]));

    let size = Setting::new(
        "SIZE",
        one_of(&[("small", 1), ("large", 2)], "large"),
        "Size.",
    );
    assert_eq!(read_one(&size, "small"), (1, Vec::new()));
    let reason = "SIZE=huge: must be one of small, large".to_owned();
    assert_eq!(read_one(&size, "huge"), (2, vec![reason]));

    let name = Setting::new("NAME", text_if_set("the host's"), "Name.");
    assert_eq!(read_one(&name, "a").0.as_deref(), Some("a"));
    assert_eq!(read_one(&name, ""), (None, Vec::new()));

    let list = read_by(crate::config::parse::ranges, DefaultValue::Text(""));
    let list = Setting::new("LIST", list, "List.");
    let (ranges, problems) = read_one(&list, "10.0.0.0/8, x,, fd00::/8, y");
    assert!(ranges.is_empty());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].starts_with("LIST=y: must be a range of addresses"));
}

#[test]
fn of_conditions_that_do_not_hold_the_first_is_told() {
    const fn no(note: &'static str) -> Condition {
        Condition {
            note,
            holds: |_| false,
        }
    }
    const YES: Condition = Condition {
        note: "yes",
        holds: |_| true,
    };
    let config = read(&[]).expect("valid");
    let now = crate::config::variable::Situation {
        config: &config,
        facts: None,
    };
    let used = Setting::new("USED", truth(true), "Used.").needs(const { &[YES] });
    let idle = Setting::new("IDLE", truth(true), "Idle.")
        .needs(const { &[YES, no("first"), no("second")] });
    assert_eq!(used.variable.note(&now), "");
    assert_eq!(idle.variable.note(&now), "first");
}

/// The rows of the documentation's tables, one of settings that are honoured, one of
/// refused ones, one of those without effect.
fn tables() -> [Vec<String>; 3] {
    let mut tables = [const { Vec::new() }; 3];
    for variable in variables(&crate::app::providers()) {
        let (name, default, effect) = (variable.name, variable.default, variable.effect);
        let why = variable.disposition.why();
        let (table, row) = match variable.disposition {
            Disposition::Honoured => (0, format!("| `{name}` | {default} | {effect} |")),
            Disposition::Refused { .. } => {
                (1, format!("| `{name}` | {default} | {effect} | {why} |"))
            }
            Disposition::WithoutEffect { .. } => {
                (2, format!("| `{name}` | {default} | {effect} | {why} |"))
            }
        };
        tables[table].push(row);
    }
    tables
}

#[test]
fn the_documentation_s_tables_are_the_declarations_in_their_order() {
    let page = include_str!("../../../../docs/configuration.md");
    for table in tables() {
        let table = table.join("\n");
        assert!(
            page.contains(&table),
            "docs/configuration.md should have this table:\n{table}"
        );
    }
}
