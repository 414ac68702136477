//! The comparison of journal, kernel and cloud in the messages that operators get.

use veni_api::v1;

use crate::node_check::{Asked, Cure, Finding, Report};

/// What is asked for.
pub(super) fn asked(request: &v1::CheckNodeRequest) -> Asked {
    Asked {
        repair: request.repair,
        without_cloud: request.without_cloud,
    }
}

/// What was found.
pub(super) fn response(report: Report) -> v1::CheckNodeResponse {
    v1::CheckNodeResponse {
        findings: report.findings.iter().map(finding).collect(),
        mended: report.mended.iter().map(finding).collect(),
        unchecked: report.unchecked,
        endpoints: count(report.endpoints),
        interfaces: count(report.interfaces),
        cloud: report.cloud,
        took_micros: u64::try_from(report.took.as_micros()).unwrap_or(u64::MAX),
    }
}

fn finding(finding: &Finding) -> v1::Finding {
    v1::Finding {
        kind: finding.kind.label().to_owned(),
        what: finding.what.clone(),
        breaks: finding.breaks.clone(),
        cure: finding.cure.to_string(),
        mended_by_daemon: matches!(finding.cure, Cure::Daemon | Cure::Contested),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
