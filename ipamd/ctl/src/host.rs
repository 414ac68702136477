//! `veni host install`: puts the files that keep a node's other software away from pods onto
//! the node, as `deploy/host/install` does, where there is no shell: in the image.

mod primary;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use veni_terminal::println;

/// Where the image has the files.
const SHIPPED: &str = "/usr/share/veni/host";
/// What goes where, in the folder of the files.
const LIST: &str = "files";
/// Of the files: programs without root's rights read some, whatever this process's umask is.
const MODE: u32 = 0o644;
/// In files whose names end in `.in`.
const PLACE: &str = "@PRIMARY_NAME@";

/// Of the node on which it runs.
#[derive(Debug, Args)]
pub(crate) struct HostArguments {
    #[command(subcommand)]
    command: HostCommand,
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Write the drop-ins that keep the node's other software away from pods' links
    Install(InstallArguments),
}

/// From where to where.
#[derive(Debug, Args)]
struct InstallArguments {
    /// The node's files
    #[arg(long, default_value = "/", value_name = "FOLDER")]
    root: PathBuf,
    /// The node's primary interface; that of the default route if not given
    #[arg(long, value_name = "LINK")]
    primary: Option<String>,
    /// The drop-ins, and the list of them
    #[arg(long, default_value = SHIPPED, value_name = "FOLDER")]
    from: PathBuf,
    /// Print what would be written, and change nothing
    #[arg(long)]
    pretend: bool,
}

/// Runs it.
///
/// # Errors
/// A file cannot be read or written, or nothing tells the primary interface.
pub(crate) fn run(arguments: HostArguments) -> anyhow::Result<()> {
    let HostCommand::Install(asked) = arguments.command;
    let primary = match asked.primary {
        Some(name) => primary::checked(name)?,
        None => primary::of_default_route()?,
    };
    let installer = Installer {
        root: &asked.root,
        from: &asked.from,
        primary: &primary,
        pretend: asked.pretend,
    };
    for line in installer.install()? {
        println!("{line}");
    }
    Ok(())
}

struct Installer<'a> {
    root: &'a Path,
    from: &'a Path,
    primary: &'a str,
    pretend: bool,
}

/// A line of the list.
struct Entry<'a> {
    file: &'a str,
    folder: &'a str,
    needed: Vec<&'a str>,
}

/// The list's entries; lines of comments are none.
fn entries(list: &str) -> impl Iterator<Item = Entry<'_>> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(Entry {
            file: words.next()?,
            folder: words.next()?,
            needed: words.collect(),
        })
    })
}

impl Installer<'_> {
    /// Writes what the node's programs need, and answers with the places.
    fn install(&self) -> anyhow::Result<Vec<String>> {
        let path = self.from.join(LIST);
        let list = fs::read_to_string(&path).with_context(|| {
            format!("failed to read {}; --from names its folder", path.display())
        })?;
        let mut told = Vec::new();
        for entry in entries(&list) {
            if entry.needed.iter().any(|path| self.has(path)) {
                told.push(self.put(&entry)?);
            }
        }
        if self.has("/etc/cloud/cloud.cfg") {
            told.extend(self.without_hotplug_rules()?);
        }
        Ok(told)
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn has(&self, path: &str) -> bool {
        self.below(path).exists()
    }

    fn put(&self, entry: &Entry<'_>) -> anyhow::Result<String> {
        let name = entry.file.rsplit('/').next().unwrap_or(entry.file);
        let name = name.strip_suffix(".in").unwrap_or(name);
        let place = format!("{}/{name}", entry.folder);
        if self.pretend {
            return Ok(place);
        }
        let source = self.from.join(entry.file);
        let text = fs::read_to_string(&source)
            .with_context(|| format!("failed to read {}", source.display()))?;
        let text = text.replace(PLACE, self.primary);
        let folder = self.below(entry.folder);
        let unfinished = folder.join(format!(".{name}.new"));
        // A program that reads meanwhile finds the whole file or none.
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&unfinished, text))
            .and_then(|()| fs::set_permissions(&unfinished, fs::Permissions::from_mode(MODE)))
            .and_then(|()| fs::rename(&unfinished, folder.join(name)))
            .with_context(|| format!("failed to write {place} below {}", self.root.display()))?;
        Ok(place)
    }

    /// Removes the rules that cloud-init made when the instance was new: they would stay as
    /// long as it lives.
    fn without_hotplug_rules(&self) -> anyhow::Result<Vec<String>> {
        let folder = "/etc/udev/rules.d";
        let entries = match fs::read_dir(self.below(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("failed to read {folder}"))?,
        };
        let mut told = Vec::new();
        for entry in entries {
            let path = entry
                .with_context(|| format!("failed to read {folder}"))?
                .path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with("-cloud-init-hook-hotplug.rules") {
                if !self.pretend {
                    fs::remove_file(&path)
                        .with_context(|| format!("failed to remove {}", path.display()))?;
                }
                told.push(format!("{folder}/{name} removed"));
            }
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/host")
    }

    /// A host with every program that a file is shipped for.
    fn host() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let list = fs::read_to_string(shipped().join(LIST)).expect("the list");
        let needed = entries(&list).filter_map(|entry| entry.needed.first().copied());
        let rule = "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules";
        for path in needed.chain([rule]) {
            let path = folder.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
            fs::write(path, "").expect("is written");
        }
        folder
    }

    /// All files below a folder.
    fn tree(root: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path
                        .strip_prefix(root)
                        .expect("below")
                        .display()
                        .to_string();
                    found.insert(name, fs::read_to_string(path).expect("is text"));
                }
            }
        }
        found
    }

    fn install(root: &Path, pretend: bool) -> Vec<String> {
        let installer = Installer {
            root,
            from: &shipped(),
            primary: "ens5",
            pretend,
        };
        installer.install().expect("is installed")
    }

    #[test]
    fn a_node_gets_from_the_tool_what_it_gets_from_the_script() {
        let (by_tool, by_script) = (host(), host());
        let told = install(by_tool.path(), false);
        let script = Command::new(shipped().join("install"))
            .arg("--root")
            .arg(by_script.path())
            .args(["--primary", "ens5"])
            .output()
            .expect("the script can be executed");
        let said = String::from_utf8_lossy(&script.stdout);
        assert_eq!(told, said.lines().collect::<Vec<_>>());
        assert_eq!(told.len(), 10, "{told:?}");
        let tree = tree(by_tool.path());
        assert_eq!(tree, self::tree(by_script.path()));
        let filled = &tree["etc/systemd/network/75-veni-secondary.network"];
        assert!(filled.contains("Name=!ens5"), "{filled}");
    }

    #[test]
    fn a_second_installation_and_a_pretended_one_change_nothing() {
        let host = host();
        let before = tree(host.path());
        let pretended = install(host.path(), true);
        assert_eq!(tree(host.path()), before);
        let first = install(host.path(), false);
        assert_eq!(first, pretended);
        let installed = tree(host.path());
        install(host.path(), false);
        assert_eq!(tree(host.path()), installed);
    }

    #[test]
    fn a_node_without_those_programs_gets_nothing() {
        let host = tempfile::tempdir().expect("a folder");
        assert_eq!(install(host.path(), false), [""; 0]);
        assert!(tree(host.path()).is_empty());
    }

    #[test]
    fn a_folder_without_the_list_is_named() {
        let none = Path::new("/none");
        let installer = Installer {
            root: none,
            from: none,
            primary: "ens5",
            pretend: false,
        };
        let error = installer.install().expect_err("there is nothing");
        assert!(error.to_string().contains("/none/files"), "{error:#}");
    }
}
