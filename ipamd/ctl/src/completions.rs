//! `veni completions` and `veni man`: what a shell and `man` know of this tool, made from its
//! own arguments.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use veni_terminal::output::write_program;

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell; bash: `source <(veni completions bash)`
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Folder for the pages; it is made
    folder: PathBuf,
}

/// Prints the completions of a shell.
pub(crate) fn completions(arguments: &CompletionsArguments, mut command: Command) {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "veni", &mut text);
    write_program(&String::from_utf8_lossy(&text));
}

/// Writes a page of every command.
///
/// # Errors
/// The folder or a page cannot be written.
pub(crate) fn man(arguments: &ManArguments, command: Command) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder)
        .with_context(|| format!("failed to make folder {}", folder.display()))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, folder)
}

fn page(command: &Command, folder: &Path) -> anyhow::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    Man::new(command.clone()).render(&mut text)?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    for one in shown {
        page(one, folder)?;
    }
    Ok(())
}
