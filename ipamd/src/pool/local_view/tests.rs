//! Local views on a pool of one interface, by a clock that the tests turn.

use ipnet::IpNet;

use super::*;
use crate::pool::testing::{MAC, SETTLE, holdings, interface};

const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PATIENCE: Duration = SETTLE.saturating_mul(2);

fn truth() -> LocalView {
    LocalView {
        interfaces: BTreeMap::from([(MAC, interface().ranges())]),
        marks: BTreeSet::from(["sg-1".to_owned()]),
    }
}

fn with(ranges: &[&str]) -> LocalView {
    let mut view = truth();
    let more = ranges
        .iter()
        .map(|text| text.parse::<IpNet>().expect("a range"));
    view.interfaces
        .get_mut(&MAC)
        .expect("is there")
        .extend(more);
    view
}

/// Local views, a second apart each.
struct Watch {
    differences: Differences,
    holdings: Holdings,
    own: OwnChanges,
    now: Instant,
}

impl Watch {
    fn new() -> Self {
        Self {
            differences: Differences::default(),
            holdings: holdings(),
            own: OwnChanges::default(),
            now: Instant::now(),
        }
    }

    fn after(&mut self, seconds: u64, view: LocalView) -> Verdict {
        self.now += Duration::from_secs(seconds);
        let Self {
            differences,
            holdings,
            own,
            now,
        } = self;
        differences.take(view, holdings, own, *now, PATIENCE)
    }

    /// How many of some local views, ten seconds apart, lead to a look.
    fn looks(&mut self, views: impl IntoIterator<Item = LocalView>) -> usize {
        let verdicts = views.into_iter().map(|one| self.after(10, one));
        let looks = verdicts.filter(|verdict| matches!(verdict, Verdict::Refresh(_)));
        looks.count()
    }
}

#[test]
fn what_is_known_is_no_news() {
    let mut watch = Watch::new();
    assert_eq!(watch.looks(vec![truth(); 20]), 0);
}

#[test]
fn a_difference_is_looked_into_once_when_it_has_lasted() {
    let mut watch = Watch::new();
    let foreign = with(&["10.0.0.77/32"]);
    let due = watch.now + Duration::from_secs(1) + PATIENCE;
    assert_eq!(watch.after(1, foreign.clone()), Verdict::ViewAgain(due));
    let verdict = watch.after(10, foreign.clone());
    assert!(
        matches!(&verdict, Verdict::Refresh(found) if found.to_string().contains("10.0.0.77/32")),
        "{verdict:?}"
    );
    assert_eq!(watch.looks(vec![foreign; 50]), 0);
}

#[test]
fn a_difference_that_passes_is_not_looked_into() {
    let mut watch = Watch::new();
    let lagging = || LocalView {
        interfaces: BTreeMap::from([(MAC, BTreeSet::new())]),
        ..truth()
    };
    watch.after(1, lagging());
    assert_eq!(watch.looks([truth(), lagging(), truth()]), 0);
}

#[test]
fn a_second_difference_is_looked_into_though_the_first_is_still_there() {
    let mut watch = Watch::new();
    let first = with(&["10.0.0.77/32"]);
    assert_eq!(watch.looks([first.clone(), first.clone()]), 1);
    let second = with(&["10.0.0.77/32", "10.0.0.96/28"]);
    assert_eq!(watch.looks([second.clone(), second.clone(), second]), 1);
}

#[test]
fn interfaces_that_come_and_go_are_differences() {
    let mut watch = Watch::new();
    let mut plugged = truth();
    plugged.interfaces.insert(OTHER, BTreeSet::new());
    assert_eq!(watch.looks([plugged.clone(), plugged]), 1);
    let unplugged = LocalView {
        interfaces: BTreeMap::new(),
        ..truth()
    };
    assert_eq!(watch.looks([unplugged.clone(), unplugged]), 1);
}

#[test]
fn what_the_daemon_is_changing_is_no_news() {
    let mut watch = Watch::new();
    watch.own.of.insert(MAC);
    let own = with(&["10.0.0.77/32"]);
    assert_eq!(watch.looks(vec![own.clone(); 5]), 0);
    watch.own = OwnChanges {
        arrivals: true,
        ..OwnChanges::default()
    };
    let mut arriving = truth();
    arriving.interfaces.insert(OTHER, BTreeSet::new());
    assert_eq!(watch.looks(vec![arriving; 5]), 0);
    // Twin: once nothing is under way, the same is news.
    watch.own = OwnChanges::default();
    assert_eq!(watch.looks(vec![own; 5]), 1);
}

#[test]
fn a_changed_mark_is_looked_into_once_and_so_is_its_way_back() {
    let mut watch = Watch::new();
    watch.after(1, truth());
    let changed = LocalView {
        marks: BTreeSet::from(["sg-2".to_owned()]),
        ..truth()
    };
    assert_eq!(watch.looks(vec![changed; 10]), 1);
    assert_eq!(watch.looks(vec![truth(); 10]), 1);
}
