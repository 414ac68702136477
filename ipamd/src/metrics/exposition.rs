//! What Prometheus reads: its text format, version 0.0.4, in which a counter may
//! have any name.
//!
//! `prometheus-client` writes OpenMetrics, in which the name of a counter ends in
//! `_total`. The AWS plugin's counters do not, and what reads those names (its
//! `cni-metrics-helper`, dashboards) goes by their type, so a type that is not known
//! will not do.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The format's name in HTTP.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text that Prometheus reads. A family without a sample is not in it.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub(crate) fn text(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(in_text_format(&text))
}

/// The same as OpenMetrics has it, in the text format.
fn in_text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(of_family) = line.strip_prefix("# HELP ") {
            help = of_family;
        } else if let Some((family, kind)) = family_and_kind(line) {
            let (suffix, kind) = match kind {
                // There a family is named without the suffix of its samples.
                "counter" => ("_total", "counter"),
                // The type of `PlainCounter`, and of nothing else.
                "unknown" => ("", "counter"),
                other => ("", other),
            };
            if let Some((_, words)) = help.split_once(' ') {
                text.push_str(&format!("# HELP {family}{suffix} {words}\n"));
            }
            text.push_str(&format!("# TYPE {family}{suffix} {kind}\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn family_and_kind(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_type_under_the_names_of_their_samples() {
        let open_metrics = "# HELP a_b Some words.\n# TYPE a_b counter\na_b_total{x=\"y\"} 1\n\
                            # HELP c Others.\n# TYPE c unknown\nc 2\n\
                            # HELP d Level.\n# TYPE d gauge\nd 3.5\n# EOF\n";
        assert_eq!(
            in_text_format(open_metrics),
            "# HELP a_b_total Some words.\n# TYPE a_b_total counter\na_b_total{x=\"y\"} 1\n\
             # HELP c Others.\n# TYPE c counter\nc 2\n\
             # HELP d Level.\n# TYPE d gauge\nd 3.5\n# EOF\n"
        );
    }
}
