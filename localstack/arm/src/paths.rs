//! What a path names. ARM compares ids without regard to case.

use crate::config::Config;

/// A resource, by lower-case names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    Nic(String),
    Nics,
    Machine(String),
    Network(String),
    Usages(String),
    Subnet(String, String),
    /// The status of an operation (`Azure-AsyncOperation`).
    Operation(String),
    /// The result of an operation (`Location`).
    OperationResult(String),
}

const NETWORK: &str = "microsoft.network";
const COMPUTE: &str = "microsoft.compute";

/// Reads a path; `None` where nothing of that kind is known.
pub(crate) fn resource(path: &str, config: &Config) -> Option<Resource> {
    let path = path.to_ascii_lowercase();
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let subscription = config.subscription.to_ascii_lowercase();
    let group = config.resource_group.to_ascii_lowercase();
    let rest = match parts.as_slice() {
        ["subscriptions", id, "resourcegroups", name, "providers", ..]
            if *id == subscription && *name == group =>
        {
            parts.split_off(5)
        }
        ["subscriptions", id, "providers", ..] if *id == subscription => parts.split_off(3),
        _ => return None,
    };
    let own = |text: &&str| (*text).to_owned();
    match rest.as_slice() {
        [NETWORK, "networkinterfaces"] => Some(Resource::Nics),
        [NETWORK, "networkinterfaces", name] => Some(Resource::Nic(own(name))),
        [COMPUTE, "virtualmachines", name] => Some(Resource::Machine(own(name))),
        [NETWORK, "virtualnetworks", name] => Some(Resource::Network(own(name))),
        [NETWORK, "virtualnetworks", name, "usages"] => Some(Resource::Usages(own(name))),
        [NETWORK, "virtualnetworks", name, "subnets", subnet] => {
            Some(Resource::Subnet(own(name), own(subnet)))
        }
        [NETWORK, "locations", _, "operations", id] => Some(Resource::Operation(own(id))),
        [NETWORK, "locations", _, "operationresults", id] => {
            Some(Resource::OperationResult(own(id)))
        }
        _ => None,
    }
}

impl Config {
    fn group_id(&self) -> String {
        let (subscription, group) = (&self.subscription, &self.resource_group);
        format!("/subscriptions/{subscription}/resourceGroups/{group}")
    }

    pub(crate) fn nic_id(&self, name: &str) -> String {
        let group = self.group_id();
        format!("{group}/providers/Microsoft.Network/networkInterfaces/{name}")
    }

    pub(crate) fn machine_id(&self, name: &str) -> String {
        let group = self.group_id();
        format!("{group}/providers/Microsoft.Compute/virtualMachines/{name}")
    }

    pub(crate) fn network_id(&self) -> String {
        let (group, network) = (self.group_id(), &self.network);
        format!("{group}/providers/Microsoft.Network/virtualNetworks/{network}")
    }

    pub(crate) fn subnet_id(&self, name: &str) -> String {
        format!("{}/subnets/{name}", self.network_id())
    }

    pub(crate) fn security_group_id(&self, name: &str) -> String {
        let group = self.group_id();
        format!("{group}/providers/Microsoft.Network/applicationSecurityGroups/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_resource_whatever_its_case() {
        let config = Config::default();
        let read = |path: &str| resource(path, &config);
        let nic = config.nic_id("Node-1-nic");
        let found = Some(Resource::Nic("node-1-nic".to_owned()));
        assert_eq!(read(&nic), found);
        assert_eq!(read(&nic.to_uppercase()), found);
        let subnet = config.subnet_id("Nodes-a");
        let names = ("network".to_owned(), "nodes-a".to_owned());
        assert_eq!(read(&subnet), Some(Resource::Subnet(names.0, names.1)));
        assert_eq!(read(&nic.replace("/rg/", "/other/")), None);
        assert_eq!(read("/subscriptions/other/providers/x"), None);
    }
}
