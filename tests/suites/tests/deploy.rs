//! The deploy lane: the chart and the manifests in deploy/, by the real Helm. Needs no
//! cluster.

mod deploy {
    mod aws_values;
    mod chart;
    mod documentation;
    mod host;
    mod refusals;
    mod rendering;
}
