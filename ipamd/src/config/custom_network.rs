//! Custom networking: where the node's ENIConfig is found.

use std::path::PathBuf;

use super::choice::ProviderChoice;
use super::groups::CustomNetworkSettings;
use super::provider::WITH_CUSTOM_NETWORKING;
use super::reader::Reader;
use super::setting::{Setting, read_if_set, text, truth};
use super::variable::{Condition, DefaultValue};

pub(super) static AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: Setting<bool> = Setting::new(
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    truth(false),
    "AWS: pods' interfaces live in the subnet and the security groups of an ENIConfig; the \
     primary interface serves no pods.",
)
.needs(&[WITH_CUSTOM_NETWORKING]);

pub(super) static ENI_CONFIG_ANNOTATION_DEF: Setting<String> = Setting::new(
    "ENI_CONFIG_ANNOTATION_DEF",
    text(ENI_CONFIG_KEY),
    "AWS: annotation of the node that names its ENIConfig.",
)
.needs(&[WITH_CUSTOM_NETWORK]);

pub(super) static ENI_CONFIG_LABEL_DEF: Setting<String> = Setting::new(
    "ENI_CONFIG_LABEL_DEF",
    text(ENI_CONFIG_KEY),
    "AWS: label of the node that names its ENIConfig where the annotation is missing.",
)
.needs(&[WITH_CUSTOM_NETWORK]);

pub(super) static VENI_ENI_CONFIG_FILE: Setting<Option<PathBuf>> = Setting::new(
    "VENI_ENI_CONFIG_FILE",
    read_if_set(
        |text| Ok(Some(PathBuf::from(text))),
        DefaultValue::InWords("the cluster's API, or /etc/veni/eniconfigs.json without one"),
    ),
    "AWS: file of the ENIConfigs, as `kubectl get eniconfigs -o json` prints them.",
)
.needs(&[WITH_CUSTOM_NETWORK]);

pub(super) static VENI_NODE_FILE: Setting<Option<PathBuf>> = Setting::new(
    "VENI_NODE_FILE",
    read_if_set(
        |text| Ok(Some(PathBuf::from(text))),
        DefaultValue::InWords("none"),
    ),
    "AWS: file with the node's further labels and annotations, as `kubectl get node NAME -o \
     json` prints it.",
)
.needs(&[WITH_CUSTOM_NETWORK]);

/// The file of the ENIConfigs where no cluster's API has them.
const CONFIGS: &str = "/etc/veni/eniconfigs.json";

/// The key that the AWS plugin looks for, as annotation and as label.
const ENI_CONFIG_KEY: &str = "k8s.amazonaws.com/eniConfig";

const WITH_CUSTOM_NETWORK: Condition = Condition {
    note: "used only with AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true",
    holds: |now| now.config.custom_network.is_some(),
};

/// `api`: whether there is a cluster's API that the daemon watches.
pub(super) fn read(
    reader: &mut Reader<'_>,
    provider: &ProviderChoice,
    api: bool,
) -> Option<CustomNetworkSettings> {
    let wanted = reader.read(&AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG);
    let file = reader.read(&VENI_ENI_CONFIG_FILE);
    let settings = CustomNetworkSettings {
        configs: file.or_else(|| (!api).then(|| CONFIGS.into())),
        node: reader.read(&VENI_NODE_FILE),
        annotation: reader.read(&ENI_CONFIG_ANNOTATION_DEF),
        label: reader.read(&ENI_CONFIG_LABEL_DEF),
    };
    if wanted && !provider.has_custom_networking() {
        reader.problem(
            &AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG,
            "true",
            "ENIConfigs name subnets of AWS; set it to false, or VENI_PROVIDER to aws",
        );
    }
    wanted.then_some(settings)
}
