//! `veni log-level`: how much the daemon logs, asked and set while it runs.

use clap::Args;
use serde_json::json;
use veni_api::v1::{LogLevelRequest, LogLevelResponse};
use veni_terminal::output::write_json;
use veni_terminal::{print, printable};

use crate::daemon::{DaemonArguments, refused};

const AFTER_HELP: &str = "\
What is set lasts until it is reset, or until the daemon starts again. Without arguments, the \
filter in force is shown, and which subsystems there are.";

/// What to set, and whom to ask.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LogLevelArguments {
    /// What to set: off, error, warn, info, debug or trace, of one subsystem or of all
    #[arg(value_name = "[SUBSYSTEM=]LEVEL")]
    levels: Vec<String>,
    /// Back to the configured levels (AWS_VPC_K8S_CNI_LOGLEVEL), before others are set
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: LogLevelArguments) -> anyhow::Result<()> {
    let mut client = arguments.daemon.connect().await?;
    let request = LogLevelRequest {
        levels: arguments.levels,
        reset: arguments.reset,
    };
    let answer = client.log_level(request).await;
    let answer = answer.map_err(|status| refused(status, "its log levels"))?;
    let answer = answer.into_inner();
    if arguments.json {
        let answer = json!({
            "inForce": answer.in_force,
            "configured": answer.configured,
            "subsystems": answer.subsystems,
        });
        write_json(&serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", as_text(&answer));
    }
    Ok(())
}

fn as_text(answer: &LogLevelResponse) -> String {
    let configured = match answer.in_force == answer.configured {
        true => "as configured".to_owned(),
        false => format!(
            "configured: {}; back to it: veni log-level --reset",
            answer.configured
        ),
    };
    let lines = [
        format!("in force: {}", answer.in_force),
        configured,
        format!("subsystems: {}", answer.subsystems.join(", ")),
    ];
    let ended = |line: &String| format!("{}\n", printable::line(line));
    lines.iter().map(ended).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_are_not_the_configured_ones_are_told_with_the_way_back() {
        let mut answer = LogLevelResponse {
            in_force: "info".to_owned(),
            configured: "info".to_owned(),
            subsystems: vec!["pool".to_owned()],
        };
        let text = as_text(&answer);
        assert_eq!(text, "in force: info\nas configured\nsubsystems: pool\n");
        answer.in_force = "info,ipamd::pool=debug".to_owned();
        let text = as_text(&answer);
        assert!(
            text.contains("configured: info; back to it: veni log-level --reset"),
            "{text}"
        );
    }
}
