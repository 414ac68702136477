//! The daemon itself: what it calls its node, where it keeps its records, and where tests
//! kill it.

use std::path::PathBuf;

use super::parse::absolute_path;
use super::setting::{Setting, read_by, text_if_set};
use super::variable::{Decided, DefaultValue};

pub(super) static MY_NODE_NAME: Setting<Option<String>> = Setting::new(
    "MY_NODE_NAME",
    text_if_set("the host name"),
    "The node's name in the log and in `veni status`, its label kubernetes.io/hostname, and the \
     name of its object at the cluster's API.",
)
.unset_means(|now| Some(Decided::new(&now.config.host_name, "host name")));

pub(super) static VENI_STATE_DIR: Setting<PathBuf> = Setting::new(
    "VENI_STATE_DIR",
    read_by(absolute_path, DefaultValue::Text("/var/lib/veni")),
    "Folder of what must outlive a reboot: the record of what Veni assigned to the node, without \
     which it gives nothing back of the primary interface.",
);

/// `crate::crash` reads it itself, at each point that tests name.
pub(super) static VENI_CRASH_AT: Setting<Option<String>> = Setting::new(
    "VENI_CRASH_AT",
    text_if_set(""),
    "Only in builds for tests: the point at which the daemon kills itself.",
);
