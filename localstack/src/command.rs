//! Executes `ip` and `nft` inside a network namespace. Feeds them text on their
//! standard input, and turns their complaints into errors.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::LabError;
use crate::namespace::enter;

/// Folders of `ip` and `nft`, which a user's PATH does not contain on some systems.
const SYSTEM_FOLDERS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// The caller's PATH, with the system's folders appended.
pub(crate) fn search_path() -> String {
    match std::env::var("PATH") {
        Ok(path) if !path.is_empty() => format!("{path}:{SYSTEM_FOLDERS}"),
        _ => SYSTEM_FOLDERS.to_owned(),
    }
}

/// Runs a program inside a namespace to its end and returns its output.
///
/// The program is started from a thread that has entered the namespace, which
/// saves the execution of `nsenter` in front of it.
pub(crate) async fn run_in(
    namespace: &Path,
    operation: &str,
    program: &'static str,
    arguments: &[&str],
    input: String,
) -> Result<String, LabError> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let output = enter(namespace, move || {
        let mut child = Command::new(program)
            .args(&arguments)
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing_program(program, error))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Ignored: a program that stops reading says why on stderr, which is the
            // better error.
            if let Err(error) = stdin.write_all(input.as_bytes())
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(error);
            }
        }
        Ok((child.wait_with_output()?, input))
    })
    .await
    .map_err(LabError::io(operation))?;
    let (output, input) = output;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Tool {
        operation: operation.to_owned(),
        reason: complaint(program, &input, &String::from_utf8_lossy(&output.stderr)),
    })
}

fn missing_program(program: &str, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        let package = if program == "nft" {
            "nftables"
        } else {
            "iproute2"
        };
        io::Error::new(
            error.kind(),
            format!("{program} is not installed: install the package {package}"),
        )
    } else {
        error
    }
}

/// What a program said; `ip -batch` gives only the number of the line, so the
/// line is added.
fn complaint(program: &str, input: &str, stderr: &str) -> String {
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = stderr
        .rsplit_once("Command failed -:")
        .and_then(|(_, number)| number.trim().parse::<usize>().ok())
        .and_then(|number| input.lines().nth(number.checked_sub(1)?));
    match line {
        Some(line) => format!("{program} {line}: {said}"),
        None if said.is_empty() => format!("{program} failed without a word"),
        None => said,
    }
}

/// Runs lines of `ip` commands as one batch, in order, stopping at the first failure.
pub(crate) async fn ip_batch(
    namespace: PathBuf,
    operation: &str,
    lines: Vec<String>,
) -> Result<(), LabError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut input = lines.join("\n");
    input.push('\n');
    run_in(&namespace, operation, "ip", &["-batch", "-"], input).await?;
    Ok(())
}

/// Applies nftables text as one transaction.
pub(crate) async fn nft(namespace: PathBuf, operation: &str, text: String) -> Result<(), LabError> {
    if text.is_empty() {
        return Ok(());
    }
    run_in(&namespace, operation, "nft", &["-f", "-"], text).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_batch_names_the_line_that_failed() {
        let text = complaint(
            "ip",
            "link set a up\nlink set b up\n",
            "Cannot find device \"b\"\nCommand failed -:2\n",
        );
        assert!(
            text.starts_with("ip link set b up: Cannot find device"),
            "{text}"
        );
    }
}
