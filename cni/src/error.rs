//! How a failure is told: to the runtime as the specification's error object,
//! to people as one line.

use serde_json::{Value, json};
use veni_api::failure::CniFailure;
use veni_terminal::printable;

use crate::version::SpecVersion;

/// The error object of the CNI specification (section "Error").
pub fn object(failure: &CniFailure, version: SpecVersion) -> Value {
    let mut object = json!({
        "cniVersion": version.as_str(),
        "code": failure.code,
        "msg": failure.message,
    });
    if !failure.details.is_empty() {
        object["details"] = Value::from(failure.details.as_str());
    }
    object
}

/// The same as one line for a log or a terminal.
pub fn line(failure: &CniFailure) -> String {
    let CniFailure {
        code,
        message,
        details,
    } = failure;
    let line = if details.is_empty() {
        format!("{message} (code {code})")
    } else {
        format!("{message}: {details} (code {code})")
    };
    printable::line(&line).into_owned()
}
