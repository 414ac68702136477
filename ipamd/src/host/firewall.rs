//! Looks for firewalld: it rejects what it does not know when it forwards packets, and
//! its reloads remove kube-proxy's rules.

use super::{Finding, Host};

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    if !host.runs("firewalld") {
        return Vec::new();
    }
    vec![Finding::warning(
        "firewalld runs",
        "it rejects forwarded packets of links that are in no zone that accepts them, and its \
         reloads may remove kube-proxy's rules",
        "README.md#firewalld",
    )]
}
