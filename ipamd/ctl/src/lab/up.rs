//! `veni lab up` and `down`, and the commands that act on one node: kill, restart, logs,
//! exec.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use veni_cloudlab::{LabFolder, command_in};
use veni_terminal::{eprintln, print, println};

use super::control::{Control, Description, Request};
use super::server::{Server, tail};
use super::{CloudKind, UpArguments, cloud, environment, fault, readiness};
use crate::status::{PoolLevels, Report};
use crate::table::render;

/// The line that `serve` prints when the lab is up. Any other line is an error.
const UP: &str = "up";
/// If LocalStack takes longer than this, `up` says what it waits for. An installed one on
/// an idle machine is faster.
const NOTICE: Duration = Duration::from_secs(8);

/// Starts a lab in a process of its own and waits until it is up.
pub(crate) async fn up(name: &str, options: &UpArguments) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut serve = Command::new(std::env::current_exe()?)
        .args(["lab", "--name", name, "serve", "--options"])
        .arg(serde_json::to_string(options)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("failed to start the lab's process")?;
    let mut output = BufReader::new(serve.stdout.take().context("no output")?);
    let mut line = String::new();
    tokio::select! {
        read = read_patiently(&mut output, &mut line, options) => { read?; }
        () = interrupted()? => {
            if let Some(pid) = serve.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
            serve.wait().await?;
            bail!("interrupted; the lab is down again");
        }
    }
    if line.trim_end() != UP {
        output.read_to_string(&mut line).await?;
        let reason = line.trim_end();
        bail!(
            "the lab did not come up: {}",
            if reason.is_empty() {
                "its process died"
            } else {
                reason
            }
        );
    }
    let control = Control::new(name, &veni_cloudlab::default_folder(name));
    let lab = control.describe().await?;
    println!(
        "lab {name} is up after {:.1} s: {}",
        began.elapsed().as_secs_f64(),
        lab.folder.display()
    );
    println!("{}", cloud::line(&lab.cloud));
    print!("{}", nodes(&lab));
    for remark in environment::remarks(options).await {
        eprintln!("{remark}");
    }
    println!("\n{}", suggestions(name, &lab));
    Ok(ExitCode::SUCCESS)
}

/// What can be done with a lab that is up.
fn suggestions(name: &str, lab: &Description) -> String {
    let this = if name == "default" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    let mut tries = vec![format!("veni lab{this} matrix")];
    if lab.plugin.is_some() {
        tries.insert(0, format!("veni lab{this} pod add a --node 1"));
        let run_dir = lab.nodes[0].run_dir.display();
        tries.push(format!("veni status --explain --run-dir {run_dir}"));
    }
    format!(
        "try   {}\nend   veni lab{this} down",
        tries.join("\n      ")
    )
}

/// Reads what `serve` prints. Reports what takes long.
async fn read_patiently(
    output: &mut BufReader<ChildStdout>,
    line: &mut String,
    options: &UpArguments,
) -> std::io::Result<usize> {
    let own = options.cloud == CloudKind::Localstack && options.localstack_url.is_none();
    let notice = async {
        sleep(NOTICE).await;
        if own {
            eprintln!(
                "waiting for LocalStack; on a machine that does not have it yet it is installed, \
                 which takes a minute or two"
            );
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = output.read_line(line) => read,
        () = notice => Ok(0),
    }
}

/// Owns a lab until it is told to stop. Says on its output whether it is up.
pub(crate) async fn serve(name: &str, options: &str) -> anyhow::Result<ExitCode> {
    let options: UpArguments = serde_json::from_str(options).context("failed to read --options")?;
    log_to(veni_cloudlab::default_folder(name).join("lab.log"));
    let stop = CancellationToken::new();
    let interrupt = interrupted()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let heard = stop.clone();
    tokio::spawn(async move {
        interrupt.await;
        heard.cancel();
    });
    // The lab outlives the terminal that started it.
    tokio::spawn(async move { while hang_up.recv().await.is_some() {} });
    let started = tokio::select! {
        started = Server::start(name, options) => started,
        () = stop.cancelled() => bail!("interrupted"),
    };
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            tell(&format!("{error:#}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    tell(UP);
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Prints for `up`. Ignores errors, because `up` may have gone.
fn tell(text: &str) {
    let mut output = std::io::stdout();
    let _unheard = writeln!(output, "{text}").and_then(|()| output.flush());
}

/// Logs into a file that is made when its folder is there.
fn log_to(file: std::path::PathBuf) {
    let writer = move || -> Box<dyn Write> {
        match std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
        {
            Ok(file) => Box::new(file),
            Err(_) => Box::new(std::io::sink()),
        }
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(writer)
        .init();
}

/// Completes when this process is asked to end.
pub(crate) fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Takes a lab down, or removes what a killed one has left.
pub(crate) async fn down(name: &str, folder: &Path) -> anyhow::Result<ExitCode> {
    if LabFolder::owner(folder).is_some() {
        Control::new(name, folder).tell(&Request::Stop).await?;
        println!("lab {name} is down");
    } else if folder.exists() {
        LabFolder::claim(folder)?.remove()?;
        println!("lab {name} had been killed; what it left is removed");
    } else {
        println!("there is no lab {name}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a table of the nodes.
fn nodes(lab: &Description) -> String {
    let rows = lab.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.instance_id.clone(),
            lab.instance_type.clone(),
            node.addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            node.daemon
                .map_or_else(|| "none".to_owned(), |pid| format!("process {pid}")),
            node.dropped.forged.to_string(),
            node.dropped.untranslatable.to_string(),
            node.dropped.refused.to_string(),
        ]
    });
    let headings = [
        "node",
        "instance",
        "type",
        "address",
        "ipamd",
        ">forged",
        ">untranslatable",
        ">refused",
    ];
    render(&headings, rows)
}

/// The faults in force.
fn faults(in_force: anyhow::Result<Vec<String>>) -> String {
    match in_force {
        Ok(none) if none.is_empty() => "faults: none\n".to_owned(),
        Ok(all) => {
            let lines: String = all.iter().map(|one| format!("  {one}\n")).collect();
            format!("faults, until `veni lab fault clear`:\n{lines}")
        }
        // A cloud that does not answer must not hide the rest of the lab.
        Err(error) => format!("faults: unknown: {error:#}\n"),
    }
}

/// Shows the lab.
pub(crate) async fn status(control: &Control) -> anyhow::Result<ExitCode> {
    let lab = control.describe().await?;
    println!(
        "lab {} in {} (process {})",
        lab.name,
        lab.folder.display(),
        lab.pid
    );
    println!("{}", cloud::line(&lab.cloud));
    print!("{}", faults(fault::in_force(&lab).await));
    println!("\nNodes, and packets the VPC has dropped");
    print!("{}", nodes(&lab));
    println!("\nPools");
    let mut rows = Vec::new();
    for node in &lab.nodes {
        if node.daemon.is_none() {
            println!(
                "  {0}: no ipamd runs; `veni lab restart {0}` starts one",
                node.name
            );
            continue;
        }
        match Report::fetch(&node.operator_socket()).await {
            Ok(Report { pool, .. }) => rows.push(
                [
                    &node.name,
                    &PoolLevels::of(&pool).free,
                    &pool.assigned.to_string(),
                    &pool.cooling.to_string(),
                    &pool.waiting.to_string(),
                    &pool.interfaces.len().to_string(),
                    &pool.cloud_calls.to_string(),
                ]
                .map(Clone::clone)
                .to_vec(),
            ),
            Err(error) => println!("  {}: {error:#}", node.name),
        }
    }
    let headings = [
        "node",
        ">free",
        ">assigned",
        ">cooling",
        ">waiting",
        ">interfaces",
        ">cloud calls",
    ];
    print!("{}", render(&headings, rows));
    println!("\nPods");
    print!("{}", super::pods::table(&lab));
    Ok(ExitCode::SUCCESS)
}

/// Kills a node's daemon.
pub(crate) async fn kill(
    control: &Control,
    node: &str,
    stay_dead: bool,
) -> anyhow::Result<ExitCode> {
    let before = control.describe().await?;
    let node = before.node(node)?;
    let old = node.daemon;
    let began = Instant::now();
    let request = Request::Kill {
        node: node.name.clone(),
        stay_dead,
    };
    control.tell(&request).await?;
    match old {
        Some(pid) => println!("{}: process {pid} killed", node.name),
        None => println!("{}: no daemon was running", node.name),
    }
    if !stay_dead {
        ready(control, &node.name, began).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a node's daemon, after stopping it if it runs.
pub(crate) async fn restart(control: &Control, node: &str) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let name = control.describe().await?.node(node)?.name.clone();
    control
        .tell(&Request::Restart { node: name.clone() })
        .await?;
    ready(control, &name, began).await?;
    Ok(ExitCode::SUCCESS)
}

async fn ready(control: &Control, name: &str, began: Instant) -> anyhow::Result<()> {
    let after = control.describe().await?;
    let node = after.node(name)?;
    readiness::wait(&node.operator_socket(), std::time::Duration::from_secs(30)).await?;
    println!(
        "{name}: ready again after {:.0} ms as process {}",
        began.elapsed().as_secs_f64() * 1e3,
        node.daemon.unwrap_or_default()
    );
    Ok(())
}

/// Prints a daemon's log.
pub(crate) async fn logs(
    control: &Control,
    node: &str,
    lines: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let lab = control.describe().await?;
    let log = &lab.node(node)?.log;
    let text = std::fs::read_to_string(log)
        .with_context(|| format!("failed to read {}", log.display()))?;
    match lines {
        Some(lines) => println!("{}", tail(&text, lines)),
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a program in a node's namespace.
pub(crate) async fn exec(
    control: &Control,
    node: &str,
    command: &[OsString],
) -> anyhow::Result<ExitCode> {
    let lab = control.describe().await?;
    run_in(&lab.node(node)?.namespace, command).await
}

/// Runs a program in a namespace, on this terminal. Returns the program's exit status.
pub(crate) async fn run_in(namespace: &Path, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no program given")?;
    let status = command_in(namespace, program)
        .args(arguments)
        .status()
        .await?;
    // 128 + signal, as shells report a program that a signal ended.
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
