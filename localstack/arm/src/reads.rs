//! What a GET answers.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::message::{Request, Response};
use crate::paths::Resource;
use crate::refusal::Refusal;
use crate::state::State;

/// From this version of Microsoft.Network on, a configuration may be a block.
/// <https://github.com/Azure/azure-rest-api-specs/tree/main/specification/network>
const BLOCKS_SINCE: &str = "2023-11-01";

/// Whether a version of the API knows blocks.
pub(crate) fn knows_blocks(version: &str) -> bool {
    version >= BLOCKS_SINCE
}

impl State {
    pub(crate) fn read(
        &self,
        resource: &Resource,
        request: &Request,
        version: &str,
        now: Instant,
    ) -> Result<Response, Refusal> {
        let missing = || Refusal::not_found(&request.path);
        let blocks = knows_blocks(version);
        match resource {
            Resource::Nic(name) => {
                let nic = self.nics.get(name).ok_or_else(missing)?;
                Ok(Response::json(200, &nic.show(blocks)).with("ETag", nic.etag_text()))
            }
            Resource::Nics => Ok(Response::json(200, &self.list_nics(request, blocks))),
            Resource::Machine(name) => Ok(Response::json(
                200,
                &self.machine(name).ok_or_else(missing)?,
            )),
            Resource::Network(name) if self.is_network(name) => {
                Ok(Response::json(200, &self.network()))
            }
            Resource::Usages(name) if self.is_network(name) => {
                Ok(Response::json(200, &self.usages(now)))
            }
            Resource::Subnet(network, name) if self.is_network(network) => {
                let subnet = self.show_subnet(name).ok_or_else(missing)?;
                Ok(Response::json(200, &subnet))
            }
            Resource::Operation(id) => Ok(self.operation_status(id)),
            Resource::OperationResult(id) => Ok(self.operation_result(id, &request.host)),
            Resource::Network(_) | Resource::Usages(_) | Resource::Subnet(..) => Err(missing()),
        }
    }

    fn is_network(&self, name: &str) -> bool {
        self.config.network.eq_ignore_ascii_case(name)
    }

    /// A page, and where the next one is.
    fn list_nics(&self, request: &Request, blocks: bool) -> Value {
        let skip = request
            .parameter("$skiptoken")
            .and_then(|one| one.parse().ok());
        let skip: usize = skip.unwrap_or_default();
        let page = self.nics.values().skip(skip).take(self.config.page);
        let page: Vec<Value> = page.map(|nic| nic.show(blocks)).collect();
        let next = skip + page.len();
        let mut list = json!({ "value": page });
        if next < self.nics.len() {
            let (host, path) = (&request.host, &request.path);
            let version = request.parameter("api-version").unwrap_or_default();
            list["nextLink"] = json!(format!(
                "https://{host}{path}?api-version={version}&$skiptoken={next}"
            ));
        }
        list
    }

    fn machine(&self, name: &str) -> Option<Value> {
        let machine = self.machines.get(name)?;
        let nic = self.config.nic_id(&format!("{}-nic", machine.name));
        Some(json!({
            "name": machine.name,
            "id": self.config.machine_id(&machine.name),
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.config.location,
            "properties": {
                "provisioningState": "Succeeded",
                "hardwareProfile": {"vmSize": machine.size},
                "networkProfile": {
                    "networkInterfaces": [{"id": nic, "properties": {"primary": true}}],
                },
            },
        }))
    }

    fn network(&self) -> Value {
        let subnets = self.subnets.iter();
        let subnets: Vec<Value> = subnets
            .filter_map(|one| self.show_subnet(&one.name))
            .collect();
        let peerings: Vec<Value> = self
            .config
            .peered
            .iter()
            .map(|range| {
                json!({
                    "name": format!("peering-{}", range.network()),
                    "properties": {
                        "peeringState": "Connected",
                        "remoteAddressSpace": {"addressPrefixes": [range]},
                    },
                })
            })
            .collect();
        json!({
            "name": self.config.network,
            "id": self.config.network_id(),
            "type": "Microsoft.Network/virtualNetworks",
            "location": self.config.location,
            "properties": {
                "provisioningState": "Succeeded",
                "addressSpace": {"addressPrefixes": self.config.address_space},
                "subnets": subnets,
                "virtualNetworkPeerings": peerings,
            },
        })
    }

    fn show_subnet(&self, name: &str) -> Option<Value> {
        let subnet = self.subnet(name)?;
        Some(json!({
            "name": subnet.name,
            "id": self.config.subnet_id(&subnet.name),
            "properties": {
                "provisioningState": "Succeeded",
                "addressPrefix": subnet.range,
            },
        }))
    }

    /// How many addresses of each subnet are used, of how many that resources may have.
    /// That a block counts as 16 there stands in no document.
    /// <https://learn.microsoft.com/rest/api/virtualnetwork/virtual-networks/list-usage>
    fn usages(&self, now: Instant) -> Value {
        let usage = |subnet: &crate::addresses::Subnet| {
            json!({
                "id": self.config.subnet_id(&subnet.name),
                "currentValue": f64::from(subnet.used(now)),
                "limit": f64::from(subnet.size()),
                "unit": "Count",
                "name": {
                    "localizedValue": "Subnet size and usage",
                    "value": "SubnetSpace",
                },
            })
        };
        let all: Vec<Value> = self.subnets.iter().map(usage).collect();
        json!({ "value": all })
    }
}
