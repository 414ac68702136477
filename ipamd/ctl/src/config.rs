//! `veni config`: asks the node's daemon for its settings and prints them.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use veni_api::client::connect_operator;
use veni_api::v1::{Setting, SettingsRequest};
use veni_terminal::output::write_json;
use veni_terminal::{print, printable};

use crate::daemon::DaemonArguments;
use crate::table::{render, terminal_width, width_of, wrap};

/// Most columns for a value, a source or a default; longer texts are cut.
const NARROW: usize = 26;
/// Fewest columns for the effects. With fewer, the settings are printed as blocks.
const ROOM_FOR_EFFECTS: usize = 36;
/// Blanks before the lines under a setting.
const INDENT: &str = "    ";
/// Shortest lines worth wrapping to.
const SHORTEST: usize = 20;

/// What to ask, and whom.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// Only settings whose names contain one of these, in upper or lower case
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Only what the environment sets to something else than the default
    #[arg(long)]
    changed: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: ConfigArguments) -> anyhow::Result<()> {
    let settings = arguments.chosen(fetch(&arguments.daemon.socket()).await?)?;
    if arguments.json {
        let all: Vec<Value> = settings.iter().map(as_json).collect();
        write_json(&serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", as_text(&settings, terminal_width()));
    }
    Ok(())
}

async fn fetch(socket: &Path) -> anyhow::Result<Vec<Setting>> {
    let mut client = connect_operator(socket).await.with_context(|| {
        "is ipamd running on this node? Only root may ask it, and `--run-dir` must be its own. \
         Without it, `ipamd --settings` prints every setting with its default and \
         effect, and `ipamd --check-settings` what an environment makes of them"
    })?;
    let answer = client.settings(SettingsRequest {}).await.context(
        "failed to ask the daemon for its settings; an older one prints them with `ipamd --settings`",
    )?;
    Ok(answer.into_inner().settings)
}

impl ConfigArguments {
    /// The settings that were asked for.
    fn chosen(&self, settings: Vec<Setting>) -> anyhow::Result<Vec<Setting>> {
        let asked: Vec<String> = self.names.iter().map(|n| n.to_uppercase()).collect();
        let is = |setting: &Setting, asked: &str| setting.name.to_uppercase().contains(asked);
        for (asked, name) in asked.iter().zip(&self.names) {
            anyhow::ensure!(
                settings.iter().any(|setting| is(setting, asked)),
                "no setting has {name} in its name; `veni config` without names shows them all"
            );
        }
        let wanted = |setting: &Setting| {
            (asked.is_empty() || asked.iter().any(|asked| is(setting, asked)))
                && (!self.changed || is_changed(setting))
        };
        Ok(settings.into_iter().filter(wanted).collect())
    }
}

fn is_changed(setting: &Setting) -> bool {
    setting.source == "environment" && setting.value != setting.default
}

/// The setting's effect, and why it has none here.
fn explanation(setting: &Setting) -> String {
    let mut parts = vec![setting.effect.clone()];
    if !setting.why.is_empty() {
        let label = match setting.disposition.as_str() {
            // The daemon runs, so the value in force is not one that it refuses.
            "refused" => "other values are refused",
            other => other,
        };
        parts.push(format!("{label}: {}.", setting.why));
    }
    if !setting.note.is_empty() {
        parts.push(format!("({})", setting.note));
    }
    parts.join(" ")
}

/// A table, or blocks of lines on a terminal that is too narrow for one.
fn as_text(settings: &[Setting], width: Option<usize>) -> String {
    if settings.is_empty() {
        return "nothing: every setting is at its default\n".to_owned();
    }
    let in_blocks = |width| settings.iter().map(|one| block(one, width)).collect();
    table(settings, width).unwrap_or_else(|| width.map_or_else(String::new, in_blocks))
}

/// One row per setting: on one line where there is no terminal, wrapped to its width where
/// there is one. `None` when that leaves too little room for the effects.
fn table(settings: &[Setting], width: Option<usize>) -> Option<String> {
    let headings = ["name", "value", "source", "default", "effect"];
    let narrow = width.map_or(usize::MAX, |_| NARROW);
    let mut rows: Vec<[Vec<String>; 5]> = settings
        .iter()
        .map(|one| {
            let cells = [&one.value, &one.source, &one.default];
            let [value, source, default] = cells.map(|text| cell(text, narrow));
            [vec![one.name.clone()], value, source, default, Vec::new()]
        })
        .collect();
    let lines = |rows: &[[Vec<String>; 5]]| rows.iter().flat_map(lines).collect::<Vec<_>>();
    let taken = render(&headings[..4], lines(&rows))
        .lines()
        .map(width_of)
        .max()
        .unwrap_or_default();
    let room = match width {
        Some(width) => width
            .checked_sub(taken + 2)
            .filter(|room| *room >= ROOM_FOR_EFFECTS)?,
        None => usize::MAX,
    };
    for (row, setting) in rows.iter_mut().zip(settings) {
        row[4] = wrap(&explanation(setting), room);
    }
    Some(render(&headings, lines(&rows)))
}

/// A dash for an empty cell, so that scripts can tell the columns apart.
fn cell(text: &str, width: usize) -> Vec<String> {
    if text.is_empty() {
        vec!["-".to_owned()]
    } else {
        wrap(text, width)
    }
}

/// The lines of a row whose cells have several.
fn lines(row: &[Vec<String>; 5]) -> Vec<Vec<String>> {
    let height = row.iter().map(Vec::len).max().unwrap_or_default();
    let line = |index: usize| {
        let cells = row.iter().map(|cell| cell.get(index).cloned());
        cells.map(Option::unwrap_or_default).collect()
    };
    (0..height).map(line).collect()
}

/// A setting in a few lines, for narrow terminals.
fn block(setting: &Setting, width: usize) -> String {
    let mut begin = format!("{}={} [{}", setting.name, setting.value, setting.source);
    if setting.source != "default" && !setting.default.is_empty() {
        begin.push_str(&format!("; default {}", setting.default));
    }
    let mut text = format!("{}]\n", printable::line(&begin));
    let room = width.saturating_sub(INDENT.len()).max(SHORTEST);
    for line in wrap(&explanation(setting), room) {
        text.push_str(&format!("{INDENT}{line}\n"));
    }
    text
}

fn as_json(setting: &Setting) -> Value {
    json!({
        "name": setting.name,
        "value": setting.value,
        "source": setting.source,
        "default": setting.default,
        "effect": setting.effect,
        "disposition": setting.disposition,
        "why": setting.why,
        "note": setting.note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str, source: &str, default: &str) -> Setting {
        Setting {
            name: name.to_owned(),
            value: value.to_owned(),
            source: source.to_owned(),
            default: default.to_owned(),
            effect: "Does one thing and another thing too.".to_owned(),
            disposition: "honoured".to_owned(),
            ..Setting::default()
        }
    }

    fn three() -> Vec<Setting> {
        vec![
            setting("WARM_IP_TARGET", "5", "environment", "unset"),
            setting("WARM_ENI_TARGET", "1", "environment", "1"),
            setting("MAX_ENI", "3", "limit of m5.large", "the type's limit"),
        ]
    }

    fn arguments(names: &[&str], changed: bool) -> ConfigArguments {
        ConfigArguments {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            daemon: DaemonArguments::default(),
            changed,
            json: false,
        }
    }

    fn names(arguments: &ConfigArguments) -> Vec<String> {
        let chosen = arguments.chosen(three()).expect("must be found");
        chosen.into_iter().map(|setting| setting.name).collect()
    }

    #[test]
    fn settings_are_chosen_by_parts_of_their_names() {
        let warm = ["WARM_IP_TARGET", "WARM_ENI_TARGET"];
        assert_eq!(names(&arguments(&["warm"], false)), warm);
        assert_eq!(
            names(&arguments(&["max_eni", "WARM_IP"], false)),
            ["WARM_IP_TARGET", "MAX_ENI"]
        );
        let error = arguments(&["warm", "cold"], false).chosen(three());
        let error = error.expect_err("there is none").to_string();
        assert!(error.contains("no setting has cold in its name"), "{error}");
    }

    #[test]
    fn changed_is_what_the_environment_sets_to_something_else_than_the_default() {
        assert_eq!(names(&arguments(&[], true)), ["WARM_IP_TARGET"]);
        assert_eq!(
            as_text(&[], None),
            "nothing: every setting is at its default\n"
        );
    }

    #[test]
    fn without_a_terminal_every_setting_is_one_line() {
        let text = as_text(&three(), None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(
            lines[3],
            "MAX_ENI          3      limit of m5.large  the type's limit  Does one thing and another thing too."
        );
    }

    #[test]
    fn lines_fit_into_terminals_of_every_width() {
        let long = "10.0.0.0/8,192.168.0.0/16,172.16.0.0/12,100.64.0.0/10,198.18.0.0/15";
        let mut all = three();
        all.push(setting("RANGES", long, "environment", ""));
        for width in [70, 79, 100, 110, 120, 160, 400] {
            let text = as_text(&all, Some(width));
            for line in text.lines() {
                let length = line.chars().count();
                let fits = length <= width || line.starts_with("RANGES=");
                assert!(fits, "{width}: {line}");
            }
            assert_eq!(text.starts_with("NAME "), width >= 120, "{width}: {text}");
        }
        let narrow = as_text(&three()[..1], Some(30));
        assert_eq!(
            narrow,
            "WARM_IP_TARGET=5 [environment; default unset]\n    Does one thing and another\n    thing too.\n"
        );
    }

    #[test]
    fn what_is_refused_or_idle_says_why() {
        let refused = Setting {
            disposition: "refused".to_owned(),
            why: "there is nothing of the kind".to_owned(),
            note: "used only with X".to_owned(),
            ..setting("A", "false", "default", "false")
        };
        let text = as_text(std::slice::from_ref(&refused), None);
        assert!(
            text.contains(
                "other values are refused: there is nothing of the kind. (used only with X)"
            ),
            "{text}"
        );
        let json = as_json(&refused);
        assert_eq!(json["disposition"], "refused");
        assert_eq!(json["why"], "there is nothing of the kind");
    }
}
