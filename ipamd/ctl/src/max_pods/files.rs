//! The number of pods as the setting of the tools that make nodes.

use std::fmt::Write as _;

use super::Known;
use clap::ValueEnum;

/// A tool that tells a kubelet how many pods its node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// A kubelet's configuration file, or one in its `--config-dir`
    Kubelet,
    /// A `NodeConfig` in the user data of a node of Amazon Linux 2023
    Nodeadm,
    /// The part of Karpenter's `EC2NodeClass` that sets up the kubelet
    Karpenter,
}

/// The file, or nothing without a type. One file serves all nodes that it is given to, so
/// it has the least number: the scheduler then sends no node more pods than it can take.
pub(super) fn setting(tool: Tool, known: &[Known]) -> String {
    let Some(least) = known.iter().map(|(_, result)| result.pods).min() else {
        return String::new();
    };
    let mut text = String::new();
    for (name, result) in known {
        let _ = writeln!(text, "# {name}: {}", result.pods);
    }
    text + &match tool {
        // https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
        Tool::Kubelet => format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\n\
             kind: KubeletConfiguration\n\
             maxPods: {least}\n"
        ),
        // https://awslabs.github.io/amazon-eks-ami/nodeadm/doc/api/
        Tool::Nodeadm => format!(
            "apiVersion: node.eks.aws/v1alpha1\n\
             kind: NodeConfig\n\
             spec:\n  kubelet:\n    config:\n      maxPods: {least}\n"
        ),
        // https://karpenter.sh/docs/concepts/nodeclasses/#speckubelet
        Tool::Karpenter => format!(
            "apiVersion: karpenter.k8s.aws/v1\n\
             kind: EC2NodeClass\n\
             spec:\n  kubelet:\n    maxPods: {least}\n"
        ),
    }
}
