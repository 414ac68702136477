//! Instance metadata of a machine: itself, its network, tokens of its identities.
//! <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::message::{Request, Response};
use crate::refusal::Refusal;
use crate::state::State;

/// The first version that is known here.
const FIRST_VERSION: &str = "2017-04-02";

impl State {
    pub(crate) fn metadata(
        &mut self,
        machine: &str,
        request: &Request,
        now: Instant,
    ) -> Result<Response, Refusal> {
        let wrong = |message: &str| Refusal::new(400, "Bad Request", message);
        if request
            .header("metadata")
            .is_none_or(|value| !value.eq_ignore_ascii_case("true"))
        {
            return Err(wrong("Required metadata header not specified"));
        }
        // A proxy would tell somebody else's machine what this one is.
        if request.header("x-forwarded-for").is_some() {
            return Err(wrong("X-Forwarded-For is not allowed"));
        }
        match request.parameter("api-version") {
            Some(version) if version >= FIRST_VERSION => {}
            _ => {
                return Err(wrong(
                    "Bad request. api-version is invalid or was not specified",
                ));
            }
        }
        let compute = || self.compute(machine);
        let network = || self.network_of(machine, now);
        let found = match request.path.trim_end_matches('/') {
            "/metadata/instance" => Some(json!({"compute": compute(), "network": network()})),
            "/metadata/instance/compute" => Some(compute()),
            "/metadata/instance/network" => Some(network()),
            "/metadata/identity/oauth2/token" => return self.token(machine, request, now),
            _ => None,
        };
        let found = found.ok_or_else(|| Refusal::not_found(&request.path))?;
        Ok(Response::json(200, &found))
    }

    fn compute(&self, machine: &str) -> Value {
        let Some(known) = self.machines.get(machine) else {
            return json!({});
        };
        json!({
            "azEnvironment": "AzurePublicCloud",
            "location": self.config.location,
            "name": known.name,
            "resourceGroupName": self.config.resource_group,
            "resourceId": self.config.machine_id(&known.name),
            "subscriptionId": self.config.subscription,
            "vmId": format!("vm-{}", known.name),
            "vmScaleSetName": "",
            "vmSize": known.size,
            "zone": "1",
        })
    }

    /// What was so a while ago.
    fn network_of(&self, machine: &str, now: Instant) -> Value {
        let nic = format!("{machine}-nic");
        let mut newest_first = self.published.get(&nic).into_iter().flatten().rev();
        let visible = |(when, _): &&(Instant, Value)| *when + self.config.metadata_lag <= now;
        match newest_first
            .find(visible)
            .or_else(|| self.published.get(&nic)?.first())
        {
            Some((_, view)) => view.clone(),
            None => json!({"interface": []}),
        }
    }

    /// Puts down what instance metadata will show of a NIC. How a block shows there stands
    /// in no document: here as its first address with its length.
    pub(crate) fn publish_metadata(&mut self, nic: &str) {
        let Some(known) = self.nics.get(nic) else {
            return;
        };
        let Some(subnet) = self.subnet(&known.subnet) else {
            return;
        };
        let addresses: Vec<Value> = known
            .configurations
            .iter()
            .filter_map(|one| Some((one, one.range?)))
            .map(|(one, range)| match one.is_block() {
                true => json!({"privateIpAddress": range, "publicIpAddress": ""}),
                false => json!({"privateIpAddress": range.addr(), "publicIpAddress": ""}),
            })
            .collect();
        let view = json!({"interface": [{
            "ipv4": {
                "ipAddress": addresses,
                "subnet": [{
                    "address": subnet.range.network(),
                    "prefix": subnet.range.prefix_len().to_string(),
                }],
            },
            "ipv6": {"ipAddress": []},
            "macAddress": known.mac.replace('-', ""),
        }]});
        let history = self.published.entry(nic.to_owned()).or_default();
        history.push((Instant::now(), view));
    }

    /// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>
    fn token(
        &mut self,
        machine: &str,
        request: &Request,
        now: Instant,
    ) -> Result<Response, Refusal> {
        let identities = self.machines.get(machine).map(|one| one.identities.clone());
        let identities = identities.unwrap_or_default();
        let asked = request.parameter("client_id");
        let principal = match (asked, identities.as_slice()) {
            (Some(id), all) => all.iter().find(|known| *known == id),
            (None, [only]) => Some(only),
            // Which of several is meant must be said.
            (None, _) => None,
        };
        let Some(principal) = principal else {
            let message = "Multiple user assigned identities exist, or none that is meant";
            return Err(Refusal::new(400, "invalid_request", message));
        };
        let life = self.config.token_life;
        let token = self.tokens.give(principal, life, now);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let expires = since.unwrap_or(Duration::ZERO) + life;
        Ok(Response::json(
            200,
            &json!({
                "access_token": token,
                "client_id": principal,
                "expires_in": life.as_secs().to_string(),
                "expires_on": expires.as_secs().to_string(),
                "resource": "https://management.azure.com/",
                "token_type": "Bearer",
            }),
        ))
    }
}
