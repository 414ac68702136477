//! Finds the programs that a lab runs: `ipamd` and `veni-cni`.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Finds a program in the given folder, or beside this one, or on `$PATH`.
pub(crate) fn find(program: &str, folder: Option<&Path>) -> anyhow::Result<PathBuf> {
    let candidates: Vec<PathBuf> = match folder {
        Some(folder) => vec![folder.to_owned()],
        None => {
            let own = std::env::current_exe()?;
            let beside = own.parent().map(Path::to_owned);
            let path = std::env::var_os("PATH").unwrap_or_default();
            beside
                .into_iter()
                .chain(std::env::split_paths(&path))
                .collect()
        }
    };
    let mut files = candidates.iter().map(|folder| folder.join(program));
    if let Some(found) = files.find(|file| file.is_file()) {
        return Ok(std::path::absolute(found)?);
    }
    match folder {
        Some(folder) => bail!(
            "there is no {program} in {}: build it, or correct --bin-dir",
            folder.display()
        ),
        None => bail!(
            "there is no {program} beside veni or on $PATH: build it (`cargo build`), or name its folder with --bin-dir"
        ),
    }
}
