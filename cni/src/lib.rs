//! The CNI plugin: reads what the runtime passes, makes one call to the node
//! daemon, prints the result. It touches no netlink itself, so there is nothing
//! of the pod's network that it could leak.
//!
//! Standard output is protocol: a result or an error object of the CNI
//! specification. Lines for people go to standard error. Neither has characters that
//! would steer a terminal.

mod any_case;
pub mod bandwidth;
pub mod command;
pub mod daemon;
pub mod environment;
pub mod error;
pub mod log;
pub mod netconf;
pub mod netns;
pub mod pending;
pub mod port_mappings;
pub mod previous;
pub mod result;
pub mod version;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::Value;
use veni_api::failure::{CniFailure, code};
use veni_terminal::printable;

use crate::environment::{Command, Environment};
use crate::log::PluginLog;
use crate::netconf::Netconf;
use crate::version::SpecVersion;

/// Looks up an environment variable by its name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Most bytes of network configuration that are read.
const LONGEST_CONFIG: u64 = 4 << 20;

/// Serves one invocation of the plugin.
///
/// Answers VERSION and refuses wrong input before any connection is made.
/// The exit code is 0 on success and 1 otherwise, also when the answer could
/// not be written: a runtime that has seen no result must not assume one.
pub fn run(
    lookup: Lookup<'_>,
    input: &mut dyn Read,
    output: &mut dyn Write,
    log: &mut dyn Write,
) -> ExitCode {
    let started = Instant::now();
    let (answer, version, own_log) = answer(lookup, input);
    let noted = own_log.note(lookup, answer.as_ref().err(), started.elapsed());
    if let Err(reason) = noted {
        drop(writeln!(
            log,
            "veni-cni: failed to write to pluginLogFile: {reason}"
        ));
    }
    let (text, succeeded) = match answer {
        Ok(text) => (text, true),
        Err(failure) => {
            // Nothing can be done about a log that nobody reads.
            drop(writeln!(log, "veni-cni: {}", error::line(&failure)));
            (error::object(&failure, version).to_string(), false)
        }
    };
    if let Err(reason) = write(output, &text) {
        drop(writeln!(
            log,
            "veni-cni: failed to write the answer: {reason}"
        ));
        return ExitCode::FAILURE;
    }
    if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn write(output: &mut dyn Write, text: &str) -> std::io::Result<()> {
    if !text.is_empty() {
        output.write_all(printable::json(text).as_bytes())?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

/// The answer, empty where the command has none, the version to give it in, and
/// the log that the configuration asks for.
fn answer(
    lookup: Lookup<'_>,
    input: &mut dyn Read,
) -> (Result<String, CniFailure>, SpecVersion, PluginLog) {
    let command = match Command::try_from_lookup(lookup) {
        Ok(command) => command,
        Err(failure) => return (Err(failure), SpecVersion::LATEST, PluginLog::default()),
    };
    let mut bytes = Vec::new();
    let read = input.take(LONGEST_CONFIG + 1).read_to_end(&mut bytes);
    if command == Command::Version {
        let report = version::report(&bytes);
        return (Ok(report), SpecVersion::LATEST, PluginLog::default());
    }
    // Read early and leniently, so that whatever fails is told in the right version.
    let config = decode(&bytes);
    let version = config
        .as_ref()
        .ok()
        .and_then(version::of)
        .unwrap_or_default();
    let own_log = config
        .as_ref()
        .map(PluginLog::from_config)
        .unwrap_or_default();
    let answer = read
        .map_err(|reason| {
            CniFailure::new(
                code::IO_FAILURE,
                "failed to read the network configuration from standard input",
                reason.to_string(),
            )
        })
        .and_then(|_| Environment::try_from_lookup(command, lookup))
        .and_then(|environment| {
            let netconf = Netconf::try_from_json(&config?, command, &environment.interface_name)?;
            command::serve(command, &environment, &netconf)
        });
    (answer, version, own_log)
}

fn decode(bytes: &[u8]) -> Result<Value, CniFailure> {
    let failure = |details: String| {
        CniFailure::new(
            code::DECODING_FAILURE,
            "failed to decode the network configuration on standard input",
            details,
        )
    };
    if bytes.len() as u64 > LONGEST_CONFIG {
        return Err(failure(format!("it is longer than {LONGEST_CONFIG} bytes")));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(failure(
            "it is empty; a runtime passes the plugin's configuration there as json".to_owned(),
        ));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| failure(error.to_string()))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(failure("it is json, but not an object".to_owned()))
    }
}
