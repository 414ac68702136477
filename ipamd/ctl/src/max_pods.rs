//! `veni max-pods`: how many pods an instance type can have, or a node on Azure. The arithmetic and the
//! table are the planner's, so the command works offline. It takes the options of the
//! EKS calculator script, so that scripts that set up nodes keep working.

mod files;
mod imds;

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use veni_pool::SlotKind;
use veni_pool::instance_types::{self, InstanceType};
use veni_pool::max_pods::{self, Machine, MaxPods, Settings};
use veni_terminal::output::write_json;
use veni_terminal::{eprintln, print};

use self::files::Tool;
use crate::table::render;

/// Exit code for a wrong command line, the same as clap's. An unknown type is such an error.
const USAGE: u8 = 2;
/// Most names that are suggested for an unknown type.
const SUGGESTIONS: usize = 5;

/// Which types, and in which circumstances.
#[derive(Debug, Args)]
pub(crate) struct MaxPodsArguments {
    /// Instance types, such as m5.large
    #[arg(value_name = "TYPE", value_delimiter = ',', conflicts_with_all = ["from_imds", "all"])]
    types: Vec<String>,
    /// The same, as the EKS calculator spells it; several may be given
    #[arg(long, value_name = "TYPE", value_delimiter = ',', num_args = 1.., conflicts_with_all = ["from_imds", "all"])]
    instance_type: Vec<String>,
    /// Ask this machine's instance metadata for its type
    #[arg(
        long,
        visible_alias = "instance-type-from-imds",
        conflicts_with = "all"
    )]
    from_imds: bool,
    /// All known types
    #[arg(long)]
    all: bool,
    /// A node on Azure, where the type changes nothing
    #[arg(long, conflicts_with_all = [
        "types", "instance_type", "from_imds", "all", "cni_custom_networking_enabled", "cni_max_eni",
    ])]
    azure: bool,
    /// Pods have subnets of their own: the primary interface gives no addresses
    #[arg(long)]
    cni_custom_networking_enabled: bool,
    /// Interfaces hold /28 prefixes, where the type can
    #[arg(long)]
    cni_prefix_delegation_enabled: bool,
    /// Use only so many interfaces (MAX_ENI); 0 means no limit
    #[arg(long, value_name = "COUNT")]
    cni_max_eni: Option<u32>,
    /// What the addresses allow, without the recommended cap
    #[arg(long)]
    show_max_allowed: bool,
    /// Version of the CNI plugin; accepted for the sake of existing scripts, changes nothing
    #[arg(long, value_name = "VERSION")]
    cni_version: Option<String>,
    /// Show the formula with its numbers
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the setting as a file that this tool takes; of several types the least number
    #[arg(long, value_name = "TOOL", conflicts_with_all = ["json", "explain"])]
    format: Option<Tool>,
}

/// A number of pods, and whose it is.
type Known = (&'static str, MaxPods);

/// What stands for the type of a node on Azure.
const AZURE: &str = "Azure";

pub(crate) async fn run(arguments: MaxPodsArguments) -> anyhow::Result<ExitCode> {
    if arguments.azure {
        return arguments.of_azure();
    }
    let names: Vec<String> = if arguments.all {
        instance_types::all()
            .map(|one| one.name.to_owned())
            .collect()
    } else if arguments.from_imds {
        vec![imds::instance_type().await?]
    } else {
        let given = arguments.instance_type.iter().chain(&arguments.types);
        given.cloned().collect()
    };
    if names.is_empty() {
        eprintln!(
            "veni: no instance type: name one, such as m5.large, or give --from-imds or --all"
        );
        return Ok(ExitCode::from(USAGE));
    }
    let mut known = Vec::new();
    let mut wrong = false;
    let mut seen = BTreeSet::new();
    for name in names.iter().filter(|name| seen.insert(name.as_str())) {
        match instance_types::find(name) {
            Some(found) => known.push((found.name, arguments.calculate(&found))),
            None => {
                wrong = true;
                eprintln!("veni: {}", not_known(name));
            }
        }
    }
    if wrong && arguments.format.is_some() {
        // A file for the types that are known could be too much for the one that is not.
        return Ok(ExitCode::from(USAGE));
    }
    arguments.print(&known, names.len())?;
    Ok(if wrong {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    })
}

fn not_known(name: &str) -> String {
    if name.trim().is_empty() {
        return "an instance type is empty: is a variable of the calling script not set?"
            .to_owned();
    }
    if name.to_ascii_lowercase().starts_with("standard_") {
        return format!(
            "instance type {name} is not known: the table has AWS's types; a node on Azure takes \
             as many pods whatever its type: veni max-pods --azure"
        );
    }
    let near = instance_types::nearest(name, SUGGESTIONS).join(", ");
    format!("instance type {name} is not known; nearest are {near}")
}

impl MaxPodsArguments {
    fn of_azure(&self) -> anyhow::Result<ExitCode> {
        if let Some(Tool::Nodeadm | Tool::Karpenter) = self.format {
            eprintln!(
                "veni: nodeadm and Karpenter's EC2NodeClass make nodes on AWS: --format kubelet is \
                 for those on Azure; AKS takes the number as az aks nodepool add --max-pods"
            );
            return Ok(ExitCode::from(USAGE));
        }
        let mode = match self.cni_prefix_delegation_enabled {
            true => SlotKind::Prefix,
            false => SlotKind::Address,
        };
        let result = max_pods::azure(mode, self.show_max_allowed);
        self.print(&[(AZURE, result)], 1)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, known: &[Known], asked: usize) -> anyhow::Result<()> {
        let text = self.show(known, asked)?;
        if self.json {
            write_json(&text);
        } else {
            print!("{text}");
        }
        Ok(())
    }

    fn calculate(&self, found: &InstanceType) -> MaxPods {
        let prefixes = self.cni_prefix_delegation_enabled && found.supports_prefixes();
        let mut settings = Settings::new(if prefixes {
            SlotKind::Prefix
        } else {
            SlotKind::Address
        });
        settings.custom_networking = self.cni_custom_networking_enabled;
        settings.max_interfaces = self.cni_max_eni;
        settings.uncapped = self.show_max_allowed;
        let machine = Machine {
            interfaces: found.interfaces,
            addresses_per_interface: found.ipv4_per_interface,
            vcpus: (found.vcpus > 0).then_some(found.vcpus),
        };
        let mut result = max_pods::aws(&machine, &settings);
        if self.cni_prefix_delegation_enabled && !prefixes {
            result.explanation = format!(
                "no prefixes, because the type is not of the Nitro system; {}",
                result.explanation
            );
        }
        result
    }

    /// One number where one type was asked for, as scripts expect it; a table for several.
    fn show(&self, known: &[Known], asked: usize) -> anyhow::Result<String> {
        if self.json {
            let all: Vec<Value> = known
                .iter()
                .map(|(name, result)| as_json(name, result))
                .collect();
            return Ok(serde_json::to_string_pretty(&all)?);
        }
        if let Some(tool) = self.format {
            return Ok(files::setting(tool, known));
        }
        Ok(match known {
            [] => String::new(),
            [(_, result)] if asked == 1 && !self.explain => {
                format!("{}\n", result.pods)
            }
            several => {
                let mut headings = vec!["type", ">pods"];
                headings.extend(self.explain.then_some("because"));
                render(
                    &headings,
                    several.iter().map(|(name, result)| {
                        let mut row = vec![(*name).to_owned(), result.pods.to_string()];
                        row.extend(self.explain.then(|| result.explanation.clone()));
                        row
                    }),
                )
            }
        })
    }
}

fn as_json(name: &str, result: &MaxPods) -> Value {
    json!({
        "instanceType": name,
        "maxPods": result.pods,
        "byAddresses": result.by_addresses,
        "recommended": result.recommended,
        "explanation": result.explanation,
    })
}
