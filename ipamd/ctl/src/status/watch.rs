//! `veni status --watch`: the report, drawn again when something has changed.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use veni_api::v1::{Event, EventsRequest};
use veni_terminal::printable;

use super::Report;
use crate::daemon::{DaemonArguments, refused};

/// Between two reports at least.
const SHORTEST: Duration = Duration::from_secs(1);
/// Between two reports at most: cooldowns end, and subnets are tried again, without an event.
const LONGEST: Duration = Duration::from_secs(5);

/// To the upper left corner, and what is below it is gone.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Draws reports until standard output cannot be written to.
pub(super) async fn watch(
    daemon: &DaemonArguments,
    text_of: impl Fn(&Report) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let mut drawn = String::new();
    let mut answered = false;
    loop {
        let told = follow(daemon, &text_of, &mut drawn, &mut answered).await;
        let Err(error) = told else { return Ok(()) };
        if !answered {
            return Err(error); // it has never been there
        }
        let text = format!("the daemon does not answer, and is asked again: {error:#}\n");
        if !draw(&text, &mut drawn) {
            return Ok(());
        }
        tokio::time::sleep(SHORTEST).await;
    }
}

/// Draws while the daemon answers; ends well when nobody reads any more.
async fn follow(
    daemon: &DaemonArguments,
    text_of: impl Fn(&Report) -> anyhow::Result<String>,
    drawn: &mut String,
    answered: &mut bool,
) -> anyhow::Result<()> {
    let mut client = daemon.connect().await?;
    let events = client.events(EventsRequest::default()).await;
    let mut events = events
        .map_err(|status| refused(status, "events"))?
        .into_inner();
    loop {
        let report = Report::fetch(&daemon.socket()).await?;
        *answered = true;
        if !draw(&text_of(&report)?, drawn) {
            return Ok(());
        }
        let earliest = Instant::now() + SHORTEST;
        // What happens until then is in the next report as well.
        let next: Result<Result<Option<Event>, _>, _> = timeout(LONGEST, events.message()).await;
        if let Ok(Ok(None)) = next {
            anyhow::bail!("it has ended");
        }
        sleep_until(earliest).await;
        while let Ok(Ok(Some(_))) = timeout(Duration::ZERO, events.message()).await {}
    }
}

/// Draws a text that differs from what is drawn; false when nobody reads.
fn draw(text: &str, drawn: &mut String) -> bool {
    if text == drawn {
        return true;
    }
    text.clone_into(drawn);
    let mut out = std::io::stdout().lock();
    // A file or a pipe keeps what was before.
    let begin = if out.is_terminal() { CLEAR } else { "\n" };
    let text = printable::lines(text);
    let written = out
        .write_all(begin.as_bytes())
        .and_then(|()| out.write_all(text.as_bytes()))
        .and_then(|()| out.flush());
    written.is_ok()
}
