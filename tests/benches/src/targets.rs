//! The targets, and whether a run has reached them.

use crate::contender::Kind;
use crate::figures::mebibytes;
use crate::report::Report;

/// One target.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// What it is about, in words.
    pub(crate) what: &'static str,
    /// The bound, in words.
    pub(crate) aim: String,
    /// What was measured, in words.
    pub(crate) measured: String,
    /// Whether it was reached.
    pub(crate) reached: bool,
}

/// Growth that the measurement cannot distinguish from none.
const INDISTINCT: f64 = 1.1;

/// Compares a run with the targets.
pub(crate) fn compare(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    one_at_a_time(report, &mut targets);
    together(report, &mut targets);
    full_node(report, &mut targets);
    targets
}

fn at_most(what: &'static str, measured: f64, aim: f64, unit: &str) -> Target {
    Target {
        what,
        aim: format!("<= {aim:.1}{unit}"),
        measured: format!("{measured:.2}{unit}"),
        reached: measured <= aim,
    }
}

fn one_at_a_time(report: &Report, targets: &mut Vec<Target>) {
    let figures = &report.one_by_one;
    if let (Some(veni), Some(floor)) = (figures.add.get(&Kind::Veni), figures.add.get(&Kind::Floor))
    {
        targets.push(at_most("ADD p50", veni.median(), 3.2, " ms"));
        let ratio = veni.median() / floor.median();
        targets.push(at_most("ADD p50 to the floor's", ratio, 2.0, " times"));
    }
    if let Some(veni) = figures.del.get(&Kind::Veni) {
        targets.push(at_most("DEL p50", veni.median(), 2.0, " ms"));
    }
}

fn together(report: &Report, targets: &mut Vec<Target>) {
    let hundred = report.bursts.iter().find(|burst| burst.size == 100);
    let Some(veni) = hundred.and_then(|burst| burst.add.get(&Kind::Veni)) else {
        return;
    };
    let rate = 100.0 / (veni.wall() / 1e3);
    targets.push(Target {
        what: "100 ADDs at once",
        aim: ">= 600 per s".to_owned(),
        measured: format!("{rate:.0} per s"),
        reached: rate >= 600.0,
    });
    targets.push(at_most(
        "100 ADDs at once, p99",
        veni.samples.quantile(0.99),
        200.0,
        " ms",
    ));
}

fn full_node(report: &Report, targets: &mut Vec<Target>) {
    let Some(ramp) = &report.ramp else { return };
    let growth = ramp.last.median() / ramp.first.median();
    targets.push(at_most(
        "last 50 ADDs to the first 50, p50",
        growth,
        INDISTINCT,
        " times",
    ));
    if let (Some(empty), Some(full)) = (ramp.stages.first(), ramp.stages.last()) {
        let growth = full.packets.median() / empty.packets.median();
        targets.push(at_most(
            "packet on a full to an empty node, p50",
            growth,
            INDISTINCT,
            " times",
        ));
    }
    if let Some(stage) = ramp.stages.iter().find(|stage| stage.pods == 250) {
        let resident = mebibytes(stage.resident_kib);
        targets.push(at_most(
            "daemon's memory at 250 pods",
            resident,
            20.0,
            " MiB",
        ));
    }
}
