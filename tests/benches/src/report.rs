//! The run in words and tables, and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::burst::{Burst, Together};
use crate::contender::Kind;
use crate::daemon::Spent;
use crate::figures::{Samples, mebibytes, table};
use crate::one_by_one::OneByOne;
use crate::ramp::Ramp;
use crate::targets::Target;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The machine.
    pub(crate) before: String,
    /// Load averages at the end.
    pub(crate) load_after: String,
    /// One at a time.
    pub(crate) one_by_one: OneByOne,
    /// All at once.
    pub(crate) bursts: Vec<Burst>,
    /// ADDs and DELs at once.
    pub(crate) mixed: Option<Burst>,
    /// A full node.
    pub(crate) ramp: Option<Ramp>,
    /// The targets, and what was reached.
    pub(crate) targets: Vec<Target>,
}

fn ms(value: f64) -> String {
    format!("{value:.2}")
}

impl Report {
    /// For people.
    pub(crate) fn as_text(&self) -> String {
        let mut text = format!("{}; after: {}\n", self.before, self.load_after);
        let sections = [
            ("One at a time (ms)", one_by_one(&self.one_by_one)),
            (
                "Where an ADD's time goes (ms, means)",
                phases(&self.one_by_one),
            ),
            ("All at the same instant (ms)", bursts(&self.bursts)),
            (
                "ADDs and DELs at the same instant (ms)",
                mixed(self.mixed.as_ref()),
            ),
            (
                "A full node",
                self.ramp.as_ref().map(full_node).unwrap_or_default(),
            ),
            ("Targets", targets(&self.targets)),
        ];
        for (title, section) in sections {
            if !section.is_empty() {
                text.push_str(&format!("\n{title}\n{section}"));
            }
        }
        text
    }

    /// For programs.
    pub(crate) fn as_json(&self) -> Value {
        json!({
            "machine": self.before,
            "load_after": self.load_after,
            "one_at_a_time": {
                "add": by_kind(&self.one_by_one.add, Samples::as_json),
                "del": by_kind(&self.one_by_one.del, Samples::as_json),
                "add_without_host_port": self.one_by_one.ports.add_without.as_json(),
                "add_with_host_port": self.one_by_one.ports.add_with.as_json(),
                "del_without_host_port": self.one_by_one.ports.del_without.as_json(),
                "del_with_host_port": self.one_by_one.ports.del_with.as_json(),
                "version": self.one_by_one.version.as_json(),
                "status": self.one_by_one.status.as_json(),
                "add_phases_ms": phases_json(&self.one_by_one.add_phases),
                "del_phases_ms": phases_json(&self.one_by_one.del_phases),
            },
            "at_once": self.bursts.iter().map(burst_json).collect::<Vec<_>>(),
            "mixed": self.mixed.as_ref().map(burst_json),
            "full_node": self.ramp.as_ref().map(ramp_json),
            "targets": self.targets.iter().map(|target| json!({
                "what": target.what,
                "aim": target.aim,
                "measured": target.measured,
                "reached": target.reached,
            })).collect::<Vec<_>>(),
        })
    }
}

fn one_by_one(figures: &OneByOne) -> String {
    let mut rows = Vec::new();
    for (operation, by_kind) in [("ADD", &figures.add), ("DEL", &figures.del)] {
        for (kind, samples) in by_kind {
            rows.push(row(&format!("{operation} {}", kind.name()), samples));
        }
    }
    let ports = &figures.ports;
    for (name, samples) in [
        ("ADD without a host port", &ports.add_without),
        ("ADD with one", &ports.add_with),
        ("DEL without a host port", &ports.del_without),
        ("DEL with one", &ports.del_with),
    ] {
        rows.push(row(name, samples));
    }
    rows.push(row("VERSION veni-cni", &figures.version));
    rows.push(row("STATUS veni-cni", &figures.status));
    let header = [
        "",
        "n",
        "p50",
        "p90",
        "p99",
        "CPU plugin",
        "CPU daemon",
        "MiB plugin",
    ];
    table(&header, &rows)
}

fn row(name: &str, samples: &Samples) -> Vec<String> {
    vec![
        name.to_owned(),
        samples.count().to_string(),
        ms(samples.median()),
        ms(samples.quantile(0.9)),
        ms(samples.quantile(0.99)),
        ms(samples.plugin_cpu()),
        ms(samples.daemon_cpu()),
        format!("{:.1}", samples.memory()),
    ]
}

fn per_operation(phases: &BTreeMap<String, Spent>, phase: &str) -> f64 {
    let spent = phases.get(phase).copied().unwrap_or_default();
    spent.seconds * 1e3 / spent.count.max(1.0)
}

/// Means, because only they add up.
fn phases(figures: &OneByOne) -> String {
    let Some(add) = figures.add.get(&Kind::Veni) else {
        return String::new();
    };
    let (start, status) = (figures.version.mean(), figures.status.mean());
    let of = |phase| per_operation(&figures.add_phases, phase);
    let (acquire, journal, kernel) = (of("acquire"), of("journal"), of("kernel"));
    let between = of("total") - acquire - journal - kernel;
    let rest = add.mean() - status - of("total");
    let lines = [
        (
            "plugin: exec, libc, reading the input, exit (VERSION)",
            start,
        ),
        (
            "connection and an empty call (STATUS, less VERSION)",
            status - start,
        ),
        ("daemon: address out of the pool", acquire),
        ("daemon: journal, intent and commit", journal),
        ("daemon: kernel, from its queue to its answer", kernel),
        ("daemon: between these", between),
        ("namespace, request, log, answer (the rest)", rest),
        ("ADD as the runtime sees it", add.mean()),
    ];
    let row = |(name, value): &(&str, f64)| vec![(*name).to_owned(), ms(*value)];
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    table(&["", "ms"], &rows)
}

fn bursts(bursts: &[Burst]) -> String {
    let mut rows = Vec::new();
    for burst in bursts {
        for (operation, by_kind) in [("ADD", &burst.add), ("DEL", &burst.del)] {
            for (kind, together) in by_kind {
                let name = format!("{} {operation} {}", burst.size, kind.name());
                rows.push(together_row(name, together, burst.size));
            }
        }
    }
    burst_table(&rows)
}

fn mixed(burst: Option<&Burst>) -> String {
    let Some(burst) = burst else {
        return String::new();
    };
    let mut rows = Vec::new();
    for (operation, by_kind) in [("ADD", &burst.add), ("DEL", &burst.del)] {
        for (kind, together) in by_kind {
            let name = format!("{} {operation} {}", burst.size, kind.name());
            rows.push(together_row(name, together, burst.size));
        }
    }
    burst_table(&rows)
}

fn burst_table(rows: &[Vec<String>]) -> String {
    table(
        &["", "wall", "p50", "p90", "p99", "per s", "CPU plugin"],
        rows,
    )
}

fn together_row(name: String, together: &Together, size: usize) -> Vec<String> {
    let samples = &together.samples;
    vec![
        name,
        ms(together.wall()),
        ms(samples.median()),
        ms(samples.quantile(0.9)),
        ms(samples.quantile(0.99)),
        format!("{:.0}", size as f64 * 1e3 / together.wall()),
        ms(samples.plugin_cpu()),
    ]
}

fn full_node(ramp: &Ramp) -> String {
    let micros = |value: f64| format!("{:.2}", value * 1e3);
    let mut rows = Vec::new();
    for stage in &ramp.stages {
        rows.push(vec![
            match stage.pods {
                1 => "1 pod".to_owned(),
                pods => format!("{pods} pods"),
            },
            micros(stage.packets.median()),
            micros(stage.packets.quantile(0.99)),
            micros(stage.control.median()),
            format!("{:.1}", mebibytes(stage.resident_kib)),
            format!("{:.1}", mebibytes(stage.anonymous_kib)),
        ]);
    }
    rows.push(vec![
        "with two more rules per pod".to_owned(),
        micros(ramp.with_rules.median()),
        micros(ramp.with_rules.quantile(0.99)),
    ]);
    let header = [
        "",
        "packet p50 us",
        "p99 us",
        "control p50 us",
        "daemon RSS MiB",
        "anonymous MiB",
    ];
    let packets = table(&header, &rows);
    let ends = [
        ("veni-cni on an empty node", &ramp.first),
        ("veni-cni on the full node", &ramp.last),
        ("floor on an empty node", &ramp.floor_first),
        ("floor on the full node", &ramp.floor_last),
    ];
    let rows: Vec<Vec<String>> = ends
        .iter()
        .map(|(name, samples)| row(name, samples))
        .collect();
    let header = [
        "ADDs (ms)",
        "n",
        "p50",
        "p90",
        "p99",
        "CPU plugin",
        "CPU daemon",
        "MiB plugin",
    ];
    format!("{packets}\n{}", table(&header, &rows))
}

fn targets(targets: &[Target]) -> String {
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            let reached = if target.reached { "reached" } else { "missed" };
            vec![
                target.what.to_owned(),
                target.aim.clone(),
                target.measured.clone(),
                reached.to_owned(),
            ]
        })
        .collect();
    table(&["", "target", "measured", ""], &rows)
}

fn by_kind<T>(map: &BTreeMap<Kind, T>, value: impl Fn(&T) -> Value) -> Value {
    map.iter()
        .map(|(kind, one)| (kind.name().to_owned(), value(one)))
        .collect()
}

fn phases_json(phases: &BTreeMap<String, Spent>) -> Value {
    phases
        .keys()
        .map(|phase| (phase.clone(), json!(per_operation(phases, phase))))
        .collect()
}

fn burst_json(burst: &Burst) -> Value {
    let together = |together: &Together| {
        let mut value = together.samples.as_json();
        value["wall_ms"] = json!(together.wall());
        value["per_second"] = json!(burst.size as f64 * 1e3 / together.wall());
        value
    };
    json!({
        "size": burst.size,
        "add": by_kind(&burst.add, together),
        "del": by_kind(&burst.del, together),
    })
}

fn ramp_json(ramp: &Ramp) -> Value {
    let stages: Vec<Value> = ramp
        .stages
        .iter()
        .map(|stage| {
            json!({
                "pods": stage.pods,
                "packets": stage.packets.as_json(),
                "control": stage.control.as_json(),
                "daemon_rss_mib": mebibytes(stage.resident_kib),
                "daemon_anonymous_mib": mebibytes(stage.anonymous_kib),
            })
        })
        .collect();
    json!({
        "stages": stages,
        "first_adds": ramp.first.as_json(),
        "last_adds": ramp.last.as_json(),
        "floor_first_adds": ramp.floor_first.as_json(),
        "floor_last_adds": ramp.floor_last.as_json(),
        "prefix_rules": ramp.prefix_rules,
        "packets_with_two_rules_per_pod": ramp.with_rules.as_json(),
    })
}
