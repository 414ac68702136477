//! The node daemon: arguments, log, signals; everything else is the library's.

mod check;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ipamd::config::{Config, TAKE_OVER, in_blocks, in_one_line, misspelt};
use ipamd::host::uninstall;
use ipamd::run_dir::RunDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use veni_terminal::{eprintln, print, println};

/// How long the end waits for files that are being written.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Owns this node's pool of cloud addresses and every pod's network.
///
/// Settings come from the environment; docs/configuration.md lists them all.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Folder of sockets and journal, on a file system that a reboot empties.
    #[arg(long, env = "VENI_RUN_DIR", default_value = veni_api::DEFAULT_RUN_DIR)]
    run_dir: PathBuf,

    /// Rename configurations of other networks that the runtime would use in place of Veni's;
    /// likewise VENI_TAKE_OVER=true.
    #[arg(long)]
    take_over: bool,

    /// Print every setting with its default and effect, and exit.
    #[arg(long)]
    settings: bool,

    /// Check the settings of the environment and print what it sets as in force,
    /// or every problem, and a verdict; touch nothing, and exit with 0 or 1.
    #[arg(long, conflicts_with = "settings")]
    check_settings: bool,

    /// Remove Veni's network configuration and plugin from the host's folders, and exit; refused
    /// while pods have their network from Veni.
    #[arg(long, conflicts_with_all = ["settings", "check_settings"])]
    uninstall: bool,

    /// With --check-settings: print also what the environment does not set.
    #[arg(long, requires = "check_settings")]
    all: bool,

    /// Print the points at which tests kill the daemon, and exit.
    #[cfg(feature = "crash-points")]
    #[arg(long)]
    list_crash_points: bool,
}

impl Arguments {
    /// The environment, and what an option says in place of it.
    fn lookup(&self) -> impl Fn(&str) -> Option<String> + use<> {
        let take_over = self.take_over;
        move |name| match name {
            TAKE_OVER if take_over => Some("true".to_owned()),
            name => std::env::var(name).ok(),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.settings {
        return outcome(print_defaults());
    }
    if arguments.check_settings {
        return outcome(check::run(arguments.all, &host_name(), &arguments.lookup()));
    }
    if arguments.uninstall {
        return outcome(uninstall(&arguments).map(|()| ExitCode::SUCCESS));
    }
    #[cfg(feature = "crash-points")]
    if arguments.list_crash_points {
        for point in ipamd::crash::POINTS {
            veni_terminal::println!("{point}");
        }
        return outcome(Ok(ExitCode::SUCCESS));
    }
    outcome(run(arguments).map(|()| ExitCode::SUCCESS))
}

fn outcome(result: anyhow::Result<ExitCode>) -> ExitCode {
    let status = result.unwrap_or_else(|error| {
        eprintln!("ipamd: {error:#}");
        ExitCode::FAILURE
    });
    veni_terminal::finish("ipamd", status)
}

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// The names of all variables that are set, settings or not.
fn names_set() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Prints the settings with their defaults.
fn print_defaults() -> anyhow::Result<ExitCode> {
    let providers = ipamd::app::providers();
    let config = Config::defaults(&providers, &host_name())?;
    print!("{}", in_blocks(&config.settings(&providers, None)));
    Ok(ExitCode::SUCCESS)
}

fn uninstall(arguments: &Arguments) -> anyhow::Result<()> {
    let providers = ipamd::app::providers();
    // Which cloud it was makes no difference, so nobody has to say it.
    let lookup = arguments.lookup();
    let lookup = |name: &str| match name {
        "VENI_PROVIDER" => Some("mock".to_owned()),
        name => lookup(name),
    };
    let config = Config::try_new(&providers, &lookup, &host_name())?;
    let run_dir = RunDir::try_new(&arguments.run_dir)?;
    let removed = uninstall::uninstall(&config.host, run_dir.folder(), run_dir.boot())?;
    #[cfg(feature = "bpf")]
    ipamd::enforcement::take_away(&config.bpf_folder)
        .context("failed to take away what judged pods' packets")?;
    for path in &removed {
        println!("removed {}", path.display());
    }
    if removed.is_empty() {
        println!("nothing of Veni is installed in the host's folders");
    }
    Ok(())
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "ipamd changes the node's network: it needs root"
    );
    let lookup = arguments.lookup();
    let providers = ipamd::app::providers();
    let config = Config::try_new(&providers, &lookup, &host_name())?;
    let levels = ipamd::logging::init(&config)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.name(),
        run_dir = %arguments.run_dir.display(),
        "ipamd"
    );
    let settings = in_one_line(&config.settings(&providers, None));
    tracing::info!(settings, "effective configuration");
    for remark in config
        .remarks
        .iter()
        .chain(&misspelt(&providers, names_set()))
    {
        remark.log();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hangup.recv() => ipamd::logging::reopen(),
                }
            }
            stop.cancel();
        });
        ipamd::app::run(config, &arguments.run_dir, levels, shutdown).await
    });
    // A write to a disk that hangs must not keep the node claimed.
    runtime.shutdown_timeout(LAST_WRITES);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_to_take_over_is_the_setting() {
        for (arguments, expected) in [(vec!["ipamd"], false), (vec!["ipamd", "--take-over"], true)]
        {
            let lookup = Arguments::parse_from(arguments).lookup();
            let provider = |name: &str| match name {
                "VENI_PROVIDER" => Some("mock".to_owned()),
                name => lookup(name),
            };
            let providers = ipamd::app::providers();
            let config = Config::try_new(&providers, &provider, "node").expect("good settings");
            assert_eq!(config.host.take_over, expected);
        }
    }
}
