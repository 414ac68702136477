//! Attachments and pods in the messages of plugin and operators.

use veni_api::v1;

use crate::attachment::{AttachmentKey, PodName};

impl From<v1::Attachment> for AttachmentKey {
    fn from(attachment: v1::Attachment) -> Self {
        Self {
            network: attachment.network,
            container_id: attachment.container_id,
            interface_name: attachment.interface_name,
        }
    }
}

impl From<&AttachmentKey> for v1::Attachment {
    fn from(key: &AttachmentKey) -> Self {
        Self {
            network: key.network.clone(),
            container_id: key.container_id.clone(),
            interface_name: key.interface_name.clone(),
        }
    }
}

impl From<v1::Pod> for PodName {
    fn from(pod: v1::Pod) -> Self {
        Self {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
        }
    }
}

impl From<&PodName> for v1::Pod {
    fn from(pod: &PodName) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        }
    }
}
