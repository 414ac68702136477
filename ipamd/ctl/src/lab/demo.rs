//! `veni lab demo`: shows everything at work in a minute, on a lab of its own. It takes
//! that lab down whatever happens. It checks each of its claims and exits with an error
//! if one is not true.

mod evidence;
mod host_port;
mod kill;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;
use veni_cloudlab::{default_folder, end_of_log};
use veni_terminal::eprintln;

use super::control::{Control, Description};
use super::remains::{Machine, Watch};
use super::server::Server;
use super::{CloudKind, CloudProfile, UpArguments, up};

/// Name of the demo's lab when none is given.
const NAME: &str = "demo";

/// How the demo is run.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Folder of ipamd and veni-cni [default: beside veni, then $PATH]
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
}

/// A small warm pool, so that a burst has to go beyond it, on nodes whose type
/// has room for the burst on several interfaces.
fn lab(bin_dir: Option<PathBuf>) -> UpArguments {
    UpArguments {
        nodes: 2,
        instance_type: Some("m5.4xlarge".to_owned()),
        prefix_delegation: false,
        ipv6: false,
        cloud: CloudKind::Mock,
        localstack_url: None,
        profile: CloudProfile::Aws,
        seed: 1,
        environment: vec![("WARM_IP_TARGET".to_owned(), "8".to_owned())],
        bin_dir,
        without_daemons: false,
    }
}

pub(crate) async fn run(name: &str, arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    let name = if name == "default" { NAME } else { name };
    let began = Instant::now();
    let interrupt = up::interrupted()?;
    tokio::pin!(interrupt);
    let before = Machine::look().await?;
    story::welcome();
    let server = tokio::select! {
        started = Server::start(name, lab(arguments.bin_dir)) => started?,
        () = &mut interrupt => bail!("interrupted; nothing is left"),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    let control = Control::new(name, &default_folder(name));
    let mut watch = None;
    let (told, stopped) = tokio::select! {
        told = story::tell(&control, began, &before, &mut watch) => (told, false),
        () = &mut interrupt => (Err(anyhow!("interrupted")), true),
    };
    let lab = control.describe().await;
    // A reader that has gone is no failure of what was shown before. The lab goes down all
    // the same.
    let unread = matches!(&told, Err(error) if error.is::<story::ReaderIsGone>());
    let told = if unread { Ok(()) } else { told };
    if let (Err(_), Ok(lab), false) = (&told, &lab, stopped) {
        show_logs(lab);
    }
    let watch = watch.map_or_else(|| Watch::start(&lab?, &before), Ok);
    stop.cancel();
    let down = running.await.context("the lab's task panicked")?;
    let told = told.and(down);
    let remains = watch?.compare().await?;
    story::ending(&remains, began);
    told?;
    if !remains.nothing() {
        bail!("something is left, see above");
    }
    Ok(ExitCode::SUCCESS)
}

fn show_logs(lab: &Description) {
    for node in &lab.nodes {
        eprintln!("ipamd on {}: {}\n", node.name, end_of_log(&node.log, 15));
    }
}
