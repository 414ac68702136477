//! `veni check`: has the daemon compare journal, kernel and cloud, and prints what differs.

mod without_daemon;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use veni_api::v1::{CheckNodeRequest, CheckNodeResponse, Finding};
use veni_terminal::output::write_json;
use veni_terminal::print;

use crate::daemon::{DaemonArguments, connect, refused};
use crate::table::{terminal_width, wrap};

/// Columns of the sentences, unless the terminal is narrower.
const WIDTH: usize = 100;
/// Shortest lines worth wrapping to.
const SHORTEST: usize = 40;

/// Differences were found.
const DIFFERENCES: u8 = 1;
/// Something could not be compared, and no difference was found.
const UNCHECKED: u8 = 2;

const AFTER_HELP: &str = "\
Exit status: 0 nothing differs, 1 something differs (with --repair: still), 2 it could not be \
compared, or not all of it";

/// What to compare, and whom to ask.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Mend first what the daemon can mend by itself
    #[arg(long)]
    repair: bool,
    /// Do not ask the cloud for its inventory
    #[arg(long)]
    no_cloud: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: CheckArguments) -> anyhow::Result<ExitCode> {
    let request = CheckNodeRequest {
        repair: arguments.repair,
        without_cloud: arguments.no_cloud,
    };
    let answer = match ask(&arguments.daemon.socket(), request).await {
        Ok(answer) => answer,
        Err(error) => {
            return Ok(without_daemon::tell(
                &arguments.daemon,
                arguments.json,
                &error,
            ));
        }
    };
    if arguments.json {
        write_json(&serde_json::to_string_pretty(&as_json(&answer))?);
    } else {
        let columns = terminal_width().unwrap_or(WIDTH);
        print!("{}", as_text(&answer, columns.clamp(SHORTEST, WIDTH)));
    }
    Ok(status(&answer))
}

/// Has the daemon behind a socket compare.
///
/// # Errors
/// It does not answer, or is not ready.
pub(crate) async fn ask(
    socket: &Path,
    request: CheckNodeRequest,
) -> anyhow::Result<CheckNodeResponse> {
    let mut client = connect(socket).await?;
    let answer = client.check_node(request).await;
    let answer = answer.map_err(|status| refused(status, "a comparison"))?;
    Ok(answer.into_inner())
}

fn status(answer: &CheckNodeResponse) -> ExitCode {
    match (answer.findings.as_slice(), answer.unchecked.as_slice()) {
        ([], []) => ExitCode::SUCCESS,
        ([], _) => ExitCode::from(UNCHECKED),
        _ => ExitCode::from(DIFFERENCES),
    }
}

/// The answer for people, in lines of so many columns.
pub(crate) fn as_text(answer: &CheckNodeResponse, width: usize) -> String {
    let mut text = String::new();
    for (number, finding) in answer.findings.iter().enumerate() {
        let number = format!("{}. ", number + 1);
        text += &hanging(&number, &finding.what, width);
        text += &sentences(finding, width);
    }
    for finding in &answer.mended {
        text += &hanging("mended: ", &finding.what, width);
    }
    for reason in &answer.unchecked {
        text += &hanging("not compared: ", reason, width);
    }
    text += &hanging("", &summary(answer), width);
    text
}

/// What a finding breaks, and its cure.
fn sentences(finding: &Finding, width: usize) -> String {
    let said = [("breaks: ", &finding.breaks), ("cure: ", &finding.cure)];
    let said = said
        .into_iter()
        .filter(|(_, sentence)| !sentence.is_empty());
    said.map(|(word, sentence)| hanging(&format!("   {word}"), sentence, width))
        .collect()
}

/// The outcome in one line.
pub(crate) fn summary(answer: &CheckNodeResponse) -> String {
    let found = match answer.findings.len() {
        0 if answer.unchecked.is_empty() => "nothing differs".to_owned(),
        0 => "nothing differs in what could be compared".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    let cloud = match answer.cloud {
        true => ", and the cloud's inventory",
        false => "; the cloud was not asked",
    };
    let number = |count: u32, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    format!(
        "{found}: {}, {}, the node's rules and settings{cloud}; {} ms",
        number(answer.endpoints, "endpoint"),
        number(answer.interfaces, "interface"),
        answer.took_micros / 1000
    )
}

/// A paragraph whose later lines begin below the first one's text.
fn hanging(first: &str, text: &str, width: usize) -> String {
    let indent = " ".repeat(first.len());
    let lines = wrap(text, width.saturating_sub(first.len()));
    let lines = lines.into_iter().enumerate();
    lines
        .map(|(number, line)| match number {
            0 => format!("{first}{line}\n"),
            _ => format!("{indent}{line}\n"),
        })
        .collect()
}

fn as_json(answer: &CheckNodeResponse) -> Value {
    let findings = |all: &[Finding]| all.iter().map(finding_json).collect::<Vec<_>>();
    json!({
        "findings": findings(&answer.findings),
        "mended": findings(&answer.mended),
        "unchecked": answer.unchecked,
        "endpoints": answer.endpoints,
        "interfaces": answer.interfaces,
        "cloud": answer.cloud,
        "tookMicros": answer.took_micros,
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "what": finding.what,
        "breaks": finding.breaks,
        "cure": finding.cure,
        "mendedByDaemon": finding.mended_by_daemon,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::width_of;

    fn finding() -> Finding {
        Finding {
            kind: "rule".to_owned(),
            what: "rule 512 from all lookup 22016 is missing".to_owned(),
            breaks: "no pod of this node is reached: "
                .repeat(8)
                .trim()
                .to_owned(),
            cure: "the daemon mends it by itself; at once: veni check --repair".to_owned(),
            mended_by_daemon: true,
        }
    }

    fn answer(findings: Vec<Finding>, unchecked: &[&str]) -> CheckNodeResponse {
        CheckNodeResponse {
            findings,
            unchecked: unchecked.iter().map(|text| (*text).to_owned()).collect(),
            endpoints: 12,
            interfaces: 1,
            cloud: true,
            took_micros: 41_300,
            ..CheckNodeResponse::default()
        }
    }

    #[test]
    fn each_difference_has_a_number_what_it_breaks_and_its_cure() {
        let text = as_text(&answer(vec![finding(), finding()], &[]), WIDTH);
        assert!(text.starts_with("1. rule 512"), "{text}");
        assert!(text.contains("\n2. rule 512"), "{text}");
        assert_eq!(text.matches("   breaks: no pod").count(), 2, "{text}");
        assert_eq!(text.matches("   cure: the daemon").count(), 2, "{text}");
        assert!(
            text.contains("2 differences: 12 endpoints, 1 interface,"),
            "{text}"
        );
        assert!(text.lines().all(|line| width_of(line) <= WIDTH), "{text}");
    }

    #[test]
    fn what_says_all_in_one_sentence_is_one() {
        let sentence = Finding {
            breaks: String::new(),
            cure: String::new(),
            ..finding()
        };
        let text = as_text(&answer(vec![sentence], &[]), WIDTH);
        assert!(text.starts_with("1. rule 512 from all lookup 22016 is missing\n1 difference"));
    }

    #[test]
    fn the_exit_status_tells_differences_from_what_could_not_be_compared() {
        let status = |findings, unchecked| format!("{:?}", status(&answer(findings, unchecked)));
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(status(vec![], &[]), code(0));
        assert_eq!(status(vec![finding()], &[]), code(1));
        assert_eq!(status(vec![finding()], &["the cloud: away"]), code(1));
        assert_eq!(status(vec![], &["the cloud: away"]), code(2));
    }

    #[test]
    fn a_sound_node_is_one_line() {
        let expected = "nothing differs: 12 endpoints, 1 interface, the node's rules and settings, \
                        and the cloud's inventory; 41 ms";
        assert_eq!(summary(&answer(vec![], &[])), expected);
        assert_eq!(as_text(&answer(vec![], &[]), 200), format!("{expected}\n"));
    }
}
