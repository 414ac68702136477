//! `veni lab`: a cloud with nodes and pods on this machine. Reads the command
//! line; each command has a module of its own.
//!
//! One process, `veni lab serve`, owns a lab and answers on a socket in its
//! folder. `veni lab up` starts that process, and all other commands ask it.

mod binaries;
mod burst;
mod cloud;
mod control;
mod daemon;
mod demo;
mod environment;
mod fault;
mod matrix;
mod picture;
mod plugin;
mod pods;
mod readiness;
mod remains;
mod server;
mod statistics;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use veni_cloudlab::default_folder;

use control::Control;

/// Which lab, and what to do with it.
#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    /// Name of the lab; labs with different names live side by side
    #[arg(long, global = true, default_value = "default", value_parser = lab_name)]
    name: String,
    #[command(subcommand)]
    command: LabCommand,
}

fn lab_name(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // A name with - in front would be an option wherever it is given.
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !begins || text.len() > 32 || !text.bytes().all(good) {
        return Err("use 1 to 32 letters, digits, - and _, the first a letter or digit".to_owned());
    }
    Ok(text.to_owned())
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Bring a lab up: a VPC, an internet host and nodes, with ipamd on each
    Up(UpArguments),
    /// Take a lab down, also one that was killed
    Down,
    /// Show the lab: nodes, pools, pods and what the VPC has dropped
    Status,
    /// Add, delete and list pods, by the real plugin, and run programs in them
    #[command(subcommand)]
    Pod(pods::PodCommand),
    /// Start many pods at the same instant and draw what happens
    Burst(burst::BurstArguments),
    /// Ping from everything to everything
    Matrix,
    /// Kill the ipamd of a node with SIGKILL; it is started again
    Kill {
        /// The node: name or number
        node: String,
        /// Leave it dead until `veni lab restart`
        #[arg(long)]
        stay_dead: bool,
    },
    /// Start the ipamd of a node, or stop and start it
    Restart {
        /// The node: name or number
        node: String,
    },
    /// Make the cloud misbehave; `veni lab status` lists the faults in force
    #[command(subcommand)]
    Fault(fault::FaultCommand),
    /// Print the log of a node's ipamd
    Logs {
        /// The node: name or number
        node: String,
        /// Only the last lines
        #[arg(long, short = 'n')]
        lines: Option<usize>,
    },
    /// Run a program in the network namespace of a node
    Exec {
        /// The node: name or number
        node: String,
        /// Program and arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// See all of it at work in a minute, on a lab of its own, named demo unless --name tells
    Demo(demo::DemoArguments),
    /// Own a lab; `up` starts this
    #[command(hide = true)]
    Serve {
        /// What `up` was told, as JSON
        #[arg(long)]
        options: String,
    },
}

/// What says which interfaces and addresses the nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CloudKind {
    /// The mock cloud, in the lab's own process
    Mock,
    /// LocalStack's EC2, made to behave as EC2; in builds with the feature aws
    Localstack,
}

/// Whose rules the lab's cloud follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CloudProfile {
    /// Interfaces come and go, few addresses on each
    Aws,
    /// Fixed interfaces with 256 slots each
    Azure,
}

/// What a lab is made of.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct UpArguments {
    /// How many nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) nodes: u32,
    /// Instance type of the nodes [default: m5.large, on azure Standard_D4s_v5]
    #[arg(long)]
    pub(crate) instance_type: Option<String>,
    /// Give pods addresses out of /28 prefixes
    #[arg(long)]
    pub(crate) prefix_delegation: bool,
    /// Give the network IPv6, and pods an address of each family
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// The control plane
    #[arg(long, value_enum, default_value_t = CloudKind::Mock)]
    pub(crate) cloud: CloudKind,
    /// A LocalStack that runs already, with the fidelity hook (localstack/ec2/run);
    /// without it the lab starts one of its own, by the script that
    /// $VENI_LOCALSTACK_RUN names or that belongs to this program
    #[arg(long, value_name = "URL", value_parser = cloud::server_of)]
    pub(crate) localstack_url: Option<String>,
    /// Whose rules the mock cloud follows
    #[arg(long, value_enum, default_value_t = CloudProfile::Aws)]
    pub(crate) profile: CloudProfile,
    /// Seed of everything random in the mock cloud
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A variable for every ipamd (NAME=value); may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) environment: Vec<(String, String)>,
    /// Folder of ipamd and veni-cni [default: beside veni, then $PATH]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Start no ipamd: the network and the cloud alone
    #[arg(long)]
    pub(crate) without_daemons: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=value".to_owned()),
    }
}

impl UpArguments {
    pub(crate) fn instance_type(&self) -> &str {
        match (&self.instance_type, self.profile) {
            (Some(given), _) => given,
            (None, CloudProfile::Aws) => "m5.large",
            (None, CloudProfile::Azure) => "Standard_D4s_v5",
        }
    }
}

pub(crate) async fn run(arguments: LabArguments) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("a lab makes network namespaces, which needs root: run this with sudo");
    }
    let name = arguments.name;
    let folder = default_folder(&name);
    let control = Control::new(&name, &folder);
    match arguments.command {
        LabCommand::Up(options) => up::up(&name, &options).await,
        LabCommand::Serve { options } => up::serve(&name, &options).await,
        LabCommand::Down => up::down(&name, &folder).await,
        LabCommand::Status => up::status(&control).await,
        LabCommand::Pod(command) => pods::run(&control, command).await,
        LabCommand::Burst(options) => burst::run(&control, &options).await,
        LabCommand::Matrix => matrix::run(&control).await,
        LabCommand::Kill { node, stay_dead } => up::kill(&control, &node, stay_dead).await,
        LabCommand::Restart { node } => up::restart(&control, &node).await,
        LabCommand::Fault(command) => fault::run(&control, command).await,
        LabCommand::Logs { node, lines } => up::logs(&control, &node, lines).await,
        LabCommand::Exec { node, command } => up::exec(&control, &node, &command).await,
        LabCommand::Demo(options) => demo::run(&name, options).await,
    }
}
