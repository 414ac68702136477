//! `veni events`: what has happened on this node lately, and what happens.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use veni_api::timestamp::rfc_3339;
use veni_api::v1::{Event, EventsRequest};
use veni_terminal::output::write_json;
use veni_terminal::{printable, println, reader_is_gone};

use crate::daemon::{DaemonArguments, refused};
use crate::interrupt::until_interrupted;

/// What to ask, and whom.
#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print an object of JSON for each event, one a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: EventsArguments) -> anyhow::Result<()> {
    match until_interrupted(tell(&arguments)).await {
        Some(told) => told,
        None => Ok(()),
    }
}

async fn tell(arguments: &EventsArguments) -> anyhow::Result<()> {
    let mut client = arguments.daemon.connect().await?;
    let request = EventsRequest {
        remembered: true,
        ends: !arguments.follow,
    };
    let failed = |status| refused(status, "events");
    let mut events = client.events(request).await.map_err(failed)?.into_inner();
    while let Some(event) = events.message().await.map_err(failed)? {
        match arguments.json {
            true => write_json(&as_json(&event).to_string()),
            false => println!("{}", printable::line(&as_text(&event))),
        }
        if reader_is_gone() {
            return Ok(());
        }
    }
    anyhow::ensure!(!arguments.follow, "the daemon has ended");
    Ok(())
}

fn time(event: &Event) -> String {
    rfc_3339(UNIX_EPOCH + Duration::from_millis(event.time_ms))
}

fn as_text(event: &Event) -> String {
    format!("{}  {:<6}  {}", time(event), event.kind, event.message)
}

fn as_json(event: &Event) -> serde_json::Value {
    json!({
        "time": time(event),
        "kind": event.kind,
        "message": event.message,
        "free": event.free,
        "assigned": event.assigned,
        "cooling": event.cooling,
        "waiting": event.waiting,
        "cloudCalls": event.cloud_calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_and_kind() {
        let event = Event {
            time_ms: 951_868_800_123,
            kind: "repair".to_owned(),
            message: "rule 512 was missing: repaired".to_owned(),
            free: 3,
            ..Event::default()
        };
        let expected = "2000-03-01T00:00:00.123Z  repair  rule 512 was missing: repaired";
        assert_eq!(as_text(&event), expected);
        let json = as_json(&event);
        assert_eq!(json["time"], "2000-03-01T00:00:00.123Z");
        assert_eq!(
            (&json["free"], &json["kind"]),
            (&json!(3), &json!("repair"))
        );
    }
}
